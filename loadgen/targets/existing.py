"""Existing: an endpoint that stands, called as it is. Nothing is created, changed or deleted."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from loadgen.interfaces import Account, Target, Transport
from loadgen.targets.names import checked_name
from loadgen.targets.standalone import open_transport
from loadgen.targets.transport_selection import transport_named


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
        checked_name("endpoint", self.endpoint_name)
        transport_named(self.transport)

    def account(self, *, run_id: str) -> AbstractAsyncContextManager[Account]:  # noqa: ARG002 - nothing is tagged
        """Reach the account; its only configuration is None."""
        # Scenario files build targets as they load; AWS is imported when it is used.
        from loadgen.aws.account import open_standing
        from loadgen.aws.session import Access

        connect = transport_named(self.transport)
        access = Access(region=self.region, emulator_url=self.emulator_url)
        return open_standing(access, endpoint=self.endpoint_name, connect=connect)

    def open(self, *, connections: int = 10, timeout: float = 300.0) -> AbstractAsyncContextManager[Transport]:
        """Yield a transport to the endpoint, outside of a run."""
        return open_transport(self, None, connections=connections, timeout=timeout)

    def elsewhere(self, account: Account, endpoint: str) -> Target:
        """Describe the endpoint for another process."""
        return standing(account, endpoint, transport=self.transport)


def standing(account: Account, endpoint: str, *, transport: str) -> Existing:
    """Describe an open endpoint of an AWS account so that another process can call it with credentials of its own."""
    access = getattr(account, "access", None)
    url = access.emulator_url if access is not None else ""
    return Existing(endpoint, region=account.identity.region, transport=transport, emulator_url=url)
