"""Load drivers: decide when each request is sent, one driver for each load model.

A driver owns the tasks that send and those that pause. How one request is sent and recorded is the RequestSender's
part; why a load stops is the run's.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator
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
        self._sender = sender
        self._clock = clock
        self._stop_load = stop_load
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._paused: set[asyncio.Task[Any]] = set()

    def stop(self) -> None:
        """Stop sending: cancel the tasks that pause; requests in flight continue."""
        self.is_stopped = True
        for task in self._paused:
            task.cancel()

    def cancel_in_flight(self) -> None:
        """Cancel the requests that have no reply yet."""
        for task in self._in_flight:
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

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Run all clients until the requests are used up or the load is stopped."""
        load = self._load
        first, step = load.part
        seqs = itertools.islice(itertools.count(first, step), load.count)
        rng = random.Random(load.seed)  # noqa: S311 - pauses, not secrets
        clients = [group.create_task(self._run_client(seqs, rng)) for _ in range(load.clients)]
        await asyncio.wait(clients)
        self._stop_load("count")

    async def _run_client(self, seqs: Iterator[int], rng: random.Random) -> None:
        """Send a request, wait for its reply, pause, and repeat."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has a task
        think, backoff = self._load.think, self._load.backoff
        now, in_flight = self._clock.now, self._in_flight
        count_scheduled, send = self._sender.count_scheduled, self._sender.send
        due = now()
        for turn in itertools.count(1):
            seq = None if self.is_stopped else next(seqs, None)
            if seq is None:
                return
            if turn % _MAX_SENDS_PER_TURN == 0:  # a transport that never suspends must not block the loop
                await asyncio.sleep(0)
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
                await self._pause(task, due)


class OpenLoopDriver(_LoadDriver):
    """Sends each arrival of an open loop at its instant, one task for each request."""

    def __init__(self, load: OpenLoop, sender: RequestSender, clock: Clock, stop_load: Callable[[str], None]) -> None:
        super().__init__(sender, clock, stop_load)
        self._load = load

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Send the schedule. An arrival beyond `max_in_flight` is dropped; a late send does not shift later ones."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has a task
        max_in_flight = self._load.max_in_flight
        now, in_flight, sender = self._clock.now, self._in_flight, self._sender
        origin = sender.origin
        for turn, (seq, due) in enumerate(self._load):
            scheduled = origin + due
            if scheduled > now():
                await self._pause(task, scheduled)
            elif turn % _MAX_SENDS_PER_TURN == 0:
                await asyncio.sleep(0)
            if self.is_stopped:
                return
            sender.count_scheduled(seq, scheduled)
            if len(in_flight) >= max_in_flight:
                sender.drop(seq, scheduled)
                continue
            request = group.create_task(sender.send(seq, scheduled))
            in_flight.add(request)
            request.add_done_callback(in_flight.discard)
        self._stop_load("schedule")
