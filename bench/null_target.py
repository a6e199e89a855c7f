"""A target without a network, so that only the generator is measured."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from loadgen.interfaces import Account, Endpoint, Identity, Leftover, Quotas, Target, Transport
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.transport.null import NullTransport
from loadgen.workload.serverless_config import ServerlessConfig


@dataclass
class NullEndpoint:
    """An endpoint of a null target."""

    latency: float
    name: str = "null"
    deploy_duration: float = 0.0
    transport_name: str = "null"
    transport_note: str = ""
    transport: Transport = field(init=False)

    def __post_init__(self) -> None:
        self.transport = NullTransport(self.latency)


@dataclass
class NullAccount:
    """An account without resources."""

    latency: float
    identity: Identity = field(default_factory=lambda: Identity("null"))
    quotas: Quotas = field(default_factory=lambda: Quotas(0, 0, 0, "nothing is deployed"))

    async def check(self, configs: Sequence[ServerlessConfig | None]) -> None:
        """Accept every configuration."""

    @asynccontextmanager
    async def open(
        self,
        config: ServerlessConfig | None,  # noqa: ARG002
        *,
        connections: int,  # noqa: ARG002
        timeout: float,  # noqa: ARG002
    ) -> AsyncIterator[Endpoint]:
        """Yield an endpoint; nothing is deployed."""
        yield NullEndpoint(self.latency)

    async def metrics(self, endpoint: str, *, start: float, end: float, invocations: int) -> CloudWatchMetrics:  # noqa: ARG002
        """Return no metrics."""
        return CloudWatchMetrics()

    async def server_counts(self, endpoint: str) -> Mapping[str, int] | None:  # noqa: ARG002
        """Return None: there is no server that counts."""
        return None

    def leftovers(self) -> Sequence[Leftover]:
        """Return no leftovers."""
        return ()


@dataclass(frozen=True)
class NullTarget:
    """A target that responds to every request after `latency` seconds, without a network."""

    latency: float = 0.0

    @asynccontextmanager
    async def account(self, *, run_id: str) -> AsyncIterator[Account]:  # noqa: ARG002
        """Open the account."""
        yield NullAccount(self.latency)

    def for_workers(self, account: Account, endpoint: str) -> Target:  # noqa: ARG002
        """Return this target: a worker uses the same."""
        return self
