"""The engine: offers a load to a transport and records what happens. The only place that schedules requests.

It knows no AWS, no files and no process: it can run inside any asyncio service, several at a time. It starts tasks,
owns them, and leaves none behind.
"""

import asyncio
import itertools
import math
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from loadgen.engine.clock import Clock, clock_of_a_run
from loadgen.engine.monitor import Watcher
from loadgen.errors import DataError, UsageError
from loadgen.interfaces import Transport, TransportError
from loadgen.measurement.outcome import Column, Outcome, classify
from loadgen.measurement.recorder import Recorder
from loadgen.measurement.run import Run
from loadgen.measurement.sample import ANSWERED, FRESH, WARMUP, Code
from loadgen.measurement.tally import Window
from loadgen.validation import check_whole
from loadgen.workload.load import ClosedLoop, Load, OpenLoop, Uniform
from loadgen.workload.request import Reply, Request
from loadgen.workload.step import ErrorLimit, Step

FLUSH = 0.2  # seconds between two writes of samples: what a kill can cost, with a margin below 250 ms
_CHOICES = 1 << 16  # payload choices drawn ahead; the rule repeats after that many requests
_BURST = 64  # requests, overdue or answered without waiting, that are sent before the loop may do something else
_NAN = float("nan")


class SampleSink(Protocol):
    """Takes what a run records, as it happens."""

    def samples(self, batch: NDArray[np.void]) -> None:
        """Keep a batch of samples, dtype SAMPLE; the array is valid during the call only."""
        ...

    def code(self, code: Code) -> None:
        """Keep an error that is seen for the first time; comes before any sample that points to it."""
        ...


async def run(
    load: Load | Step,
    transport: Transport,
    requests: Sequence[Request],
    *,
    seed: int = 0,
    window: float = 1.0,
    drain: float = 60.0,
    grace: float = 10.0,
    on_window: Callable[[Window], None] | None = None,
    stop: asyncio.Event | None = None,
    sink: SampleSink | None = None,
    clock: Clock | None = None,
    start: float | None = None,
) -> Run:
    """Offer a load to a transport until it ends, and return what happened.

    Args:
        load: what to send; a Step adds a warm-up and an error limit.
        transport: an opened place; it stays open.
        requests: what to choose from; which one is sent n-th depends on `seed` and n alone.
        seed: of that choice.
        window: seconds of a window.
        drain: seconds that requests in flight are given once nothing more is sent; then they are cut short and
            counted as cancelled.
        grace: the same once `stop` is set.
        on_window: called with each closed window, on the loop: keep it short.
        stop: set it to end the load early.
        sink: takes every sample as it is recorded.
        clock: for tests; the real one by default.
        start: the instant on the clock that counts as the beginning, so that several can begin at once; None for now.
            What was due before it is reached is sent late, and counted from its schedule.

    Raises:
        DataError: there is no request to send.
        UsageError: a window that is not above 0, a negative time or seed.
        InternalError: the books do not balance: a bug.

    Example:
        >>> from loadgen.transport.null import NullTransport
        >>> done = asyncio.run(run(ClosedLoop(2, count=10), NullTransport(), [Request(b"{}")]))
        >>> done.scheduled, done.count(Column.OK)
        (10, 10)
    """
    if not requests:
        raise DataError("no requests to send", hint="give at least one Request")
    _check(window, drain, grace, seed)
    step = load if isinstance(load, Step) else Step(None, load)
    async with clock_of_a_run(clock) as time_of_run:
        execution = _Execution(step, transport, requests, time_of_run, seed, window, sink, on_window)
        try:
            return await execution.carry_out(drain, grace, stop, start)
        except BaseExceptionGroup as group:
            raise cause(group) from group


def _check(window: float, drain: float, grace: float, seed: int) -> None:
    """Refuse settings that would never end, or that mean nothing."""
    if not 0 < window < math.inf:
        raise UsageError(f"a window of {window!r} seconds", hint="finite and above 0")
    for name, seconds in (("drain", drain), ("grace", grace)):
        if not seconds >= 0:
            raise UsageError(f"a {name} of {seconds!r} seconds", hint="0 or more")
    check_whole(seed, 0, "seed")


def choices(seed: int, requests: int) -> list[int]:
    """Return which of so many requests is sent n-th, for the n of one period: the rule repeats after that.

    Drawn ahead: a function of (seed, n) alone, so that every memory size and every shard sends the same.
    """
    drawn: list[int] = np.random.default_rng(seed).integers(requests, size=_CHOICES).tolist()
    return drawn


def cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first of the exceptions that ended a group of tasks: the others followed from it."""
    first = group.exceptions[0]
    return cause(first) if isinstance(first, BaseExceptionGroup) else first


class _Execution:
    """One run while it lasts."""

    def __init__(
        self,
        step: Step,
        transport: Transport,
        requests: Sequence[Request],
        clock: Clock,
        seed: int,
        window: float,
        sink: SampleSink | None,
        on_window: Callable[[Window], None] | None,
    ) -> None:
        self.step = step
        self.clock = clock
        self.window = window
        self.sink = sink
        self.on_window = on_window
        self.invoke = transport.invoke
        self.watcher = Watcher(clock)
        self.recorder = Recorder(
            on_samples=self._keep_samples,
            interval=window,
            response=isinstance(step.load, OpenLoop),
            on_window=self._keep_window,
            on_code=sink.code if sink is not None else None,
        )
        numbered = list(enumerate(requests))
        self.choices = [numbered[index] for index in choices(seed, len(requests))]
        self.error_limit = step.error_limit or ErrorLimit()
        self.origin = 0.0
        self.scheduled = 0
        self.dropped = 0
        self.errors = 0
        self.answers = 0
        self.in_flight: set[asyncio.Task[Any]] = set()
        self.pausing: set[asyncio.Task[Any]] = set()
        self.ended_by = ""
        self.ended_at = 0.0
        self.ending = asyncio.Event()
        self.last_due = 0.0
        self.measured_from = 0.0 if not step.warmup_calls else _NAN
        self.per_window: list[list[int]] = []

    # -- recording ---------------------------------------------------------------------------------------------------

    def _keep_samples(self, batch: NDArray[np.void]) -> None:
        self.watcher.observe(batch)
        if self.sink is not None:
            self.sink.samples(batch)

    def _keep_window(self, window: Window) -> None:
        self.per_window.append([window.count(column) for column in ANSWERED])
        if self.on_window is not None:
            self.on_window(window)

    def _record(
        self, seq: int, scheduled: float, payload: int, request: Request, outcome: Outcome, reply: Reply
    ) -> None:
        """Record one request: the only way a sample comes to be. Instants arrive absolute."""
        code = 0
        if outcome is Outcome.OK:
            self.answers += 1
        elif outcome.column is not Column.UNFINISHED:
            name = reply.code or str(reply.status)
            code = self.recorder.number_of(outcome, name, reply.status, reply.message, request.body)
            self.answers += 1
            self.errors += 1
        due = scheduled - self.origin
        is_warmup = seq < self.step.warmup_calls or due < self.step.warmup
        self.recorder.add(
            seq,
            due,
            reply.sent - self.origin,
            reply.first_byte - self.origin,
            reply.done - self.origin,
            len(request.body),
            reply.size,
            payload,
            reply.waited,
            outcome,
            reply.fresh * FRESH + is_warmup * WARMUP,
            code,
        )
        if self.errors and self.error_limit.is_reached(self.errors, self.answers):
            self._end("errors")

    # -- one request -------------------------------------------------------------------------------------------------

    async def _one(self, seq: int, scheduled: float) -> Outcome:
        """Send one request and record its outcome. The only exceptions that pass are ours and the transport's bugs."""
        payload, request = self.choices[seq % _CHOICES]
        try:
            reply = await self.invoke(request)
        except TransportError as error:
            outcome = error.outcome
            reply = Reply(0, error.sent, _NAN, error.done, code=error.detail, waited=error.waited)
        except asyncio.CancelledError:
            cut = Reply(0, _NAN, _NAN, self.clock.now())
            self._record(seq, scheduled, payload, request, Outcome.CANCELLED_IN_FLIGHT, cut)
            raise
        else:
            outcome = Outcome.OK if reply.status == 200 and not reply.code else classify(reply)
        self._record(seq, scheduled, payload, request, outcome, reply)
        return outcome

    def _schedule(self, seq: int, scheduled: float) -> None:
        """Count a request as due: from here on it must end in an outcome."""
        self.scheduled += 1
        self.last_due = scheduled - self.origin
        if math.isnan(self.measured_from) and seq >= self.step.warmup_calls:
            self.measured_from = self.last_due

    # -- loads -------------------------------------------------------------------------------------------------------

    async def _client(self, load: ClosedLoop, tickets: Iterator[int], draw: random.Random) -> None:
        """Be one client of a closed loop: call, wait for the answer, pause, call again."""
        this = asyncio.current_task()
        assert this is not None  # noqa: S101 - a coroutine that runs has a task
        due = self.clock.now()
        for turn in itertools.count(1):
            seq = None if self.ended_by else next(tickets, None)
            if seq is None:
                return
            if turn % _BURST == 0:  # a transport that answers without waiting must not take the whole loop
                await asyncio.sleep(0)
            self._schedule(seq, due)
            self.in_flight.add(this)
            try:
                outcome = await self._one(seq, due)
            finally:
                self.in_flight.discard(this)
            pause = load.think if outcome is Outcome.OK else load.backoff
            due = self.clock.now()
            if pause:
                due += draw.uniform(pause.low, pause.high) if isinstance(pause, Uniform) else pause
                await self._pause(this, due)

    async def _pause(self, this: "asyncio.Task[Any]", due: float) -> None:
        """Wait until an instant, or until the load ends: whoever pauses then is cancelled."""
        self.pausing.add(this)
        try:
            if not self.ended_by:
                await self.clock.until(due)
        finally:
            self.pausing.discard(this)

    async def _closed(self, load: ClosedLoop, callers: asyncio.TaskGroup) -> None:
        which, of = load.part
        tickets = itertools.islice(itertools.count(which, of), load.count)
        draw = random.Random(load.seed)  # noqa: S311 - pauses, not secrets
        clients = [callers.create_task(self._client(load, tickets, draw)) for _ in range(load.clients)]
        await asyncio.wait(clients)
        self._end("count")

    async def _open(self, load: OpenLoop, callers: asyncio.TaskGroup) -> None:
        """Send each arrival at its instant. What cannot be sent then is dropped; a late start never shifts the rest."""
        this = asyncio.current_task()
        assert this is not None  # noqa: S101 - a coroutine that runs has a task
        for at, (seq, due) in enumerate(load):
            scheduled = self.origin + due
            if scheduled > self.clock.now():
                await self._pause(this, scheduled)
            elif at % _BURST == 0:
                await asyncio.sleep(0)
            if self.ended_by:
                return
            self._schedule(seq, scheduled)
            if len(self.in_flight) >= load.max_in_flight:
                self._drop(seq, scheduled)
                continue
            task = callers.create_task(self._one(seq, scheduled))
            self.in_flight.add(task)
            task.add_done_callback(self.in_flight.discard)
        self._end("schedule")

    def _drop(self, seq: int, scheduled: float) -> None:
        payload, request = self.choices[seq % _CHOICES]
        self.dropped += 1
        self._record(seq, scheduled, payload, request, Outcome.DROPPED, Reply(0, _NAN, _NAN, self.clock.now()))

    # -- beginning and end -------------------------------------------------------------------------------------------

    def _end(self, reason: str) -> None:
        """Send no more; the first reason is the one that is told."""
        if not self.ended_by:
            self.ended_by = reason
            self.ended_at = self.clock.now() - self.origin
            self.ending.set()
            for task in self.pausing:
                task.cancel()

    async def _flush(self) -> None:
        due = self.origin
        while True:
            due += FLUSH
            await self.clock.until(due)
            self.recorder.close_windows(self.clock.now() - self.origin)

    async def _end_when(self, stop: asyncio.Event, grace: float) -> None:
        """End the load when told to; what is in flight has its grace, even if it was draining with more time."""
        await stop.wait()
        self._end("stop")
        await self.clock.until(self.clock.now() + grace)
        self._cancel()

    async def _end_after(self, duration: float) -> None:
        await self.clock.until(self.origin + duration)
        self._end("duration")

    async def _cut(self, drain: float) -> None:
        """Give requests in flight their time once the load has ended of itself, then cancel them."""
        await self.ending.wait()
        if self.ended_by != "stop":
            await self.clock.until(self.clock.now() + drain)
            self._cancel()

    def _cancel(self) -> None:
        for task in self.in_flight:
            task.cancel()

    async def carry_out(
        self, drain: float, grace: float, stop: asyncio.Event | None, start: float | None = None
    ) -> Run:
        """Offer the load, drain, and return the run; leaves no task behind, however it ends."""
        load = self.step.load
        self.origin = self.clock.now() if start is None else start
        await self.clock.until(self.origin)
        started = time.time() - (self.clock.now() - self.origin)
        chores: list[Coroutine[Any, Any, None]] = [self.watcher.tick(), self._flush(), self._cut(drain)]
        if stop is not None:
            chores.append(self._end_when(stop, grace))
        if isinstance(load, ClosedLoop) and load.duration is not None:
            chores.append(self._end_after(load.duration))
        try:
            async with asyncio.TaskGroup() as background:
                tasks = [background.create_task(chore) for chore in chores]
                async with asyncio.TaskGroup() as callers:
                    sender = self._open(load, callers) if isinstance(load, OpenLoop) else self._closed(load, callers)
                    callers.create_task(sender)
                for task in tasks:
                    task.cancel()
        finally:
            # Whatever ended the run, what is recorded so far reaches the sink.
            duration = self.clock.now() - self.origin
            self.recorder.finish(duration)
        self.recorder.check(self.scheduled)
        return self._run(load, started, duration)

    def _run(self, load: Load, started: float, duration: float) -> Run:
        sending, asked = self.ended_at, 0.0
        if isinstance(load, OpenLoop):
            if self.ended_by == "schedule":
                # The schedule's own length: after its last arrival it goes on for a while in which nothing is due.
                sending = min(load.duration or math.inf, load.arrivals.duration)
            asked = self.scheduled / sending if sending else 0.0
        return Run(
            step=self.step,
            started=started,
            duration=duration,
            ended_by=self.ended_by,
            scheduled=self.scheduled,
            tally=self.recorder.tally,
            per_window=np.array(self.per_window, dtype=np.int64).reshape(-1, len(ANSWERED)),
            window=self.window,
            measured_from=max(self.step.warmup, 0.0 if math.isnan(self.measured_from) else self.measured_from),
            codes=tuple(self.recorder.codes.values()),
            watch=self.watcher.seen(scheduled=self.scheduled, dropped=self.dropped, sending=sending, asked_rate=asked),
        )
