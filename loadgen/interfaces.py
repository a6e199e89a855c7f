"""The protocols between the engine and what it measures: Target, Account, Endpoint and Transport.

Only protocols and the values that cross them; no AWS, no sockets, no event loop. To measure a new kind of target,
implement these four.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Window
from loadgen.workload.request import Reply, Request
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step


class TransportError(Exception):
    """A request without a complete reply. Its outcome is one of the network or of this machine.

    Args:
        outcome: the outcome of the request.
        detail: the cause, as a short text for the run's error codes; must not contain credentials or payload.
        sent: when the request was written to the connection, or when it failed if that never happened.
        done: when the failure was detected. Both are `time.perf_counter()` seconds.
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
    """Receives the progress of a run. Its methods are called on the event loop and must return quickly."""

    def log(self, text: str) -> None:
        """Show a message."""
        ...

    def step_started(self, step: Step) -> None:
        """Handle the start of a step's load."""
        ...

    def window_closed(self, step: Step, window: Window) -> None:
        """Handle one closed window of a step."""
        ...

    def step_finished(self, step: Step, run: Run) -> None:
        """Handle the end of a step."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Provenance of a measurement, shown in every report.

    Args:
        kind: `aws`, `emulator`, `custom-endpoint` (another server that implements AWS's protocol) or `null`.
        account_id: the AWS account's twelve digits, or empty.
        region: the AWS region, such as `us-east-1`; selects the prices.
        detail: further provenance, such as the emulator's profile and time scale.
    """

    kind: str
    account_id: str = ""
    region: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Quotas:
    """The account's limits for serverless endpoints in this region.

    Args:
        endpoints: maximum number of endpoints.
        total_concurrency: maximum sum of MaxConcurrency over all endpoints.
        memory_mb: largest memory size, in MB.
        source: human-readable origin of these limits.
    """

    endpoints: int
    total_concurrency: int
    memory_mb: int
    source: str


@dataclass(frozen=True, slots=True)
class Leftover:
    """An AWS resource that loadgen created and that may still exist.

    Args:
        kind: `endpoint`, `endpoint-config` or `model`.
        name: the resource's name.
        is_billable: True when the resource costs money as long as it exists.
        reason: human-readable reason why it was not deleted.
        delete_command: the command that deletes it.
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
    """Carries requests to an open endpoint."""

    async def invoke(self, request: Request) -> Reply:
        """Send the request once, without retries, and read the complete reply.

        Raises:
            TransportError: no complete reply was received; its `outcome` states why.
        """
        ...


class Endpoint(Protocol):
    """An endpoint that is in service.

    Attributes:
        name: the endpoint's name.
        deploy_duration: seconds from CreateEndpoint to InService; 0 for an existing endpoint.
        transport: carries requests to the endpoint.
        transport_name: the name of that transport.
        transport_note: why it differs from the requested transport; empty when it does not.
    """

    name: str
    deploy_duration: float
    transport: Transport
    transport_name: str
    transport_note: str


class Account(Protocol):
    """A connected target: its identity is known and endpoints can be opened."""

    identity: Identity
    quotas: Quotas

    async def check(self, configs: Sequence[ServerlessConfig | None]) -> None:
        """Check, before anything is created, that the configurations can be deployed.

        Raises:
            ConfigError: the model does not exist, or a setting is wrong.
            AuthError: the credentials are missing, invalid or not permitted.
            QuotaError: a configuration exceeds the account's quota.
            UnavailableError: the service cannot be reached.
        """
        ...

    def open(
        self, config: ServerlessConfig | None, *, connections: int, timeout: float
    ) -> AbstractAsyncContextManager[Endpoint]:
        """Deploy an endpoint on entering the context and delete everything created on leaving it.

        Args:
            config: the configuration to deploy; None for an existing endpoint.
            connections: maximum number of requests in flight.
            timeout: seconds that one request may take, cold start included.

        Raises:
            UnavailableError: the deployment failed (with its FailureReason) or timed out.
            QuotaError: the account's quota does not allow the endpoint.
        """
        ...

    async def metrics(self, endpoint: str, *, start: float, end: float, invocations: int) -> CloudWatchMetrics:
        """Read the endpoint's CloudWatch metrics of an interval.

        Args:
            endpoint: the endpoint's name.
            start: start of the interval, in seconds since the epoch.
            end: end of the interval, in seconds since the epoch.
            invocations: number of invocations to wait for, since CloudWatch publishes with a delay.
        """
        ...

    async def server_counts(self, endpoint: str) -> Mapping[str, int] | None:
        """Return the server-side counts (arrivals, ok, throttled, failed, cold), or None if the target has none."""
        ...

    def leftovers(self) -> Sequence[Leftover]:
        """Return the resources created through this account that may still exist."""
        ...


class Target(Protocol):
    """The description of what to measure: values only; I/O starts when `account` is entered."""

    def account(self, *, run_id: str) -> AbstractAsyncContextManager[Account]:
        """Connect to the target.

        Args:
            run_id: tags every resource that is created.
        """
        ...


@runtime_checkable
class SupportsVariants(Protocol):
    """An account of several targets, which `Step.variant` names."""

    def variant(self, name: str) -> Account:
        """Return the account of one target."""
        ...


def account_of_step(account: Account, step: Step) -> Account:
    """Return the account in which a step's endpoint is."""
    return account.variant(step.variant) if step.variant and isinstance(account, SupportsVariants) else account


class RemoteTarget(Protocol):
    """A target whose open endpoints can be called from other processes."""

    def for_workers(self, account: Account, endpoint: str) -> Target:
        """Return a target for worker processes that calls an open endpoint as an existing one.

        It can be pickled and contains no credentials.

        Args:
            account: the account of this target, open in this process.
            endpoint: the endpoint's name.
        """
        ...
