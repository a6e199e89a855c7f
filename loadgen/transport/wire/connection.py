"""Connection: sends one request at a time, receives its response, and takes the timestamps of both.

Rule: a response belongs to the request in flight or to none. Unsolicited bytes, a cancelled request or any error close
the connection. Nothing here awaits, so nothing here can be interrupted.

`socket.send` passes the request to the kernel at once, not the event loop's transport: uvloop's buffers it until the
end of the loop iteration, which would make `sent` too early under load. The transport is used only when the socket is
full.

See pool.py for the assignment of connections, connector.py for opening them.
"""

import array
import asyncio
import socket
import ssl
import sys
from fcntl import ioctl
from termios import FIONREAD, TIOCOUTQ
from time import perf_counter
from typing import NamedTuple, Protocol, cast

from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome
from loadgen.transport.wire.http1 import OversizeError, ParsedResponse, ProtocolError, ResponseParser
from loadgen.transport.wire.timeouts import Timeouts, missed_deadline
from loadgen.transport.wire.tls import Tls, TlsError

_READ_SIZE = 64 * 1024  # bytes of one read on asyncio's own loop
_IOCTL_RESULT = array.array("i", [0])  # output buffer of ioctl, read at once
_IS_LINUX = sys.platform == "linux"  # TIOCOUTQ applies to sockets on Linux only


class TimedResponse(NamedTuple):
    """A response and its timestamps."""

    response: ParsedResponse
    sent: float
    first_byte: float
    done: float


class ConnectionOwner(Protocol):
    """The pool as a connection sees it: notified when the connection is free, closed or released."""

    desync_count: int
    timeouts: Timeouts

    def release(self, connection: "Connection") -> None:
        """Take back a connection that can serve the next request."""

    def discard(self, connection: "Connection") -> None:
        """Remove a connection that has just been closed."""

    def transport_closed(self, connection: "Connection") -> None:
        """Record that the event loop has released a closed connection."""


class Connection(asyncio.Protocol):
    """A connected socket that speaks HTTP/1.1, with or without TLS.

    Args:
        owner: notified of state changes.
        sock: connected and non-blocking; owned by the loop's transport from `connection_made` on.
        tls: None for http.
        body_limit: maximum bytes of a response body.
        is_on_demand: True if it is opened for a waiting request.
    """

    __slots__ = (
        "_fd",
        "_is_early_response",
        "_owner",
        "_parser",
        "_request_size",
        "_socket",
        "expires_at",
        "first_byte",
        "flushed",
        "handshake",
        "is_on_demand",
        "is_open",
        "loop",
        "pool_wait",
        "request_count",
        "sent",
        "tls",
        "transport",
        "waiter",
    )

    def __init__(
        self, owner: ConnectionOwner, sock: socket.socket, tls: Tls | None, *, body_limit: int, is_on_demand: bool
    ) -> None:
        self._owner = owner
        self._socket = sock
        self._fd = sock.fileno()
        self._parser = ResponseParser(body_limit=body_limit)
        self._request_size = 0
        self._is_early_response = False
        self.tls = tls
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.handshake: asyncio.Future[str] | None = None
        self.waiter: asyncio.Future[TimedResponse | TransportError] | None = None
        self.is_open = True
        self.is_on_demand = is_on_demand
        self.request_count = 0
        self.pool_wait = 0.0
        self.sent = 0.0
        self.flushed = 0.0
        self.first_byte = 0.0
        self.expires_at = perf_counter() + owner.timeouts.idle

    def __repr__(self) -> str:
        state = "closed" if not self.is_open else "busy" if self.waiter is not None else "idle"
        return f"<Connection {state}, {self.request_count} requests>"

    # --- sending -----------------------------------------------------------------------------------------------------

    def send_request(
        self, data: bytes, body: bytes, pool_wait: float
    ) -> "asyncio.Future[TimedResponse | TransportError]":
        """Send a request; the future completes with the response or with a TransportError as its result.

        Args:
            data: the request, or all of it except the body.
            body: the body if it is sent from its own buffer, else empty.
            pool_wait: seconds the request waited for this connection.
        """
        self.waiter = waiter = self.loop.create_future()
        self.request_count += 1
        self.pool_wait = pool_wait
        self.first_byte = 0.0
        self.sent = self.flushed = perf_counter()
        if self.tls is not None:
            try:
                self.tls.encrypt(data)
                if body:
                    self.tls.encrypt(body)
            except TlsError as error:
                self.fail(Outcome.TLS, str(error))
                return waiter
            data, body = self.tls.take_outgoing(), b""
            self.sent = self.flushed = perf_counter()  # encryption is not the target's service time
        self._request_size = len(data) + len(body)
        self._send(data, body)
        return waiter

    def _send(self, data: bytes, body: bytes) -> None:
        try:
            taken = self._socket.sendmsg((data, body)) if body else self._socket.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            # The peer has closed. `data_received` and `connection_lost` deliver a response that it may have sent, which
            # must not be checked against how much of the request has arrived.
            self._request_size = sys.maxsize
            return
        size = len(data)
        if taken == size + len(body) or self.transport is None:
            return
        self.flushed = 0.0
        if taken < size:
            self.transport.write(memoryview(data)[taken:])
        if body:
            self.transport.write(memoryview(body)[max(0, taken - size) :])
        if not self.transport.get_write_buffer_size():  # all was accepted at once: resume_writing will not be called
            self.flushed = perf_counter()

    def _unacknowledged_bytes(self) -> int:
        """Return how many bytes of the request the peer's kernel has not acknowledged. Costs 0.4 us.

        The segment of a response acknowledges the request. If no byte is acknowledged, the data cannot be the response:
        a peer may send `408 Request Timeout` to an idle connection while a request is in flight. If some bytes are not
        acknowledged, the peer responded before it had the whole request.
        """
        try:
            ioctl(self._fd, TIOCOUTQ, _IOCTL_RESULT, True)  # noqa: FBT003 - the call has no name for it
        except OSError:  # a kernel without this call
            return 0
        return _IOCTL_RESULT[0]

    def _fail_unsolicited_response(self) -> None:
        self._owner.desync_count += 1
        outcome = Outcome.STALE_KEEPALIVE if self.request_count > 1 else Outcome.PROTOCOL
        self.fail(outcome, "a response arrived before the request could have")

    def resume_writing(self) -> None:
        """Record when the kernel has accepted the rest of a request that did not fit at once."""
        self.flushed = perf_counter()

    # --- receiving ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the loop's transport, which owns the socket from now on."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=0)  # so that resume_writing means that the buffer is empty

    def data_received(self, data: bytes) -> None:
        """Parse a response, or close the connection on unsolicited bytes."""
        now = perf_counter()
        if self.tls is not None:
            data = self._decrypt(self.tls, data)
            if not data:
                return
        waiter = self.waiter
        if waiter is None:
            if self.is_open:
                self._owner.desync_count += 1
                self.close()
            return
        if self.first_byte == 0.0:
            left = self._unacknowledged_bytes() if _IS_LINUX else 0
            if left >= self._request_size:
                self._fail_unsolicited_response()
                return
            self._is_early_response = left > 0
            self.first_byte = now
        try:
            answer = self._parser.feed(data)
        except ProtocolError as error:
            self.fail(Outcome.PROTOCOL, str(error))
            return
        except OversizeError as error:
            self.fail(Outcome.OVERSIZE, str(error))
            return
        if answer is not None:
            self._complete(waiter, answer, now)
        elif self.tls is not None and self.tls.is_closed:
            self.eof_received()

    def _complete(
        self, waiter: "asyncio.Future[TimedResponse | TransportError]", response: ParsedResponse, now: float
    ) -> None:
        self.waiter = None
        if not waiter.done():
            waiter.set_result(TimedResponse(response, self.sent, self.first_byte, now))
        if response.has_trailing_bytes:
            self._owner.desync_count += 1
        # A response to an incomplete request leaves the rest of that request in flight: not reusable.
        if (
            not response.is_reusable
            or self._is_early_response
            or self.flushed == 0.0
            or (self.tls is not None and self.tls.is_closed)
        ):
            self.close()
            return
        idle = self._owner.timeouts.idle
        # One second less than the peer's timeout, so that its close and the next request do not cross.
        self.expires_at = now + (
            idle if not response.keep_alive_timeout else min(idle, max(response.keep_alive_timeout - 1, 0.5))
        )
        self._owner.release(self)

    def eof_received(self) -> None:
        """Handle the peer's end of stream, which may complete a response."""
        waiter = self.waiter
        if waiter is not None and (self.tls is None or self.tls.is_closed):
            answer = self._parser.feed_eof()
            if answer is not None:
                self._complete(waiter, answer, perf_counter())
                return
        self._on_disconnect("the peer closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the loss of the connection; a request in flight fails."""
        self._on_disconnect("the peer reset the connection" if exc is not None else "the peer closed the connection")
        self._owner.transport_closed(self)

    def _on_disconnect(self, cause: str) -> None:
        if self.handshake is not None and not self.handshake.done():
            self.handshake.set_result(f"{cause} in the handshake")
        if self.first_byte:
            self.fail(Outcome.TRUNCATED, f"{cause} within the response")
        elif self.request_count > 1:
            self.fail(Outcome.STALE_KEEPALIVE, f"{cause} before it responded on a reused connection")
        else:
            self.fail(Outcome.RESET, f"{cause} before it responded")

    def has_no_pending_data(self) -> bool:
        """Return whether nothing has arrived since the last response; data that has arrived closes the connection.

        The event loop polls sockets once an iteration, and the next request may be sent within the same iteration. This
        check costs 0.4 us, so that a surplus response is never taken for the next one.
        """
        try:
            ioctl(self._fd, FIONREAD, _IOCTL_RESULT, True)  # noqa: FBT003 - the call has no name for it
            if _IOCTL_RESULT[0]:
                self.data_received(self._socket.recv(_READ_SIZE))
        except OSError:
            self.close()
        return self.is_open

    # --- TLS ---------------------------------------------------------------------------------------------------------

    def begin_handshake(self, tls: Tls) -> "asyncio.Future[str]":
        """Start TLS; the future completes with an empty string, or with the error message."""
        self.handshake = handshake = self.loop.create_future()
        tls.begin_handshake()
        self._send(tls.take_outgoing(), b"")
        return handshake

    def _decrypt(self, tls: Tls, data: bytes) -> bytes:
        try:
            plaintext = tls.decrypt(data)
        except TlsError as error:
            if self.handshake is not None and not self.handshake.done():
                self.handshake.set_result(str(error))
            self.fail(Outcome.TLS, str(error))
            return b""
        reply = tls.take_outgoing()
        if reply:
            self._send(reply, b"")
        if tls.is_ready and self.handshake is not None and not self.handshake.done():
            self.handshake.set_result("")
        if tls.is_closed and not plaintext:
            self.eof_received()
        return plaintext

    @property
    def tls_session(self) -> ssl.SSLSession | None:
        """The TLS session, for the next connection to resume."""
        return None if self.tls is None else self.tls.session

    # --- closing -----------------------------------------------------------------------------------------------------

    def missed_deadline(self, now: float) -> tuple[Outcome, str] | None:
        """Return which timeout the request in flight has exceeded, if any.

        Args:
            now: `time.perf_counter()` seconds.
        """
        return missed_deadline(
            now,
            self._owner.timeouts,
            requested=self.sent - self.pool_wait,
            sent=self.sent,
            flushed=self.flushed,
            first_byte=self.first_byte,
        )

    def fail(self, outcome: Outcome, detail: str) -> None:
        """Fail the request in flight, if any, and close the connection."""
        waiter = self.waiter
        self.waiter = None
        if waiter is not None and not waiter.done():
            # A result, not an exception: if the caller is cancelled in the same iteration, nothing retrieves it.
            waiter.set_result(
                TransportError(outcome, detail, sent=self.sent, done=perf_counter(), pool_wait=self.pool_wait)
            )
        self.close()

    def close(self) -> None:
        """Close at once and drop unsent data. Idempotent."""
        if not self.is_open:
            return
        self.is_open = False
        self.waiter = None
        self._owner.discard(self)
        if self.transport is not None:
            self.transport.abort()


class BufferedConnection(Connection, asyncio.BufferedProtocol):
    """A Connection for asyncio's own loop, which allocates 256 KB a read for a Protocol without a buffer.

    Measured on one core with 64 clients: 32 us a call with Connection, 12.7 us with BufferedConnection; on uvloop
    Connection is the faster, 11.0 us against 11.8 us.
    """

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio passes it
        """Return the buffer that all connections share: it is emptied before the loop continues."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Handle the data in the buffer."""
        self.data_received(bytes(_BUFFER[:nbytes]))


_BUFFER = memoryview(bytearray(_READ_SIZE))
