"""What a place to be measured must offer: Target, the Account it stands for, the Endpoint opened there, its Transport.

Protocols and the values that cross them; nothing here knows AWS, sockets or asyncio's loop. To measure something
new, write these four.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Window
from loadgen.workload.request import Reply, Request
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step


class TransportError(Exception):
    """A request that got no whole answer: its outcome is a network or a local one.

    Args:
        outcome: which.
        detail: the cause in a few words, for the run's table of codes; must hold no credentials and no payload.
        sent: when its bytes were handed over, or when it was given up if they never were.
        done: when the failure was known; both are `time.perf_counter()` seconds.
        pool_wait: seconds spent waiting for a free connection.
    """

    def __init__(self, outcome: Outcome, detail: str, *, sent: float, done: float, pool_wait: float = 0.0) -> None:
        super().__init__(f"{outcome.label}: {detail}")
        self.outcome = outcome
        self.detail = detail
        self.sent = sent
        self.done = done
        self.pool_wait = pool_wait


class Progress(Protocol):
    """Is told what happens while it happens; must return at once."""

    def log(self, text: str) -> None:
        """A sentence for whoever watches."""
        ...

    def step_started(self, step: Step) -> None:
        """A step starts to send."""
        ...

    def window_closed(self, step: Step, window: Window) -> None:
        """A second of a step has passed."""
        ...

    def step_finished(self, step: Step, run: Run) -> None:
        """A step has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Where the numbers come from, shown in every report.

    Args:
        kind: `aws`, `emulator`, `stand-in` (another server that speaks AWS's protocol), or `null`.
        account_id: twelve digits, or empty where there is none.
        region: such as `us-east-1`; prices depend on it.
        detail: what else a reader must know, such as the emulator's profile and its time scale.
    """

    kind: str
    account_id: str = ""
    region: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Quotas:
    """What the account allows across its serverless endpoints in this region.

    Args:
        endpoints: endpoints at once.
        total_concurrency: sum of MaxConcurrency over all of them.
        memory_mb: the largest memory size.
        source: where the figures come from, in words.
    """

    endpoints: int
    total_concurrency: int
    memory_mb: int
    source: str


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of ours that may still exist.

    Args:
        kind: `endpoint`, `endpoint-config` or `model`.
        name: its name.
        is_billable: True when it costs money while it stands.
        reason: why it was not removed, in words.
        delete_command: the command that removes it.
    """

    kind: str
    name: str
    is_billable: bool
    reason: str
    delete_command: str

    def __str__(self) -> str:
        price = "billable" if self.is_billable else "costs nothing"
        return f"{self.kind} {self.name} ({price}): {self.reason}; {self.delete_command}"


class Transport(Protocol):
    """How one request travels to an opened endpoint."""

    async def invoke(self, request: Request) -> Reply:
        """Send the request once, never again, and read the whole answer.

        Raises:
            TransportError: no whole answer came; it says which Outcome that is.
        """
        ...


class Endpoint(Protocol):
    """An endpoint that is in service.

    `name` is the endpoint's own, `deploy_duration` the seconds from Create to InService (0 when it stood before),
    `transport_name` which transport carries its requests, `transport_note` why when it is not the one asked for.
    """

    name: str
    deploy_duration: float
    transport: Transport
    transport_name: str
    transport_note: str


class Account(Protocol):
    """A place that has been reached: identity known, endpoints can be opened."""

    identity: Identity
    quotas: Quotas

    async def check(self, configs: Sequence[ServerlessConfig | None]) -> None:
        """Refuse what cannot work before anything is created: the model is missing, a size is above its quota.

        Raises:
            ConfigError, AuthError, QuotaError, UnavailableError: with what to do.
        """
        ...

    def open(
        self, config: ServerlessConfig | None, *, connections: int, timeout: float
    ) -> AbstractAsyncContextManager[Endpoint]:
        """Deploy in this configuration, and remove every trace on the way out, whatever happened.

        Args:
            config: what to deploy; None for a place that stands as it is.
            connections: the most requests that will be in flight.
            timeout: seconds one request may take, cold start included.

        Raises:
            UnavailableError: the endpoint failed (its FailureReason) or did not come up in time.
            QuotaError: the account refused it.
        """
        ...

    async def metrics(self, endpoint: str, *, start: float, end: float, invocations: int) -> CloudWatchMetrics:
        """Read the endpoint's CloudWatch metrics between two epoch seconds, waiting for `invocations` to be counted."""
        ...

    async def server_counts(self, endpoint: str) -> Mapping[str, int] | None:
        """Return the target's own counts (arrivals, ok, throttled, failed, cold), or None if it keeps no books."""
        ...

    def leftovers(self) -> Sequence[Leftover]:
        """Name everything this account may still hold of ours, each with the command that removes it."""
        ...


class Target(Protocol):
    """A place, described: plain values, no I/O until it is entered."""

    def account(self, *, run_id: str) -> AbstractAsyncContextManager[Account]:
        """Reach the place. `run_id` tags what will be created."""
        ...


class RemoteTarget(Protocol):
    """A target whose open endpoints other processes can call too."""

    def for_workers(self, account: Account, endpoint: str) -> Target:
        """Describe an open endpoint as a place that stands, for another process. Holds no credentials; is pickled.

        Args:
            account: this target's, open in this process.
            endpoint: the endpoint's name.
        """
        ...
