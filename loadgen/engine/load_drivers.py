"""Load drivers: decide when each request is sent, one driver for each load model.

A driver owns the tasks that send and those that pause. How one request is sent and recorded is the RequestSender's
part; why a load stops is the run's. A driver sends its load in one piece or in several blocks, between which the run's
clock stands still: what is due next keeps its distance from the last instant before.
"""

import asyncio
import itertools
import math
import random
from collections.abc import Callable
from typing import Any

from loadgen.engine.clock import Clock
from loadgen.engine.request_sender import RequestSender
from loadgen.measurement.outcome import Outcome
from loadgen.workload.load import ClosedLoop, OpenLoop, Uniform

# Requests that are overdue or completed without waiting: after this many the event loop runs its other tasks.
_MAX_SENDS_PER_TURN = 64


class _LoadDriver:
    """The tasks of one load: those that wait for a reply and those that pause.

    Args:
        sender: sends and records the requests.
        clock: the clock of the run.
        stop_load: called with the reason once the last request of the load was sent.
    """

    def __init__(self, sender: RequestSender, clock: Clock, stop_load: Callable[[str], None]) -> None:
        self.is_stopped = False
        self.standstill = 0.0  # seconds of the run's clock that the schedule of an open loop does not have
        self._sender = sender
        self._clock = clock
        self._stop_load = stop_load
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._paused: set[asyncio.Task[Any]] = set()

    def stop(self) -> None:
        """Stop sending: cancel the tasks that pause; requests in flight continue."""
        self.is_stopped = True
        self._cancel_pauses()

    def cancel_in_flight(self) -> None:
        """Cancel the requests that have no reply yet."""
        for task in self._in_flight:
            task.cancel()

    def _cancel_pauses(self) -> None:
        """Cancel the tasks that pause."""
        for task in self._paused:
            task.cancel()

    async def _pause(self, task: "asyncio.Task[Any]", due: float) -> None:
        """Wait until an instant; `stop` cancels the task while it waits here."""
        self._paused.add(task)
        try:
            if not self.is_stopped:
                await self._clock.sleep_until(due)
        finally:
            self._paused.discard(task)


class ClosedLoopDriver(_LoadDriver):
    """Runs the clients of a closed loop, one task each."""

    def __init__(self, load: ClosedLoop, sender: RequestSender, clock: Clock, stop_load: Callable[[str], None]) -> None:
        super().__init__(sender, clock, stop_load)
        self._load = load
        first, step = load.part
        self.next_seq, self._seq_step = first, step
        self._rng = random.Random(load.seed)  # noqa: S311 - pauses, not secrets
        self._left: float = math.inf if load.count is None else load.count
        self._left_in_block: float = 0
        # When each client sends next, in seconds of the run. The clients of several shards start in turns.
        index, count = load.part
        self._ready = [load.ramp_up * (client + index / count) / load.clients for client in range(load.clients)]

    async def run(self, group: asyncio.TaskGroup, limit: int | None = None) -> None:
        """Run all clients until `limit` more requests, or those of the load, are sent, or the load is stopped."""
        self._left_in_block = self._left if limit is None else min(limit, self._left)
        clients = [group.create_task(self._run_client(index)) for index in range(self._load.clients)]
        await asyncio.wait(clients)
        if not self._left:
            self._stop_load("count")

    async def _run_client(self, index: int) -> None:
        """Send a request, wait for its reply, pause, and repeat."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has a task
        think, backoff, rng = self._load.think, self._load.backoff, self._rng
        now, in_flight, origin = self._clock.now, self._in_flight, self._sender.origin
        count_scheduled, send = self._sender.count_scheduled, self._sender.send
        # A client that was due while the last requests of the previous block were in flight is not late.
        due = max(now(), origin + self._ready[index])
        try:
            for turn in itertools.count(1):
                if due > now() and self._left_in_block:
                    await self._pause(task, due)
                if self.is_stopped or not self._left_in_block:
                    return
                if turn % _MAX_SENDS_PER_TURN == 0:  # a transport that never suspends must not block the loop
                    await asyncio.sleep(0)
                    continue
                seq = self.next_seq
                self.next_seq += self._seq_step
                self._left -= 1
                self._left_in_block -= 1
                if not self._left_in_block:
                    self._cancel_pauses()
                count_scheduled(seq, due)
                in_flight.add(task)
                try:
                    outcome = await send(seq, due)
                finally:
                    in_flight.discard(task)
                pause = think if outcome is Outcome.OK else backoff
                due = now()
                if pause:
                    due += rng.uniform(pause.low, pause.high) if isinstance(pause, Uniform) else pause
                if not self._left_in_block:
                    return
        finally:
            self._ready[index] = due - origin


class OpenLoopDriver(_LoadDriver):
    """Sends each arrival of an open loop at its instant, one task for each request."""

    def __init__(self, load: OpenLoop, sender: RequestSender, clock: Clock, stop_load: Callable[[str], None]) -> None:
        super().__init__(sender, clock, stop_load)
        self._load = load
        self._arrivals = iter(load)
        self._next = next(self._arrivals, None)
        self.next_seq = self._next[0] if self._next is not None else 0
        self._last_due: float | None = None  # of the arrival sent last, on the schedule

    async def run(self, group: asyncio.TaskGroup, limit: int | None = None) -> None:
        """Send the schedule, or its next `limit` arrivals.

        An arrival beyond `max_in_flight` is dropped; a late send does not shift later ones.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has a task
        max_in_flight = self._load.max_in_flight
        now, in_flight, sender = self._clock.now, self._in_flight, self._sender
        if self._last_due is not None:  # the schedule stood still since then
            self.standstill = now() - sender.origin - self._last_due
        origin = sender.origin + self.standstill
        for turn in itertools.count() if limit is None else range(limit):
            if self._next is None:
                break
            seq, due = self._next
            scheduled = origin + due
            if scheduled > now():
                await self._pause(task, scheduled)
            elif turn % _MAX_SENDS_PER_TURN == 0:
                await asyncio.sleep(0)
            if self.is_stopped:
                return
            self._last_due, self._next = due, next(self._arrivals, None)
            self.next_seq = self._next[0] if self._next is not None else seq + 1
            sender.count_scheduled(seq, scheduled)
            if len(in_flight) >= max_in_flight:
                sender.drop(seq, scheduled)
                continue
            request = group.create_task(sender.send(seq, scheduled))
            in_flight.add(request)
            request.add_done_callback(in_flight.discard)
        if self._next is None:
            self._stop_load("schedule")
