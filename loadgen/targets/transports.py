"""Which transport carries the requests: the one place where a name becomes a transport."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from loadgen.errors import UsageError

if TYPE_CHECKING:
    from loadgen.aws.account import Connect, Connected

# What `auto` stands for.
_AUTO = "wire"
# Seconds for what a request's own timeout does not cover on the wire: connecting, writing, reading the body.
_BEFORE_AND_AFTER = 60.0


@asynccontextmanager
async def _botocore(clients: Any, endpoint: str, *, connections: int, timeout: float) -> "AsyncIterator[Connected]":
    from loadgen.aws.account import Connected
    from loadgen.transport.botocore import BotocoreTransport, TracedSession

    async with clients.runtime(connections=connections, timeout=timeout, http_session=TracedSession) as client:
        yield Connected(BotocoreTransport(client, endpoint), "botocore")


@asynccontextmanager
async def _wire(clients: Any, endpoint: str, *, connections: int, timeout: float) -> "AsyncIterator[Connected]":
    from loadgen.aws.account import Connected
    from loadgen.transport.botocore import BotocoreTransport, TracedSession
    from loadgen.transport.deadlines import Timeouts
    from loadgen.transport.wire_session import UnfitError, open_wire_for

    timeouts = Timeouts(first_byte=timeout, total=timeout + _BEFORE_AND_AFTER)
    async with (
        clients.runtime(connections=connections, timeout=timeout, http_session=TracedSession) as client,
        AsyncExitStack() as stack,
    ):
        opening = open_wire_for(client, endpoint, connections=connections, timeouts=timeouts)
        try:
            link = Connected(await stack.enter_async_context(opening), "wire")
        except UnfitError as error:
            link = Connected(BotocoreTransport(client, endpoint), "botocore", f"not wire: {error.message}")
        yield link


_TRANSPORTS: "Mapping[str, Connect]" = {"botocore": _botocore, "wire": _wire}


def transport_named(name: str) -> "Connect":
    """Find how to open the transport of this name: `auto` or one of its own.

    Raises:
        UsageError: there is none of that name.
    """
    connect = _TRANSPORTS.get(_AUTO if name == "auto" else name)
    if connect is None:
        raise UsageError(f"no transport named {name!r}", hint=f"known: auto, {', '.join(_TRANSPORTS)}")
    return connect
