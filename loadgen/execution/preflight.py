"""Precautions: what must hold before anything is created, and what may be resumed. Decisions only; nothing is sent."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from loadgen.analysis.prices import PriceBook
from loadgen.aws.quotas import waves
from loadgen.errors import AuthError, ConfigError, StoppedError
from loadgen.execution.forecast import Foresight, foresee
from loadgen.interfaces import Account, Identity
from loadgen.results.manifest import Manifest
from loadgen.results.serialization import to_plain
from loadgen.scenario.scenario import Runnable
from loadgen.workload.serverless_config import ServerlessConfig

GRACE = 10.0  # seconds that requests in flight are given after an interrupt


@dataclass(frozen=True, slots=True)
class Precautions:
    """What whoever starts a run allows it.

    Args:
        max_endpoints: how many it may create; None for what a benchmark needs.
        max_spend: USD after which no more is sent; None for no limit.
        expect_account: the only account it may run in; empty for any.
        grace: seconds that requests in flight are given after a stop.
        is_dry: True to say what would be done, and do nothing.
        is_resumed: True to go on with a run that died.
        state: where the register of unfinished runs is; None for nowhere.
    """

    max_endpoints: int | None = None
    max_spend: float | None = None
    expect_account: str = ""
    grace: float = GRACE
    is_dry: bool = False
    is_resumed: bool = False
    state: Path | None = None

    def check_account(self, identity: Identity) -> None:
        """Refuse another account than the one that is expected.

        Raises:
            AuthError: it is another.
        """
        if self.expect_account and identity.account_id != self.expect_account:
            raise AuthError(
                f"these credentials are of account {identity.account_id or '(unknown)'}, not of {self.expect_account}",
                hint="check AWS_PROFILE, or --expect-account",
            )


def foreseen(scenario: Runnable, account: Account) -> Foresight:
    """Return what a scenario will create, send and cost at most in this account."""
    configs: Sequence[ServerlessConfig] = [c for c in dict.fromkeys(scenario.configs()) if c is not None]
    return foresee(
        scenario.foreseen(),
        scenario.requests,
        account.identity,
        waves=len(waves(configs, account.quotas)),
        prices=PriceBook.builtin(),
    )


def check_same(saved: Manifest, now: Manifest, path: Path) -> None:
    """Refuse to go on with a run under another scenario, other payloads, other settings or elsewhere.

    Raises:
        ConfigError: something differs; both hashes or values are named.
    """
    pairs = {
        "scenario file": (saved.scenario_sha256, now.scenario_sha256),
        "payloads": (saved.payloads.get("sha256"), now.payloads.get("sha256")),
        "kind of scenario": (saved.kind, now.kind),
        "settings": (to_plain(saved.settings), to_plain(now.settings)),
        "seed": (saved.seed, now.seed),
        "place": tuple((m.identity.kind, m.identity.account_id, m.identity.region) for m in (saved, now)),
    }
    for what, (before, after) in pairs.items():
        if before != after:
            raise ConfigError(
                f"{path} was made with another {what}",
                hint="resume with what it was made with, or start anew in another --out",
                details=(f"there: {before}", f"now:   {after}"),
            )


@asynccontextmanager
async def unless(stop: asyncio.Event) -> AsyncIterator[None]:
    """Cut the block short as soon as `stop` is set.

    Raises:
        StoppedError: it was.
    """
    try:
        async with asyncio.timeout(None) as limit:
            watching = asyncio.create_task(_expire(stop, limit))
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError as error:
        if not stop.is_set():
            raise
        raise StoppedError("stopped before anything was created") from error


async def _expire(stop: asyncio.Event, limit: asyncio.Timeout) -> None:
    await stop.wait()
    limit.reschedule(asyncio.get_running_loop().time())
