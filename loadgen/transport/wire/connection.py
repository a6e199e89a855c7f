"""One connection: one request at a time out, one answer at a time in, and the instants of both.

Rule: an answer goes to the request that is under way or to nobody. Bytes that no request waits for, a cancelled
request, an error of any kind: the connection is closed and never used again. Nothing here awaits, so nothing here can
be interrupted half-way.

The request is handed to the kernel by `socket.send` at once, not by the loop's transport: uvloop's keeps it until the
end of the loop's turn, which would make `sent` a lie under load. The transport takes over only when the socket is full.

What does not belong here: which connection serves whom (pool.py), how it came to be (dial.py).
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

_READ_SIZE = 64 * 1024  # bytes of one read where the loop lets us choose
_IOCTL_RESULT = array.array("i", [0])  # where the kernel writes a count; used at once, never kept
_IS_LINUX = sys.platform == "linux"  # elsewhere TIOCOUTQ says nothing of sockets


class TimedResponse(NamedTuple):
    """A request answered: the answer, and the instants it arrived in."""

    response: ParsedResponse
    sent: float
    first_byte: float
    done: float


class ConnectionOwner(Protocol):
    """Whoever keeps connections; told of each that becomes free, is of no more use, or is gone."""

    desync_count: int
    timeouts: Timeouts

    def release(self, connection: "Connection") -> None:
        """Take back a connection that can serve the next request."""

    def discard(self, connection: "Connection") -> None:
        """Forget a connection that has just been closed."""

    def transport_closed(self, connection: "Connection") -> None:
        """Note that the loop has let go of a closed connection."""


class Connection(asyncio.Protocol):
    """A connected socket that speaks HTTP/1.1, with or without TLS.

    Args:
        owner: told what becomes of it.
        sock: connected and non-blocking; owned by the loop's transport from `connection_made` on.
        tls: None for plain HTTP.
        body_limit: bytes an answer's body may have.
        is_on_demand: True when it is opened for a request that waits for it.
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
        return f"<Connection {state}, used {self.request_count}>"

    # --- out -------------------------------------------------------------------------------------------------------

    def send_request(
        self, data: bytes, body: bytes, pool_wait: float
    ) -> "asyncio.Future[TimedResponse | TransportError]":
        """Send a request; the future ends with the exchange, or with the error that ended it.

        Args:
            data: the request, or all of it but its body.
            body: the body where it is sent from a buffer of its own, else empty.
            pool_wait: seconds the request has waited for this connection.
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
            self.sent = self.flushed = perf_counter()  # encrypting was our work, not the target's
        self._request_size = len(data) + len(body)
        self._send(data, body)
        return waiter

    def _send(self, data: bytes, body: bytes) -> None:
        try:
            taken = self._socket.sendmsg((data, body)) if body else self._socket.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            # The peer has gone. What it said before, perhaps an answer, and how it went reach us through the reader,
            # and that answer is not to be judged by how much of the request has arrived.
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
        if not self.transport.get_write_buffer_size():  # it found room at once, and will not call resume_writing
            self.flushed = perf_counter()

    def _unacknowledged_bytes(self) -> int:
        """Return how many bytes of the request the peer's kernel has not acknowledged yet. Costs 0.4 us.

        An answer's own segment acknowledges what it answers. If not one byte is acknowledged, what has come cannot be
        the answer: that catches a peer which says `408 Request Timeout` to an idle connection while our request is on
        its way. If some are not, the peer answered before it had the whole request.
        """
        try:
            ioctl(self._fd, TIOCOUTQ, _IOCTL_RESULT, True)  # noqa: FBT003 - the call has no name for it
        except OSError:  # a kernel that does not know the question
            return 0
        return _IOCTL_RESULT[0]

    def _fail_unsolicited_response(self) -> None:
        self._owner.desync_count += 1
        outcome = Outcome.STALE_KEEPALIVE if self.request_count > 1 else Outcome.PROTOCOL
        self.fail(outcome, "an answer arrived before the request could have")

    def resume_writing(self) -> None:
        """Note when the kernel has taken the rest of a request that did not fit at once."""
        self.flushed = perf_counter()

    # --- in --------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the loop's transport; from now on it owns the socket."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=0)  # so that resume_writing means: all of it has gone

    def data_received(self, data: bytes) -> None:
        """Read an answer, or refuse bytes that nobody waits for."""
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
        # An answer before the whole request has gone leaves half a request on its way: of no more use.
        if (
            not response.is_reusable
            or self._is_early_response
            or self.flushed == 0.0
            or (self.tls is not None and self.tls.is_closed)
        ):
            self.close()
            return
        idle = self._owner.timeouts.idle
        # One second less than the peer's own, so that its closing and our sending do not cross.
        self.expires_at = now + (
            idle if not response.keep_alive_timeout else min(idle, max(response.keep_alive_timeout - 1, 0.5))
        )
        self._owner.release(self)

    def eof_received(self) -> None:
        """Take the end of what the peer sends: it may be what completes an answer."""
        waiter = self.waiter
        if waiter is not None and (self.tls is None or self.tls.is_closed):
            answer = self._parser.feed_eof()
            if answer is not None:
                self._complete(waiter, answer, perf_counter())
                return
        self._on_disconnect("the peer closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone; a request under way ends here."""
        self._on_disconnect("the peer reset the connection" if exc is not None else "the peer closed the connection")
        self._owner.transport_closed(self)

    def _on_disconnect(self, cause: str) -> None:
        if self.handshake is not None and not self.handshake.done():
            self.handshake.set_result(f"{cause} in the handshake")
        if self.first_byte:
            self.fail(Outcome.TRUNCATED, f"{cause} within the answer")
        elif self.request_count > 1:
            self.fail(Outcome.STALE_KEEPALIVE, f"{cause} before it answered on a connection that had served before")
        else:
            self.fail(Outcome.RESET, f"{cause} before it answered")

    def has_no_pending_data(self) -> bool:
        """Tell whether nothing has arrived since the last answer; what has is read, and closes the connection.

        The loop looks at sockets once a turn, and the next request may come within the same turn: 0.4 us here is the
        price of never taking a surplus answer for the next one.
        """
        try:
            ioctl(self._fd, FIONREAD, _IOCTL_RESULT, True)  # noqa: FBT003 - the call has no name for it
            if _IOCTL_RESULT[0]:
                self.data_received(self._socket.recv(_READ_SIZE))
        except OSError:
            self.close()
        return self.is_open

    # --- TLS -------------------------------------------------------------------------------------------------------

    def begin_handshake(self, tls: Tls) -> "asyncio.Future[str]":
        """Start TLS; the future ends with an empty text when it stands, or with what went wrong."""
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

    # --- the end ---------------------------------------------------------------------------------------------------

    def missed_deadline(self, now: float) -> tuple[Outcome, str] | None:
        """Tell which deadline the request under way has missed, if any.

        Args:
            now: the instant to judge at.
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
        """End the request under way, if there is one, and the connection."""
        waiter = self.waiter
        self.waiter = None
        if waiter is not None and not waiter.done():
            # A result, not an exception: when the caller is cancelled in the same turn nobody is left to retrieve it.
            waiter.set_result(
                TransportError(outcome, detail, sent=self.sent, done=perf_counter(), pool_wait=self.pool_wait)
            )
        self.close()

    def close(self) -> None:
        """Close at once, dropping what was not sent; harmless when closed."""
        if not self.is_open:
            return
        self.is_open = False
        self.waiter = None
        self._owner.discard(self)
        if self.transport is not None:
            self.transport.abort()


class BufferedConnection(Connection, asyncio.BufferedProtocol):
    """The same for asyncio's own loop, whose plain protocols cost it 256 KB of fresh memory a read.

    Measured on one core with 64 clients: 32 us a call with the plain kind, 12.7 us with this one; on uvloop the plain
    kind is the faster, 11.0 us against 11.8 us.
    """

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio passes it
        """Lend the loop a buffer; all connections share it, since it is emptied before the loop goes on."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the loop has read."""
        self.data_received(bytes(_BUFFER[:nbytes]))


_BUFFER = memoryview(bytearray(_READ_SIZE))
