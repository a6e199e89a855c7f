"""A target that answers at once, in whatever process asks: what is left is the generator."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from loadgen.interfaces import Account, Endpoint, Identity, Leftover, Quotas, Target, Transport
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.transport.null import NullTransport
from loadgen.workload.serverless_config import ServerlessConfig


@dataclass
class NullEndpoint:
    """An endpoint that is nowhere."""

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
    """An account without anything in it."""

    latency: float
    identity: Identity = field(default_factory=lambda: Identity("null"))
    quotas: Quotas = field(default_factory=lambda: Quotas(0, 0, 0, "nothing is deployed"))

    async def check(self, configs: Sequence[ServerlessConfig | None]) -> None:
        """Refuse nothing."""

    @asynccontextmanager
    async def open(
        self,
        config: ServerlessConfig | None,  # noqa: ARG002 - there is nothing to deploy
        *,
        connections: int,  # noqa: ARG002 - nor to connect to
        timeout: float,  # noqa: ARG002 - nor to wait for
    ) -> AsyncIterator[Endpoint]:
        """Open nothing."""
        yield NullEndpoint(self.latency)

    async def metrics(self, endpoint: str, *, start: float, end: float, invocations: int) -> CloudWatchMetrics:  # noqa: ARG002
        """Return none."""
        return CloudWatchMetrics()

    async def server_counts(self, endpoint: str) -> Mapping[str, int] | None:  # noqa: ARG002
        """Keep no books."""
        return None

    def leftovers(self) -> Sequence[Leftover]:
        """Leave nothing."""
        return ()


@dataclass(frozen=True)
class NullTarget:
    """A place that answers every request after `latency` seconds, without a network."""

    latency: float = 0.0

    @asynccontextmanager
    async def account(self, *, run_id: str) -> AsyncIterator[Account]:  # noqa: ARG002
        """Reach it."""
        yield NullAccount(self.latency)

    def for_workers(self, account: Account, endpoint: str) -> Target:  # noqa: ARG002
        """Describe it for another process: it is the same everywhere."""
        return self
