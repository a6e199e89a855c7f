"""The server's connections, with the limits that aiohttp does not have.

Limits on the number of connections, on the time for a request's head, and on the size of a body and the time for it;
and the instant at which a request's last byte arrived.
"""

import asyncio
import logging
import time
import zlib
from typing import Any

from aiohttp import web

from loadgen.emulator.protocol.responses import HttpResponse
from loadgen.emulator.settings import Settings

_LOG = logging.getLogger(__name__)
# A signature with a session token takes some 3 KB in its headers.
_MAX_LINE_BYTES = 16 * 1024


class RejectedRequest(Exception):  # noqa: N818  carries a response
    """A request that is rejected before it is dispatched; its connection is closed after the response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.response = HttpResponse(status, text.encode(), "text/plain", close_connection=True)


class ServerConnection(web.RequestHandler):
    """One connection.

    `received` is the instant at which its last bytes arrived, `head_started` that of the first bytes of a request, 0 if
    there are none (`perf_counter` seconds). `is_handling` is True from a request's head until its response is written.
    """

    __slots__ = ("_is_over_limit", "head_started", "is_handling", "received")

    def __init__(self, server: "HttpServer", **limits: Any) -> None:
        super().__init__(server, **limits)
        self.received = time.perf_counter()
        self.head_started = 0.0
        self.is_handling = False
        self._is_over_limit = len(server.connections) >= server.settings.connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or close it if there are too many."""
        super().connection_made(transport)
        if self._is_over_limit:
            self.force_close()

    def data_received(self, data: bytes) -> None:
        """Record the instant, and let aiohttp parse."""
        # aiohttp also calls this without data, to continue parsing its buffer.
        if data:
            self.received = time.perf_counter()
            if self.head_started == 0.0 and not self.is_handling:
                self.head_started = self.received
        super().data_received(data)

    def is_timed_out(self, now: float, settings: Settings) -> bool:
        """Return whether a request's head, or the wait for one, takes too long."""
        if self.is_handling:
            return False
        if self.head_started:
            return now - self.head_started > settings.head_timeout
        return now - self.received > settings.idle_timeout

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  the signature is aiohttp's
    ) -> web.StreamResponse:
        """Respond to malformed HTTP, or to an internal failure, without internal details."""
        if status >= 500:
            _LOG.error("%s %s failed", request.method, request.rel_url.path, exc_info=exc)
        text = "Bad Request" if status < 500 else '{"message":"Internal failure"}'
        response = web.Response(status=status, text=text)
        response.force_close()
        return response


class HttpServer(web.Server):
    """Creates connections, and closes slow ones."""

    def __init__(self, handler: Any, settings: Settings) -> None:
        super().__init__(handler)
        self.settings = settings
        self._connection_options = {
            "loop": asyncio.get_running_loop(),
            "access_log": None,
            "keepalive_timeout": settings.idle_timeout,
            "lingering_time": 2.0,
            "max_line_size": _MAX_LINE_BYTES,
            "max_field_size": _MAX_LINE_BYTES,
            # The container gets a body as it was sent; for the other services the server decompresses, within bounds.
            "auto_decompress": False,
        }

    def __call__(self) -> web.RequestHandler:
        """Create the protocol of a new connection."""
        return ServerConnection(self, **self._connection_options)

    async def close_slow_connections(self) -> None:
        """Close timed-out connections, until cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self.settings.head_timeout))
            now = time.perf_counter()
            for connection in self.connections:
                if isinstance(connection, ServerConnection) and connection.is_timed_out(now, self.settings):
                    connection.force_close()


def joined_headers(request: web.BaseRequest) -> dict[str, str]:
    """Return the headers by lower-case name; several of one name are joined by commas."""
    joined: dict[str, str] = {}
    for name, value in request.headers.items():
        key = name.lower()
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    return joined


async def read_body(request: web.BaseRequest, *, max_bytes: int, timeout: float) -> bytes:
    """Read a request's whole body.

    Raises:
        RejectedRequest: it has more than `max_bytes` bytes, or is incomplete after `timeout` seconds.
    """
    content = request.content
    if content.is_eof():
        return content.read_nowait()
    if (request.content_length or 0) > max_bytes:
        raise RejectedRequest(413, "Request body too large")
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    chunks, size = [], 0
    try:
        async with asyncio.timeout(timeout):
            while chunk := await content.readany():
                size += len(chunk)
                if size > max_bytes:
                    raise RejectedRequest(413, "Request body too large")
                chunks.append(chunk)
    except TimeoutError as error:
        raise RejectedRequest(408, "Request body took too long") from error
    return b"".join(chunks)


def gunzip(body: bytes, *, max_bytes: int) -> bytes:
    """Decompress a gzip body.

    Raises:
        RejectedRequest: it is not gzip, is truncated, or has more than `max_bytes` bytes inside.
    """
    unzip = zlib.decompressobj(wbits=31)
    try:
        content = unzip.decompress(body, max_bytes)
    except zlib.error as error:
        raise RejectedRequest(400, "Content-Encoding is gzip, the body is not") from error
    if unzip.unconsumed_tail:
        raise RejectedRequest(413, "Request body too large")
    if not unzip.eof:
        raise RejectedRequest(400, "The gzip body is cut short")
    return content
