"""ExistingEndpointAccount: calls one endpoint that exists in an AWS account, and changes nothing.

See account.py for an account in which endpoints are deployed.
"""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from loadgen.aws.cloudwatch import MetricsWaitPolicy
from loadgen.aws.errors import SDK_ERRORS, to_loadgen_error
from loadgen.aws.identity import AwsConnection, connect
from loadgen.aws.open_endpoint import OpenEndpoint, TransportFactory, read_metrics, read_server_counts
from loadgen.aws.quotas import default_quotas
from loadgen.aws.session import AwsConnectionConfig
from loadgen.errors import AuthError, UnavailableError, UsageError
from loadgen.interfaces import Endpoint, Leftover
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.workload.serverless_config import ServerlessConfig

# EndpointStatus values in which an endpoint serves requests: it keeps serving while it is updated.
_SERVING_STATUSES = frozenset({"InService", "Updating", "SystemUpdating", "RollingBack"})


class ExistingEndpointAccount:
    """An account in which one existing endpoint is called. An `Account`; made by `open_existing`.

    It creates nothing, so it has no leftovers and keeps no journal.
    """

    def __init__(self, connection: AwsConnection, *, endpoint: str, transport_factory: TransportFactory) -> None:
        self.identity = connection.identity
        self.quotas = default_quotas(connection.clients.region, "nothing is deployed")
        self._clients = connection.clients
        self._endpoint = endpoint
        self._transport_factory = transport_factory

    @property
    def connection_config(self) -> AwsConnectionConfig:
        """How the API is reached; it holds no credentials, so it can be sent to another process."""
        return self._clients.connection_config

    async def check(self, configs: Sequence[ServerlessConfig | None]) -> None:
        """Refuse a configuration, and an endpoint that is not in service.

        A caller that may not DescribeEndpoint is let through: it may still be allowed to invoke the endpoint.

        Raises:
            UsageError: a configuration was given.
            ConfigError: the endpoint does not exist.
            UnavailableError: the endpoint is not in service.
        """
        for config in configs:
            _require_no_config(config)
        try:
            description = await self._clients.sagemaker.describe_endpoint(EndpointName=self._endpoint)
        except SDK_ERRORS as error:
            mapped_error = to_loadgen_error(error, f"DescribeEndpoint {self._endpoint}", now=time.time())
            if isinstance(mapped_error, AuthError) and self.identity.account_id:
                return
            raise mapped_error from error
        status = description.get("EndpointStatus", "of unknown status: DescribeEndpoint gave no EndpointStatus")
        if status not in _SERVING_STATUSES:
            raise UnavailableError(f"endpoint {self._endpoint} is {status}", hint="wait until it is InService")

    @asynccontextmanager
    async def open(
        self, config: ServerlessConfig | None, *, connections: int, timeout: float
    ) -> AsyncIterator[Endpoint]:
        """Open a transport to the endpoint.

        Args:
            config: must be None.
            connections: the most requests in flight.
            timeout: of one request, in seconds.

        Raises:
            UsageError: a configuration was given.
        """
        _require_no_config(config)
        async with self._transport_factory(
            self._clients, self._endpoint, connections=connections, timeout=timeout
        ) as opened:
            yield OpenEndpoint(self._endpoint, 0.0, opened.transport, opened.name, opened.note)

    async def metrics(self, endpoint: str, *, start: float, end: float, invocations: int) -> CloudWatchMetrics:
        """Read the endpoint's CloudWatch metrics between two epoch seconds, waiting for `invocations` to be counted."""
        return await read_metrics(
            self._clients, endpoint, start=start, end=end, invocations=invocations, wait_policy=MetricsWaitPolicy()
        )

    async def server_counts(self, endpoint: str) -> Mapping[str, int] | None:
        """Return the emulator's own request counts of the endpoint; None for anything but an emulator."""
        return await read_server_counts(self.identity, self._clients, endpoint)

    def leftovers(self) -> Sequence[Leftover]:
        """Return nothing: no resource was created."""
        return []


def _require_no_config(config: ServerlessConfig | None) -> None:
    if config is not None:
        raise UsageError(f"{config}: an existing endpoint cannot be reconfigured", hint="give None as configuration")


@asynccontextmanager
async def open_existing(
    connection_config: AwsConnectionConfig, *, endpoint: str, transport_factory: TransportFactory
) -> AsyncIterator[ExistingEndpointAccount]:
    """Connect to the account of an existing endpoint.

    Args:
        connection_config: region and API endpoint.
        endpoint: name of the endpoint.
        transport_factory: opens the transport that sends the requests.

    Raises:
        AuthError, ConfigError, UnavailableError: with a hint.
    """
    async with connect(connection_config) as connection:
        yield ExistingEndpointAccount(connection, endpoint=endpoint, transport_factory=transport_factory)
