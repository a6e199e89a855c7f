"""Existing: an existing endpoint. Nothing is created, changed or deleted."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from loadgen.interfaces import Account, Target, Transport
from loadgen.targets.names import validate_resource_name
from loadgen.targets.standalone import open_transport
from loadgen.targets.transport_selection import resolve_transport


@dataclass(frozen=True, slots=True)
class Existing:
    """Call a SageMaker endpoint that is in service, serverless or not.

    Args:
        endpoint_name: its name.
        region: overrides the SDK's own chain.
        transport: `auto` or a transport's name.
        emulator_url: of the emulator that holds the endpoint; empty for AWS.

    Raises:
        UsageError: an invalid name or an unknown transport.

    Example:
        >>> Existing("ranker-prod").endpoint_name
        'ranker-prod'
    """

    endpoint_name: str
    region: str | None = None
    transport: str = "auto"
    emulator_url: str = ""

    def __post_init__(self) -> None:
        validate_resource_name("endpoint", self.endpoint_name)
        resolve_transport(self.transport)

    def account(self, *, run_id: str) -> AbstractAsyncContextManager[Account]:  # noqa: ARG002 - nothing is tagged
        """Connect to the account; the only configuration is None."""
        # Scenario files create targets while they load; AWS modules are imported when used.
        from loadgen.aws.existing_endpoint import open_existing
        from loadgen.aws.session import AwsConnectionConfig

        transport_factory = resolve_transport(self.transport)
        connection_config = AwsConnectionConfig(region=self.region, emulator_url=self.emulator_url)
        return open_existing(connection_config, endpoint=self.endpoint_name, transport_factory=transport_factory)

    def open(self, *, connections: int = 10, timeout: float = 300.0) -> AbstractAsyncContextManager[Transport]:
        """Yield a transport to the endpoint, without a run."""
        return open_transport(self, None, connections=connections, timeout=timeout)

    def for_workers(self, account: Account, endpoint: str) -> Target:
        """Return a target for the workers of other processes."""
        return existing_endpoint(account, endpoint, transport=self.transport)


def existing_endpoint(account: Account, endpoint: str, *, transport: str) -> Existing:
    """Return a target with which another process calls an endpoint, with its own credentials."""
    connection_config = getattr(account, "connection_config", None)
    url = connection_config.emulator_url if connection_config is not None else ""
    return Existing(endpoint, region=account.identity.region, transport=transport, emulator_url=url)
