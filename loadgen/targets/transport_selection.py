"""Which transport carries the requests: the one place where a name becomes a transport."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from loadgen.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from loadgen.aws.account import Connect, Connected
# Seconds for what a request's own timeout does not cover on the wire: connecting, writing, reading the body.
_BEFORE_AND_AFTER = 60.0
_NOT_WIRE = "not wire: "


@asynccontextmanager
async def _botocore(clients: Any, endpoint: str, *, connections: int, timeout: float) -> "AsyncIterator[Connected]":
    from loadgen.aws.account import Connected
    from loadgen.transport.botocore import BotocoreTransport, TracedSession

    async with clients.runtime(connections=connections, timeout=timeout, http_session=TracedSession) as client:
        yield Connected(BotocoreTransport(client, endpoint), "botocore")


@asynccontextmanager
async def _wire(clients: Any, endpoint: str, *, connections: int, timeout: float) -> "AsyncIterator[Connected]":
    """Refuse what the wire transport cannot do: it was asked for by name."""
    async with _wire_if_fit(clients, endpoint, connections=connections, timeout=timeout) as link:
        if link.note:
            raise ConfigError(
                f"transport='wire' cannot be used: {link.note.removeprefix(_NOT_WIRE)}",
                hint="'auto' takes the SDK's own",
            )
        yield link


@asynccontextmanager
async def _wire_if_fit(clients: Any, endpoint: str, *, connections: int, timeout: float) -> "AsyncIterator[Connected]":
    """Give way to the SDK's own transport where the wire cannot do what the SDK would, and say why."""
    from loadgen.aws.account import Connected
    from loadgen.transport.botocore import BotocoreTransport, TracedSession
    from loadgen.transport.wire.sdk_probe import UnfitError, open_wire_for
    from loadgen.transport.wire.timeouts import Timeouts

    timeouts = Timeouts(first_byte=timeout, total=timeout + _BEFORE_AND_AFTER)
    async with (
        clients.runtime(connections=connections, timeout=timeout, http_session=TracedSession) as client,
        AsyncExitStack() as stack,
    ):
        opening = open_wire_for(client, endpoint, connections=connections, timeouts=timeouts)
        try:
            link = Connected(await stack.enter_async_context(opening), "wire")
        except UnfitError as error:
            link = Connected(BotocoreTransport(client, endpoint), "botocore", f"{_NOT_WIRE}{error.message}")
        yield link


_TRANSPORTS: "Mapping[str, Connect]" = {"auto": _wire_if_fit, "botocore": _botocore, "wire": _wire}


def transport_named(name: str) -> "Connect":
    """Find how to open the transport of this name; `auto` is the wire where it is fit, else the SDK's own.

    Raises:
        UsageError: there is none of that name.
    """
    connect = _TRANSPORTS.get(name)
    if connect is None:
        raise UsageError(f"no transport named {name!r}", hint=f"known: {', '.join(_TRANSPORTS)}")
    return connect
