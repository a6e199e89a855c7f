"""Existing: an endpoint that stands, called as it is. Nothing is created, changed or deleted."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from loadgen.interfaces import Account, Target, Transport
from loadgen.targets.names import validate_resource_name
from loadgen.targets.standalone import open_transport
from loadgen.targets.transport_selection import resolve_transport


@dataclass(frozen=True, slots=True)
class Existing:
    """Call a SageMaker endpoint that is in service, whatever is behind it.

    Args:
        endpoint_name: its name.
        region: overrides the SDK's own chain.
        transport: `auto` or a transport's name.
        emulator_url: of the emulator it stands in; empty for AWS.

    Raises:
        UsageError: a name that AWS would refuse, an unknown transport.

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
        """Reach the account; its only configuration is None."""
        # Scenario files build targets as they load; AWS is imported when it is used.
        from loadgen.aws.existing_endpoint import open_existing
        from loadgen.aws.session import AwsConnectionConfig

        transport_factory = resolve_transport(self.transport)
        connection_config = AwsConnectionConfig(region=self.region, emulator_url=self.emulator_url)
        return open_existing(connection_config, endpoint=self.endpoint_name, transport_factory=transport_factory)

    def open(self, *, connections: int = 10, timeout: float = 300.0) -> AbstractAsyncContextManager[Transport]:
        """Yield a transport to the endpoint, outside of a run."""
        return open_transport(self, None, connections=connections, timeout=timeout)

    def for_workers(self, account: Account, endpoint: str) -> Target:
        """Describe the endpoint for another process."""
        return existing_endpoint(account, endpoint, transport=self.transport)


def existing_endpoint(account: Account, endpoint: str, *, transport: str) -> Existing:
    """Describe an open endpoint of an AWS account so that another process can call it with credentials of its own."""
    connection_config = getattr(account, "connection_config", None)
    url = connection_config.emulator_url if connection_config is not None else ""
    return Existing(endpoint, region=account.identity.region, transport=transport, emulator_url=url)
