"""Which connection serves whom: free ones, those who wait for one, and how many there may be.

Rule: every decision is synchronous, so that nothing can interrupt it half-way; whoever awaits does so outside. A place
is held by each open connection and by each that is being opened; there are never more than `limit`.

The connection used last is used next: it is the least likely to have been closed by the peer.
"""

import asyncio
from collections import deque

from loadgen.measurement.outcome import Outcome
from loadgen.transport.wire.connection import Connection
from loadgen.transport.wire.connector import DialError
from loadgen.transport.wire.timeouts import Timeouts


class Pool:
    """The connections of one transport. Implements `connection.Keeper`.

    Args:
        limit: the most connections at once.
        timeouts: their deadlines.

    `desyncs` counts answers that were followed by bytes which belonged to nothing; each cost its connection.
    """

    def __init__(self, limit: int, timeouts: Timeouts) -> None:
        self.limit = limit
        self.timeouts = timeouts
        self.desyncs = 0
        self.open: set[Connection] = set()
        self.opening = 0
        #: may hold closed ones, which `take` skips: looking for them in the list would cost more
        self.free: list[Connection] = []
        # None as a result is leave to open one: the place is already taken for the waiter.
        self.waiting: deque[asyncio.Future[Connection | None]] = deque()
        self.closing: set[Connection] = set()
        self.is_closed = False
        self.emptied: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        idle = sum(connection.is_open for connection in self.free)
        return (
            f"<Pool {len(self.open)} open, {idle} idle, {self.opening} opening, {len(self.waiting)} waiting, "
            f"limit {self.limit}>"
        )

    def take(self) -> Connection | None:
        """Return a free connection on which nothing has arrived unasked, or None."""
        while self.free:
            connection = self.free.pop()
            if connection.is_open and connection.is_quiet():
                return connection
        return None

    def has_place(self) -> bool:
        """Take a place for a connection to be opened, if there is one."""
        if len(self.open) + self.opening >= self.limit:
            return False
        self.opening += 1
        return True

    def check(self) -> None:
        """Refuse to open anything once the pool has been closed.

        Raises:
            DialError: it has.
        """
        if self.is_closed:
            raise DialError(Outcome.CANCELLED_IN_FLIGHT, "the transport is closed")

    def opened(self, connection: Connection) -> None:
        """Turn a place into an open connection."""
        self.opening -= 1
        self.open.add(connection)

    def not_opened(self) -> None:
        """Give a place back, to the next who waits."""
        self.opening -= 1
        self._pass_place_on()

    def released(self, connection: Connection) -> None:
        """Take back a connection that can serve the next request: whoever waits has it first."""
        while self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self.free.append(connection)

    def discarded(self, connection: Connection) -> None:
        """Forget a connection that has just been closed; whoever waits may open another."""
        if connection in self.open:
            self.open.remove(connection)
            if connection.transport is not None:
                self.closing.add(connection)
            self._pass_place_on()

    def gone(self, connection: Connection) -> None:
        """Note that the loop has let go of a closed connection."""
        self.closing.discard(connection)
        if self.emptied is not None and not self.closing and not self.open and not self.emptied.done():
            self.emptied.set_result(None)

    def sweep(self, now: float) -> None:
        """End what is past its deadline, and close what has been idle for too long.

        Args:
            now: `time.perf_counter()` seconds.
        """
        for connection in tuple(self.open):
            if connection.waiter is not None:
                missed = connection.overdue(now)
                if missed is not None:
                    connection.fail(*missed)
            elif now > connection.retire_at:
                connection.close()
        if len(self.free) > len(self.open):
            self.free = [connection for connection in self.free if connection.is_open]

    def _pass_place_on(self) -> None:
        while self.waiting and not self.is_closed:
            waiter = self.waiting.popleft()
            if not waiter.done():
                self.opening += 1
                waiter.set_result(None)
                return

    def give_back(self, waiter: "asyncio.Future[Connection | None]") -> None:
        """Undo a wait that was cancelled: what it had already been given goes to the next."""
        if not waiter.done() or waiter.cancelled():
            return
        connection = waiter.result()
        if connection is None:
            self.not_opened()
        elif connection.is_open:
            self.released(connection)

    def close(self) -> "asyncio.Future[None]":
        """Close every connection; the future ends when the loop has let go of them all."""
        self.is_closed = True
        self.emptied = asyncio.get_running_loop().create_future()
        for waiter in self.waiting:
            if not waiter.done():
                self.opening += 1
                waiter.set_result(None)
        self.waiting.clear()
        for connection in list(self.open):
            connection.fail(Outcome.CANCELLED_IN_FLIGHT, "the transport was closed")
        self.free.clear()
        if not self.closing:
            self.emptied.set_result(None)
        return self.emptied
