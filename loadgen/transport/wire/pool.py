"""Pool: idle connections, requests that wait for one, and the connection limit.

Rule: every decision is synchronous, so it cannot be interrupted; the transport awaits outside. Open connections and
reservations (connections being opened) together never exceed `limit`.

The most recently used connection is used next: it is the least likely to have been closed by the peer.
"""

import asyncio
from collections import deque

from loadgen.measurement.outcome import Outcome
from loadgen.transport.wire.connection import Connection
from loadgen.transport.wire.connector import ConnectError
from loadgen.transport.wire.timeouts import Timeouts


class Pool:
    """The connections of one transport. Implements `connection.ConnectionOwner`.

    Args:
        limit: maximum number of connections.
        timeouts: of each request and of idle connections.

    `desync_count` counts responses followed by bytes of no response; each one closed its connection.
    """

    def __init__(self, limit: int, timeouts: Timeouts) -> None:
        self.limit = limit
        self.timeouts = timeouts
        self.desync_count = 0
        self.connections: set[Connection] = set()
        self.reserved = 0
        #: may hold closed connections, which `acquire_idle` skips: removing them from the list would cost more
        self.idle: list[Connection] = []
        # A result of None permits the waiter to open a connection: it already holds the reservation.
        self.waiters: deque[asyncio.Future[Connection | None]] = deque()
        self.closing: set[Connection] = set()
        self.is_closed = False
        self.drained: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        idle = sum(connection.is_open for connection in self.idle)
        return (
            f"<Pool {len(self.connections)} open, {idle} idle, {self.reserved} opening, {len(self.waiters)} waiting, "
            f"limit {self.limit}>"
        )

    def acquire_idle(self) -> Connection | None:
        """Return an idle connection without unsolicited data, or None."""
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open and connection.has_no_pending_data():
                return connection
        return None

    def try_reserve(self) -> bool:
        """Reserve a connection to be opened; return False at the limit."""
        if len(self.connections) + self.reserved >= self.limit:
            return False
        self.reserved += 1
        return True

    def check_open(self) -> None:
        """Refuse to open a connection once the pool is closed.

        Raises:
            ConnectError: the pool is closed.
        """
        if self.is_closed:
            raise ConnectError(Outcome.CANCELLED_IN_FLIGHT, "the transport is closed")

    def add(self, connection: Connection) -> None:
        """Turn a reservation into an open connection."""
        self.reserved -= 1
        self.connections.add(connection)

    def cancel_reservation(self) -> None:
        """Give a reservation back, to the next waiter if there is one."""
        self.reserved -= 1
        self._offer_reservation()

    def release(self, connection: Connection) -> None:
        """Take back a connection that can serve the next request; the first waiter gets it."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self.idle.append(connection)

    def discard(self, connection: Connection) -> None:
        """Remove a connection that has just been closed; the first waiter may open another."""
        if connection in self.connections:
            self.connections.remove(connection)
            if connection.transport is not None:
                self.closing.add(connection)
            self._offer_reservation()

    def transport_closed(self, connection: Connection) -> None:
        """Record that the event loop has released a closed connection."""
        self.closing.discard(connection)
        if self.drained is not None and not self.closing and not self.connections and not self.drained.done():
            self.drained.set_result(None)

    def check_timeouts(self, now: float) -> None:
        """Fail requests past their deadline, and close connections idle for too long.

        Args:
            now: `time.perf_counter()` seconds.
        """
        for connection in tuple(self.connections):
            if connection.waiter is not None:
                missed = connection.missed_deadline(now)
                if missed is not None:
                    connection.fail(*missed)
            elif now > connection.expires_at:
                connection.close()
        if len(self.idle) > len(self.connections):
            self.idle = [connection for connection in self.idle if connection.is_open]

    def _offer_reservation(self) -> None:
        while self.waiters and not self.is_closed:
            waiter = self.waiters.popleft()
            if not waiter.done():
                self.reserved += 1
                waiter.set_result(None)
                return

    def cancel_wait(self, waiter: "asyncio.Future[Connection | None]") -> None:
        """Undo a cancelled wait: what the waiter had been given goes to the next one."""
        if not waiter.done() or waiter.cancelled():
            return
        connection = waiter.result()
        if connection is None:
            self.cancel_reservation()
        elif connection.is_open:
            self.release(connection)

    def close(self) -> "asyncio.Future[None]":
        """Close every connection; the future completes when the event loop has released them all."""
        self.is_closed = True
        self.drained = asyncio.get_running_loop().create_future()
        for waiter in self.waiters:
            if not waiter.done():
                self.reserved += 1
                waiter.set_result(None)
        self.waiters.clear()
        for connection in list(self.connections):
            connection.fail(Outcome.CANCELLED_IN_FLIGHT, "the transport was closed")
        self.idle.clear()
        if not self.closing:
            self.drained.set_result(None)
        return self.drained
