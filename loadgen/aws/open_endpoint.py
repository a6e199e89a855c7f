"""An endpoint that can be called: its transport, its CloudWatch metrics and its server-side counts.

Shared by the accounts of account.py and existing_endpoint.py.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from loadgen.aws.cloudwatch import CloudWatchReader, Interval, MetricsWaitPolicy
from loadgen.aws.emulator_api import fetch_server_counts
from loadgen.aws.session import Clients
from loadgen.interfaces import Identity, Transport
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics


@dataclass(frozen=True, slots=True)
class OpenTransport:
    """An open transport to one endpoint.

    Args:
        transport: sends the requests.
        name: of the transport, such as `wire`.
        note: why it is not the transport that was asked for; empty when it is.
    """

    transport: Transport
    name: str
    note: str = ""


class TransportFactory(Protocol):
    """Open a transport to an endpoint."""

    def __call__(
        self, clients: Clients, endpoint: str, *, connections: int, timeout: float
    ) -> AbstractAsyncContextManager[OpenTransport]:
        """Open a transport with room for `connections` requests in flight, each of at most `timeout` seconds."""
        ...


@dataclass(slots=True)
class OpenEndpoint:
    """An endpoint in service and the transport to it. Implements `loadgen.interfaces.Endpoint`."""

    name: str
    deploy_duration: float
    transport: Transport
    transport_name: str
    transport_note: str


async def read_metrics(
    clients: Clients, endpoint: str, *, start: float, end: float, invocations: int, wait_policy: MetricsWaitPolicy
) -> CloudWatchMetrics:
    """Read an endpoint's CloudWatch metrics between two epoch seconds, waiting for `invocations` to be counted."""
    reader = CloudWatchReader(clients.cloudwatch, endpoint, Interval.from_times(start, end))
    return await reader.read(end=end, invocations=invocations, wait_policy=wait_policy)


async def read_server_counts(identity: Identity, clients: Clients, endpoint: str) -> Mapping[str, int] | None:
    """Return the emulator's own request counts of an endpoint; None for anything but an emulator."""
    if identity.kind != "emulator":
        return None
    return await fetch_server_counts(clients.control_url, endpoint, token=await clients.session_token())
