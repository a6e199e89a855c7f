"""TargetPair: two targets of one kind in one account, opened together for a comparison. The steps name theirs."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from loadgen.errors import ConfigError
from loadgen.interfaces import Account, Endpoint, Identity, Leftover, Target
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.workload.serverless_config import ServerlessConfig

BASE = "base"
NEW = "new"


@dataclass(frozen=True, slots=True)
class TargetPair:
    """Two targets.

    Args:
        base: the target of the variant `base`.
        new: the target of the variant `new`, of the same type.

    Raises:
        ConfigError: the targets are of different types.
    """

    base: Target
    new: Target

    def __post_init__(self) -> None:
        if type(self.base) is not type(self.new):
            raise ConfigError(
                f"base is a target of type {type(self.base).__name__}, new of type {type(self.new).__name__}",
                hint="compare two targets of the same type",
            )

    @asynccontextmanager
    async def account(self, *, run_id: str) -> AsyncIterator[Account]:
        """Open both accounts.

        Raises:
            ConfigError: they are not the same account and region.
        """
        async with self.base.account(run_id=run_id) as base, self.new.account(run_id=run_id) as new:
            places = [(a.identity.kind, a.identity.account_id, a.identity.region) for a in (base, new)]
            if places[0] != places[1]:
                raise ConfigError(
                    "base and new are not in the same account and region",
                    hint="differences between regions are not differences between variants",
                    details=[f"{name}: {' '.join(place)}" for name, place in zip((BASE, NEW), places, strict=True)],
                )
            yield _PairAccount(base, new)


class _PairAccount:
    """The accounts of both targets. What concerns one endpoint is done through `variant`."""

    def __init__(self, base: Account, new: Account) -> None:
        self._accounts: Mapping[str, Any] = {BASE: base, NEW: new}
        details = dict.fromkeys([base.identity.detail, new.identity.detail])
        self.identity: Identity = replace(base.identity, detail=" and ".join(filter(None, details)))
        self.quotas = base.quotas

    def variant(self, name: str) -> Account:
        """Return the account of one target."""
        account: Account = self._accounts[name]
        return account

    async def check(self, configs: Sequence[ServerlessConfig | None]) -> None:
        """Check that each configuration can be deployed."""
        for account, config in zip(self._accounts.values(), configs, strict=True):
            await account.check([config])

    def open(
        self, config: ServerlessConfig | None, *, connections: int, timeout: float
    ) -> AbstractAsyncContextManager[Endpoint]:
        """Open an endpoint of the target `base`."""
        return self.variant(BASE).open(config, connections=connections, timeout=timeout)

    async def metrics(self, endpoint: str, *, start: float, end: float, invocations: int) -> CloudWatchMetrics:
        """Read the CloudWatch metrics of an endpoint of the target `base`."""
        return await self.variant(BASE).metrics(endpoint, start=start, end=end, invocations=invocations)

    async def server_counts(self, endpoint: str) -> Mapping[str, int] | None:
        """Return the server-side counts of an endpoint of the target `base`."""
        return await self.variant(BASE).server_counts(endpoint)

    def leftovers(self) -> Sequence[Leftover]:
        """Return the resources of both that may still exist."""
        return [leftover for account in self._accounts.values() for leftover in account.leftovers()]

    # -- SupportsJournal, where the accounts do ----------------------------------------------------------------------

    @property
    def location(self) -> Any:
        """Where another process can find the created resources; an AttributeError if the targets create none."""
        return self._accounts[BASE].location

    def set_journal(self, journal: Any) -> None:
        """Record creations and deletions of both in this journal from now on."""
        for account in self._accounts.values():
            account.set_journal(journal)

    async def delete_leftovers(self, journal_state: Any) -> Sequence[str]:
        """Delete what an earlier process of the run left: the resources of both carry its run id."""
        lines: list[str] = []
        for account in self._accounts.values():
            lines += await account.delete_leftovers(journal_state)
        return lines
