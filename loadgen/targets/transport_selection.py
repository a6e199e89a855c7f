"""Which transport carries the requests: the one place where a name becomes a transport."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from loadgen.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from loadgen.aws.open_endpoint import OpenTransport, TransportFactory
# Seconds for what a request's own timeout does not cover on the wire: connecting, writing, reading the body.
_CONNECT_AND_TRANSFER_TIME = 60.0
_FALLBACK_PREFIX = "not wire: "


@asynccontextmanager
async def _botocore(clients: Any, endpoint: str, *, connections: int, timeout: float) -> "AsyncIterator[OpenTransport]":
    from loadgen.aws.open_endpoint import OpenTransport
    from loadgen.transport.botocore import BotocoreTransport, TracedSession

    async with clients.runtime(connections=connections, timeout=timeout, http_session=TracedSession) as client:
        yield OpenTransport(BotocoreTransport(client, endpoint), "botocore")


@asynccontextmanager
async def _wire(clients: Any, endpoint: str, *, connections: int, timeout: float) -> "AsyncIterator[OpenTransport]":
    """Refuse what the wire transport cannot do: it was asked for by name."""
    async with _auto(clients, endpoint, connections=connections, timeout=timeout) as opened:
        if opened.note:
            raise ConfigError(
                f"transport='wire' cannot be used: {opened.note.removeprefix(_FALLBACK_PREFIX)}",
                hint="'auto' takes the SDK's own",
            )
        yield opened


@asynccontextmanager
async def _auto(clients: Any, endpoint: str, *, connections: int, timeout: float) -> "AsyncIterator[OpenTransport]":
    """Give way to the SDK's own transport where the wire cannot do what the SDK would, and say why."""
    from loadgen.aws.open_endpoint import OpenTransport
    from loadgen.transport.botocore import BotocoreTransport, TracedSession
    from loadgen.transport.wire.sdk_probe import UnsupportedClientError, open_wire_for
    from loadgen.transport.wire.timeouts import Timeouts

    timeouts = Timeouts(first_byte=timeout, total=timeout + _CONNECT_AND_TRANSFER_TIME)
    async with (
        clients.runtime(connections=connections, timeout=timeout, http_session=TracedSession) as client,
        AsyncExitStack() as stack,
    ):
        wire_context = open_wire_for(client, endpoint, connections=connections, timeouts=timeouts)
        try:
            opened = OpenTransport(await stack.enter_async_context(wire_context), "wire")
        except UnsupportedClientError as error:
            opened = OpenTransport(
                BotocoreTransport(client, endpoint), "botocore", f"{_FALLBACK_PREFIX}{error.message}"
            )
        yield opened


_TRANSPORTS: "Mapping[str, TransportFactory]" = {"auto": _auto, "botocore": _botocore, "wire": _wire}


def resolve_transport(name: str) -> "TransportFactory":
    """Find how to open the transport of this name; `auto` is the wire where it is fit, else the SDK's own.

    Raises:
        UsageError: there is none of that name.
    """
    factory = _TRANSPORTS.get(name)
    if factory is None:
        raise UsageError(f"no transport named {name!r}", hint=f"known: {', '.join(_TRANSPORTS)}")
    return factory
