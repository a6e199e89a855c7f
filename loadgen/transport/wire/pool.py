"""Which connection serves whom: free ones, those who wait for one, and how many there may be.

Rule: every decision is synchronous, so that nothing can interrupt it half-way; whoever awaits does so outside. A place
is held by each open connection and by each that is being opened; there are never more than `limit`.

The connection used last is used next: it is the least likely to have been closed by the peer.
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
        limit: the most connections at once.
        timeouts: their deadlines.

    `desync_count` counts answers that were followed by bytes which belonged to nothing; each cost its connection.
    """

    def __init__(self, limit: int, timeouts: Timeouts) -> None:
        self.limit = limit
        self.timeouts = timeouts
        self.desync_count = 0
        self.connections: set[Connection] = set()
        self.reserved = 0
        #: may hold closed ones, which `acquire_idle` skips: looking for them in the list would cost more
        self.idle: list[Connection] = []
        # None as a result is leave to open one: the place is already taken for the waiter.
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
        """Return a free connection on which nothing has arrived unasked, or None."""
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open and connection.has_no_pending_data():
                return connection
        return None

    def try_reserve(self) -> bool:
        """Take a place for a connection to be opened, if there is one."""
        if len(self.connections) + self.reserved >= self.limit:
            return False
        self.reserved += 1
        return True

    def check_open(self) -> None:
        """Refuse to open anything once the pool has been closed.

        Raises:
            ConnectError: it has.
        """
        if self.is_closed:
            raise ConnectError(Outcome.CANCELLED_IN_FLIGHT, "the transport is closed")

    def add(self, connection: Connection) -> None:
        """Turn a place into an open connection."""
        self.reserved -= 1
        self.connections.add(connection)

    def cancel_reservation(self) -> None:
        """Give a place back, to the next who waits."""
        self.reserved -= 1
        self._offer_reservation()

    def release(self, connection: Connection) -> None:
        """Take back a connection that can serve the next request: whoever waits has it first."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self.idle.append(connection)

    def discard(self, connection: Connection) -> None:
        """Forget a connection that has just been closed; whoever waits may open another."""
        if connection in self.connections:
            self.connections.remove(connection)
            if connection.transport is not None:
                self.closing.add(connection)
            self._offer_reservation()

    def transport_closed(self, connection: Connection) -> None:
        """Note that the loop has let go of a closed connection."""
        self.closing.discard(connection)
        if self.drained is not None and not self.closing and not self.connections and not self.drained.done():
            self.drained.set_result(None)

    def check_timeouts(self, now: float) -> None:
        """End what is past its deadline, and close what has been idle for too long.

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
        """Undo a wait that was cancelled: what it had already been given goes to the next."""
        if not waiter.done() or waiter.cancelled():
            return
        connection = waiter.result()
        if connection is None:
            self.cancel_reservation()
        elif connection.is_open:
            self.release(connection)

    def close(self) -> "asyncio.Future[None]":
        """Close every connection; the future ends when the loop has let go of them all."""
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
