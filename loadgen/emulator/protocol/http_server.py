"""The server's connections, with the limits that aiohttp does not have.

Limits on the number of connections, on the time for a request's head, on the size of a body and the time for it, and
on the memory of all bodies together; and the instant at which a request's last byte arrived.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web

from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.responses import HttpResponse, rest_error
from loadgen.emulator.settings import Settings
from loadgen.open_files import open_files_limit

_LOG = logging.getLogger(__name__)
# A signature with a session token takes some 3 KB in its headers.
_MAX_LINE_BYTES = 16 * 1024
# Files that the emulator opens for itself, its jobs' children included.
_OWN_FILES = 100
# Connections above the limit that are told so by a response; further ones are closed without one.
_MAX_REFUSED = 100
_WRITE_BYTES = 256 * 1024  # of a response at once; the next part follows when the client has taken this one
_READ_BYTES = 32 * 1024  # of a body that waits to be read, on each connection; aiohttp stops to read at twice that


class RejectedRequest(Exception):  # noqa: N818  carries a response
    """A request that is rejected before it is dispatched; its connection is closed after the response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.response = HttpResponse(status, text.encode(), "text/plain", close_connection=True)


class BodyMemoryExceeded(Exception):  # noqa: N818  becomes a response
    """The bodies that are being received exceed the memory for all of them."""


class AlreadySentResponse(web.StreamResponse):
    """Tells aiohttp that the response is already written; aiohttp only has to know whether the connection is kept."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection is kept."""
        return self._keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing."""


class ServerConnection(web.RequestHandler):
    """One connection.

    `received` is the instant at which its last bytes arrived, `head_started` that of the first bytes of a request, 0 if
    there are none (`perf_counter` seconds). `is_handling` is True from a request's head until its response is written.
    `refusal` is the response to its first request when the server has too many connections, else None.
    """

    __slots__ = ("_is_dropped", "_writable", "head_started", "is_handling", "received", "refusal")

    def __init__(self, server: "HttpServer", **limits: Any) -> None:
        super().__init__(server, **limits)
        self.received = time.perf_counter()
        self.head_started = 0.0
        self.is_handling = False
        self._writable = asyncio.Event()
        self._writable.set()
        excess = len(server.connections) - server.max_connections
        self.refusal = server.too_many_connections() if excess >= 0 else None
        self._is_dropped = excess >= _MAX_REFUSED

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection; close it if there are too many even of those that are refused by a response."""
        super().connection_made(transport)
        if self._is_dropped:
            self.force_close()

    def data_received(self, data: bytes) -> None:
        """Record the instant, and let aiohttp parse."""
        # aiohttp also calls this without data, to continue parsing its buffer.
        if data:
            self.received = time.perf_counter()
            if self.head_started == 0.0 and not self.is_handling:
                self.head_started = self.received
        super().data_received(data)

    def pause_writing(self) -> None:
        """Record that the client does not read as fast as the server writes."""
        super().pause_writing()
        self._writable.clear()

    def resume_writing(self) -> None:
        """Record that the client has read."""
        super().resume_writing()
        self._writable.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release a response that waits for the client."""
        super().connection_lost(exc)
        self._writable.set()

    async def send(self, head: bytes, body: bytes | memoryview, *, timeout: float) -> None:
        """Write a response, in parts of which the next is written when the client has read enough of the last.

        A client that reads nothing for `timeout` seconds is disconnected.
        """
        transport = self.transport
        if transport is None:
            return
        if len(body) <= _WRITE_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            parts = memoryview(body)
            for start in range(0, len(parts), _WRITE_BYTES):
                await self._wait_writable(timeout)
                if transport.is_closing():
                    return
                transport.write(parts[start : start + _WRITE_BYTES])
        # Before the next request of the same connection, whose response would be added to the unread ones.
        if not self._writable.is_set():
            await self._wait_writable(timeout)

    async def _wait_writable(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._writable.wait()
        except TimeoutError:
            if self.transport is not None:
                self.transport.abort()

    def is_timed_out(self, now: float, settings: Settings) -> bool:
        """Return whether a request's head, or the wait for one, takes too long."""
        if self.is_handling:
            return False
        if self.head_started:
            return now - self.head_started > settings.head_timeout
        if self.refusal is not None:
            return True
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
        self.max_connections = max(1, min(settings.connections, open_files_limit() - _OWN_FILES - _MAX_REFUSED))
        self._connection_options = {
            "loop": asyncio.get_running_loop(),
            "access_log": None,
            "keepalive_timeout": settings.idle_timeout,
            # The rest of a refused body is read and dropped: a client that still sends would get a reset, no response.
            "lingering_time": settings.head_timeout,
            "max_line_size": _MAX_LINE_BYTES,
            "max_field_size": _MAX_LINE_BYTES,
            "read_bufsize": _READ_BYTES,
            # The container gets a body as it was sent; for the other services the server decompresses, within bounds.
            "auto_decompress": False,
        }

    def __call__(self) -> web.RequestHandler:
        """Create the protocol of a new connection."""
        return ServerConnection(self, **self._connection_options)

    def too_many_connections(self) -> HttpResponse:
        """Return the response to a request on a connection above the limit; it names what decided the limit."""
        if self.max_connections < self.settings.connections:
            cause = f"its limit of open files (`ulimit -n`) is {open_files_limit():,}"
        else:
            cause = "the limit of its settings"
        message = f"The emulator has {self.max_connections:,} connections open, its maximum ({cause})"
        code = "ServiceUnavailable"
        # The JSON protocols read the code from the body, REST from a header.
        return replace(rest_error(ServiceError(code, message, 503, {"__type": code})), close_connection=True)

    async def close_slow_connections(self) -> None:
        """Close timed-out connections, until cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self.settings.head_timeout))
            now = time.perf_counter()
            for connection in self.connections:
                if isinstance(connection, ServerConnection) and connection.is_timed_out(now, self.settings):
                    connection.force_close()


class BodyReader:
    """Reads the bodies of requests, with one limit for the memory of all.

    Args:
        max_held_bytes: limit of the bodies that are held at once, over all connections.
        timeout: maximum time for one body, seconds.
    """

    def __init__(self, *, max_held_bytes: int, timeout: float) -> None:
        self._max_held_bytes = max_held_bytes
        self._timeout = timeout
        self.held_bytes = 0

    @asynccontextmanager
    async def read(self, request: web.BaseRequest, *, max_bytes: int) -> AsyncIterator[bytes]:
        """Yield a request's whole body, which counts as held until the block ends.

        Raises:
            RejectedRequest: it has more than `max_bytes` bytes, or is incomplete after the timeout.
            BodyMemoryExceeded: with it, all bodies would exceed the limit.
        """
        chunks: list[bytes] = []
        held = 0
        try:
            async for chunk in self._chunks(request, max_bytes):
                if self.held_bytes + len(chunk) > self._max_held_bytes:
                    raise BodyMemoryExceeded
                held += len(chunk)
                self.held_bytes += len(chunk)
                chunks.append(chunk)
            body = b"".join(chunks)
            chunks.clear()
            yield body
        finally:
            self.held_bytes -= held

    async def count(self, request: web.BaseRequest, *, max_bytes: int) -> int:
        """Return the size of a request's body, whose bytes are dropped as they arrive.

        Raises:
            RejectedRequest: it has more than `max_bytes` bytes, or is incomplete after the timeout.
        """
        content = request.content
        if content.is_eof():
            return len(content.read_nowait())
        size = 0
        async for chunk in self._chunks(request, max_bytes):
            size += len(chunk)
        return size

    async def _chunks(self, request: web.BaseRequest, max_bytes: int) -> AsyncIterator[bytes]:
        content = request.content
        if content.is_eof():
            yield content.read_nowait()
            return
        if (request.content_length or 0) > max_bytes:
            raise RejectedRequest(413, "Request body too large")
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        end = asyncio.get_running_loop().time() + self._timeout
        size = 0
        while True:
            try:
                async with asyncio.timeout_at(end):
                    chunk = await content.readany()
            except TimeoutError as error:
                raise RejectedRequest(408, "Request body took too long") from error
            if not chunk:
                return
            size += len(chunk)
            if size > max_bytes:
                raise RejectedRequest(413, "Request body too large")
            yield chunk


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
