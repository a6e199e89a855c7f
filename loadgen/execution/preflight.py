"""Precautions: what must hold before anything is created, and what may be resumed. Decisions only; nothing is sent."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from loadgen.analysis.prices import PriceBook
from loadgen.aws.quotas import deployment_waves
from loadgen.errors import AuthError, ConfigError, InterruptedRunError
from loadgen.execution.forecast import RunForecast, forecast_run
from loadgen.interfaces import Account, Identity
from loadgen.results.manifest import Manifest
from loadgen.results.serialization import to_json
from loadgen.scenario.scenario import ScenarioProtocol
from loadgen.workload.serverless_config import ServerlessConfig

DEFAULT_GRACE = 10.0  # seconds that requests in flight are given after an interrupt


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """What whoever starts a run allows it.

    Args:
        max_endpoints: how many it may create; None for what a benchmark needs.
        max_spend: USD after which no more is sent; None for no limit.
        expect_account: the only account it may run in; empty for any.
        grace: seconds that requests in flight are given after a stop.
        dry_run: True to say what would be done, and do nothing.
        resume: True to go on with a run that died.
        state_dir: where the register of unfinished runs is; None for nowhere.
    """

    max_endpoints: int | None = None
    max_spend: float | None = None
    expect_account: str = ""
    grace: float = DEFAULT_GRACE
    dry_run: bool = False
    resume: bool = False
    state_dir: Path | None = None

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


def forecast_for_account(scenario: ScenarioProtocol, account: Account) -> RunForecast:
    """Return what a scenario will create, send and cost at most in this account."""
    configs: Sequence[ServerlessConfig] = [c for c in dict.fromkeys(scenario.configs()) if c is not None]
    return forecast_run(
        scenario.possible_steps(),
        scenario.requests,
        account.identity,
        waves=len(deployment_waves(configs, account.quotas)),
        prices=PriceBook.builtin(),
    )


def check_resumable(saved: Manifest, current: Manifest, path: Path) -> None:
    """Refuse to go on with a run under another scenario, other payloads, other settings or elsewhere.

    Raises:
        ConfigError: something differs; both hashes or values are named.
    """
    pairs = {
        "scenario file": (saved.scenario_sha256, current.scenario_sha256),
        "payloads": (saved.payloads.get("sha256"), current.payloads.get("sha256")),
        "kind of scenario": (saved.kind, current.kind),
        "settings": (to_json(saved.settings), to_json(current.settings)),
        "seed": (saved.seed, current.seed),
        "place": tuple((m.identity.kind, m.identity.account_id, m.identity.region) for m in (saved, current)),
    }
    for what, (before, after) in pairs.items():
        if before != after:
            raise ConfigError(
                f"{path} was made with another {what}",
                hint="resume with what it was made with, or start anew in another --out",
                details=(f"there: {before}", f"now:   {after}"),
            )


@asynccontextmanager
async def cancel_on(stop: asyncio.Event) -> AsyncIterator[None]:
    """Cut the block short as soon as `stop` is set.

    Raises:
        InterruptedRunError: it was.
    """
    try:
        async with asyncio.timeout(None) as limit:
            watching = asyncio.create_task(_expire_on(stop, limit))
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError as error:
        if not stop.is_set():
            raise
        raise InterruptedRunError("stopped before anything was created") from error


async def _expire_on(stop: asyncio.Event, limit: asyncio.Timeout) -> None:
    await stop.wait()
    limit.reschedule(asyncio.get_running_loop().time())
