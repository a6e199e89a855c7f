"""Which transport carries the requests: the one place where a name becomes a transport."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from loadgen.errors import UsageError

if TYPE_CHECKING:
    from loadgen.aws.account import Connect, Connected

# What `auto` stands for.
_AUTO = "botocore"


@asynccontextmanager
async def _botocore(clients: Any, endpoint: str, *, connections: int, timeout: float) -> "AsyncIterator[Connected]":
    from loadgen.aws.account import Connected
    from loadgen.transport.botocore import BotocoreTransport, TracedSession

    async with clients.runtime(connections=connections, timeout=timeout, http_session=TracedSession) as client:
        yield Connected(BotocoreTransport(client, endpoint), "botocore")


_TRANSPORTS: "Mapping[str, Connect]" = {"botocore": _botocore}


def transport_named(name: str) -> "Connect":
    """Find how to open the transport of this name: `auto` or one of its own.

    Raises:
        UsageError: there is none of that name.
    """
    connect = _TRANSPORTS.get(_AUTO if name == "auto" else name)
    if connect is None:
        raise UsageError(f"no transport named {name!r}", hint=f"known: auto, {', '.join(_TRANSPORTS)}")
    return connect
