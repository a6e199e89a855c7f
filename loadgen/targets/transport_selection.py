"""Transport selection: resolves a transport name to a factory."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from loadgen.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from loadgen.aws.open_endpoint import OpenTransport, TransportFactory
# Seconds beyond a request's timeout for what precedes it: waiting for a connection, and opening one.
_CONNECTION_TIME = 60.0
_FALLBACK_PREFIX = "not wire: "


@asynccontextmanager
async def _botocore(clients: Any, endpoint: str, *, connections: int, timeout: float) -> "AsyncIterator[OpenTransport]":
    from loadgen.aws.open_endpoint import OpenTransport
    from loadgen.transport.botocore import BotocoreTransport, TracedSession

    async with clients.runtime(connections=connections, timeout=timeout, http_session=TracedSession) as client:
        yield OpenTransport(BotocoreTransport(client, endpoint, timeout=timeout), "botocore")


@asynccontextmanager
async def _wire(clients: Any, endpoint: str, *, connections: int, timeout: float) -> "AsyncIterator[OpenTransport]":
    """Open the wire transport; raise ConfigError if it does not support the client."""
    async with _auto(clients, endpoint, connections=connections, timeout=timeout) as opened:
        if opened.note:
            raise ConfigError(
                f"transport='wire' cannot be used: {opened.note.removeprefix(_FALLBACK_PREFIX)}",
                hint="'auto' falls back to the SDK's transport",
            )
        yield opened


@asynccontextmanager
async def _auto(clients: Any, endpoint: str, *, connections: int, timeout: float) -> "AsyncIterator[OpenTransport]":
    """Open the wire transport, or the SDK's transport with the reason as `note`."""
    from loadgen.aws.open_endpoint import OpenTransport
    from loadgen.transport.botocore import BotocoreTransport, TracedSession
    from loadgen.transport.wire.sdk_probe import UnsupportedClientError, open_wire_for
    from loadgen.transport.wire.timeouts import Timeouts

    timeouts = Timeouts(first_byte=timeout, service=timeout, total=timeout + _CONNECTION_TIME)
    async with (
        clients.runtime(connections=connections, timeout=timeout, http_session=TracedSession) as client,
        AsyncExitStack() as stack,
    ):
        wire_context = open_wire_for(client, endpoint, connections=connections, timeouts=timeouts)
        try:
            opened = OpenTransport(await stack.enter_async_context(wire_context), "wire")
        except UnsupportedClientError as error:
            opened = OpenTransport(
                BotocoreTransport(client, endpoint, timeout=timeout), "botocore", f"{_FALLBACK_PREFIX}{error.message}"
            )
        yield opened


_TRANSPORTS: "Mapping[str, TransportFactory]" = {"auto": _auto, "botocore": _botocore, "wire": _wire}


def resolve_transport(name: str) -> "TransportFactory":
    """Return the factory of the transport of this name.

    Args:
        name: `wire`, `botocore`, or `auto`: wire if it supports the client, else botocore.

    Raises:
        UsageError: the name is unknown.
    """
    factory = _TRANSPORTS.get(name)
    if factory is None:
        raise UsageError(f"no transport named {name!r}", hint=f"known: {', '.join(_TRANSPORTS)}")
    return factory
