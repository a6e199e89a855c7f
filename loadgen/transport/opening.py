"""Opening one connection: dial, hand the socket to the loop, shake hands.

Rule: whatever goes wrong, cancellation included, no socket is left open; and what went wrong is a DialError.
"""

import asyncio
import socket
import ssl
from time import perf_counter

from loadgen.outcome import Outcome
from loadgen.transport.connection import BufferedConnection, Connection, Keeper
from loadgen.transport.dial import Dialer, DialError
from loadgen.transport.invocation import Origin
from loadgen.transport.tls import Tls, TlsError


class Opener:
    """Open connections to one origin.

    Args:
        origin: where.
        context: for https, else None.
        keeper: told what becomes of each connection.
        body_limit: bytes an answer's body may have.

    `session` is the TLS session the next connection resumes, once `learn` has been given one.
    """

    def __init__(self, origin: Origin, context: ssl.SSLContext | None, keeper: Keeper, *, body_limit: int) -> None:
        self._host = origin.host
        self._context = context
        self._keeper = keeper
        self._body_limit = body_limit
        self._dialer = Dialer(origin.host, origin.port)
        self.session: ssl.SSLSession | None = None

    async def open(self, *, is_fresh: bool) -> Connection:
        """Return an open connection, TLS and all.

        Args:
            is_fresh: True when a request waits for it.

        Raises:
            DialError: with the outcome and the cause.
        """
        timeout = self._keeper.timeouts.connect
        deadline = perf_counter() + timeout
        sock = await self._dialer.dial(timeout)
        connection: Connection | None = None
        try:
            tls = None if self._context is None else Tls(self._context, self._host, self.session)
            loop = asyncio.get_running_loop()
            kind = BufferedConnection if isinstance(loop, asyncio.SelectorEventLoop) else Connection
            connection = kind(self._keeper, sock, tls, body_limit=self._body_limit, is_fresh=is_fresh)
            opened = connection
            await loop.create_connection(lambda: opened, sock=sock)
            if tls is not None:
                await _shake_hands(connection, tls, deadline - perf_counter(), timeout)
        except TlsError as error:
            _undo(sock, connection)
            raise DialError(Outcome.TLS, str(error)) from error
        except OSError as error:
            _undo(sock, connection)
            raise DialError(Outcome.RESET, error.strerror or type(error).__name__) from error
        except BaseException:
            _undo(sock, connection)
            raise
        if not connection.is_open:
            raise DialError(Outcome.RESET, "the peer closed the connection at once")
        return connection

    def learn(self, connection: Connection) -> None:
        """Keep the TLS session of a connection that has been answered on, for later ones to resume."""
        if self._context is not None and connection.used and connection.is_open:
            self.session = connection.session


async def _shake_hands(connection: Connection, tls: Tls, left: float, timeout: float) -> None:
    try:
        async with asyncio.timeout(max(left, 0.0)):
            trouble = await connection.begin_handshake(tls)
    except TimeoutError as error:
        raise DialError(Outcome.TLS, f"no handshake within {timeout:g} s") from error
    if trouble:
        raise DialError(Outcome.TLS, trouble)


def _undo(sock: socket.socket, connection: Connection | None) -> None:
    if connection is not None and connection.transport is not None:
        connection.close()
    else:
        sock.close()
