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

from loadgen.engine.clock import Clock, open_clock
from loadgen.engine.monitor import GeneratorMonitor
from loadgen.errors import DataError, UsageError
from loadgen.interfaces import Transport, TransportError
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome, OutcomeCategory, classify
from loadgen.measurement.recorder import Recorder
from loadgen.measurement.run import Run
from loadgen.measurement.sample import NEW_CONNECTION, WARMUP, ErrorCode
from loadgen.measurement.tally import Window
from loadgen.validation import validate_int
from loadgen.workload.load import ClosedLoop, Load, OpenLoop, Uniform
from loadgen.workload.request import Reply, Request
from loadgen.workload.step import ErrorLimit, Step

FLUSH_INTERVAL = 0.2  # seconds between two writes of samples: what a kill can cost, with a margin below 250 ms
_SEQUENCE_PERIOD = 1 << 16  # payload choices drawn ahead; the rule repeats after that many requests
_MAX_SENDS_PER_TURN = (
    64  # requests, overdue or answered without waiting, that are sent before the loop may do something else
)
_NAN = float("nan")


class SampleSink(Protocol):
    """Takes what a run records, as it happens."""

    def write_samples(self, batch: NDArray[np.void]) -> None:
        """Keep a batch of samples, dtype SAMPLE; the array is valid during the call only."""
        ...

    def write_error_code(self, error_code: ErrorCode) -> None:
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
        >>> done.scheduled, done.count(OutcomeCategory.OK)
        (10, 10)
    """
    if not requests:
        raise DataError("no requests to send", hint="give at least one Request")
    _validate_settings(window, drain, grace, seed)
    step = load if isinstance(load, Step) else Step(None, load)
    async with open_clock(clock) as time_of_run:
        execution = _LoadRun(step, transport, requests, time_of_run, seed, window, sink, on_window)
        try:
            return await execution.run(drain, grace, stop, start)
        except BaseExceptionGroup as group:
            raise first_exception(group) from group


def _validate_settings(window: float, drain: float, grace: float, seed: int) -> None:
    """Refuse settings that would never end, or that mean nothing."""
    if not 0 < window < math.inf:
        raise UsageError(f"a window of {window!r} seconds", hint="finite and above 0")
    for name, seconds in (("drain", drain), ("grace", grace)):
        if not seconds >= 0:
            raise UsageError(f"a {name} of {seconds!r} seconds", hint="0 or more")
    validate_int(seed, 0, "seed")


def request_sequence(seed: int, request_count: int) -> list[int]:
    """Return which of so many requests is sent n-th, for the n of one period: the rule repeats after that.

    Drawn ahead: a function of (seed, n) alone, so that every memory size and every shard sends the same.
    """
    drawn: list[int] = np.random.default_rng(seed).integers(request_count, size=_SEQUENCE_PERIOD).tolist()
    return drawn


def first_exception(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first of the exceptions that ended a group of tasks: the others followed from it."""
    first = group.exceptions[0]
    return first_exception(first) if isinstance(first, BaseExceptionGroup) else first


class _LoadRun:
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
        self.monitor = GeneratorMonitor(clock)
        self.recorder = Recorder(
            on_samples=self._handle_samples,
            interval=window,
            with_response=isinstance(step.load, OpenLoop),
            on_window=self._handle_window,
            on_error_code=sink.write_error_code if sink is not None else None,
        )
        numbered = list(enumerate(requests))
        self.request_sequence = [numbered[index] for index in request_sequence(seed, len(requests))]
        self.error_limit = step.error_limit or ErrorLimit()
        self.origin = 0.0
        self.scheduled = 0
        self.dropped = 0
        self.errors = 0
        self.completed = 0
        self.in_flight: set[asyncio.Task[Any]] = set()
        self.paused: set[asyncio.Task[Any]] = set()
        self.stop_reason = ""
        self.stopped_at = 0.0
        self.stopping = asyncio.Event()
        self.last_due = 0.0
        self.measurement_start = 0.0 if not step.warmup_calls else _NAN
        self.window_counts: list[list[int]] = []

    # -- recording ---------------------------------------------------------------------------------------------------

    def _handle_samples(self, batch: NDArray[np.void]) -> None:
        self.monitor.record_batch(batch)
        if self.sink is not None:
            self.sink.write_samples(batch)

    def _handle_window(self, window: Window) -> None:
        self.window_counts.append([window.count(column) for column in COMPLETED_CATEGORIES])
        if self.on_window is not None:
            self.on_window(window)

    def _record(
        self, seq: int, scheduled: float, request_index: int, request: Request, outcome: Outcome, reply: Reply
    ) -> None:
        """Record one request: the only way a sample comes to be. Instants arrive absolute."""
        code = 0
        if outcome is Outcome.OK:
            self.completed += 1
        elif outcome.category is not OutcomeCategory.UNFINISHED:
            name = reply.code or str(reply.status)
            code = self.recorder.error_code_number(outcome, name, reply.status, reply.message, request.body)
            self.completed += 1
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
            reply.response_bytes,
            request_index,
            reply.pool_wait,
            outcome,
            reply.is_new_connection * NEW_CONNECTION + is_warmup * WARMUP,
            code,
        )
        if self.errors and self.error_limit.is_reached(self.errors, self.completed):
            self._stop_load("errors")

    # -- one request -------------------------------------------------------------------------------------------------

    async def _send_request(self, seq: int, scheduled: float) -> Outcome:
        """Send one request and record its outcome. The only exceptions that pass are ours and the transport's bugs."""
        payload, request = self.request_sequence[seq % _SEQUENCE_PERIOD]
        try:
            reply = await self.invoke(request)
        except TransportError as error:
            outcome = error.outcome
            reply = Reply(0, error.sent, _NAN, error.done, code=error.detail, pool_wait=error.pool_wait)
        except asyncio.CancelledError:
            cut = Reply(0, _NAN, _NAN, self.clock.now())
            self._record(seq, scheduled, payload, request, Outcome.CANCELLED_IN_FLIGHT, cut)
            raise
        else:
            outcome = Outcome.OK if reply.status == 200 and not reply.code else classify(reply)
        self._record(seq, scheduled, payload, request, outcome, reply)
        return outcome

    def _count_scheduled(self, seq: int, scheduled: float) -> None:
        """Count a request as due: from here on it must end in an outcome."""
        self.scheduled += 1
        self.last_due = scheduled - self.origin
        if math.isnan(self.measurement_start) and seq >= self.step.warmup_calls:
            self.measurement_start = self.last_due

    # -- loads -------------------------------------------------------------------------------------------------------

    async def _run_client(self, load: ClosedLoop, sequence_numbers: Iterator[int], rng: random.Random) -> None:
        """Be one client of a closed loop: call, wait for the answer, pause, call again."""
        this = asyncio.current_task()
        assert this is not None  # noqa: S101 - a coroutine that runs has a task
        due = self.clock.now()
        for turn in itertools.count(1):
            seq = None if self.stop_reason else next(sequence_numbers, None)
            if seq is None:
                return
            if turn % _MAX_SENDS_PER_TURN == 0:  # a transport that answers without waiting must not take the whole loop
                await asyncio.sleep(0)
            self._count_scheduled(seq, due)
            self.in_flight.add(this)
            try:
                outcome = await self._send_request(seq, due)
            finally:
                self.in_flight.discard(this)
            pause = load.think if outcome is Outcome.OK else load.backoff
            due = self.clock.now()
            if pause:
                due += rng.uniform(pause.low, pause.high) if isinstance(pause, Uniform) else pause
                await self._pause(this, due)

    async def _pause(self, task: "asyncio.Task[Any]", due: float) -> None:
        """Wait until an instant, or until the load ends: whoever pauses then is cancelled."""
        self.paused.add(task)
        try:
            if not self.stop_reason:
                await self.clock.sleep_until(due)
        finally:
            self.paused.discard(task)

    async def _run_closed_loop(self, load: ClosedLoop, task_group: asyncio.TaskGroup) -> None:
        which, of = load.part
        tickets = itertools.islice(itertools.count(which, of), load.count)
        draw = random.Random(load.seed)  # noqa: S311 - pauses, not secrets
        clients = [task_group.create_task(self._run_client(load, tickets, draw)) for _ in range(load.clients)]
        await asyncio.wait(clients)
        self._stop_load("count")

    async def _run_open_loop(self, load: OpenLoop, task_group: asyncio.TaskGroup) -> None:
        """Send each arrival at its instant. What cannot be sent then is dropped; a late start never shifts the rest."""
        this = asyncio.current_task()
        assert this is not None  # noqa: S101 - a coroutine that runs has a task
        for at, (seq, due) in enumerate(load):
            scheduled = self.origin + due
            if scheduled > self.clock.now():
                await self._pause(this, scheduled)
            elif at % _MAX_SENDS_PER_TURN == 0:
                await asyncio.sleep(0)
            if self.stop_reason:
                return
            self._count_scheduled(seq, scheduled)
            if len(self.in_flight) >= load.max_in_flight:
                self._drop_request(seq, scheduled)
                continue
            task = task_group.create_task(self._send_request(seq, scheduled))
            self.in_flight.add(task)
            task.add_done_callback(self.in_flight.discard)
        self._stop_load("schedule")

    def _drop_request(self, seq: int, scheduled: float) -> None:
        payload, request = self.request_sequence[seq % _SEQUENCE_PERIOD]
        self.dropped += 1
        self._record(seq, scheduled, payload, request, Outcome.DROPPED, Reply(0, _NAN, _NAN, self.clock.now()))

    # -- beginning and end -------------------------------------------------------------------------------------------

    def _stop_load(self, reason: str) -> None:
        """Send no more; the first reason is the one that is told."""
        if not self.stop_reason:
            self.stop_reason = reason
            self.stopped_at = self.clock.now() - self.origin
            self.stopping.set()
            for task in self.paused:
                task.cancel()

    async def _flush_periodically(self) -> None:
        due = self.origin
        while True:
            due += FLUSH_INTERVAL
            await self.clock.sleep_until(due)
            self.recorder.close_windows(self.clock.now() - self.origin)

    async def _stop_on_event(self, stop: asyncio.Event, grace: float) -> None:
        """End the load when told to; what is in flight has its grace, even if it was draining with more time."""
        await stop.wait()
        self._stop_load("stop")
        await self.clock.sleep_until(self.clock.now() + grace)
        self._cancel_in_flight()

    async def _stop_after(self, duration: float) -> None:
        await self.clock.sleep_until(self.origin + duration)
        self._stop_load("duration")

    async def _cancel_after_drain(self, drain: float) -> None:
        """Give requests in flight their time once the load has ended of itself, then cancel them."""
        await self.stopping.wait()
        if self.stop_reason != "stop":
            await self.clock.sleep_until(self.clock.now() + drain)
            self._cancel_in_flight()

    def _cancel_in_flight(self) -> None:
        for task in self.in_flight:
            task.cancel()

    async def run(self, drain: float, grace: float, stop: asyncio.Event | None, start: float | None = None) -> Run:
        """Offer the load, drain, and return the run; leaves no task behind, however it ends."""
        load = self.step.load
        self.origin = self.clock.now() if start is None else start
        await self.clock.sleep_until(self.origin)
        started = time.time() - (self.clock.now() - self.origin)
        chores: list[Coroutine[Any, Any, None]] = [
            self.monitor.run(),
            self._flush_periodically(),
            self._cancel_after_drain(drain),
        ]
        if stop is not None:
            chores.append(self._stop_on_event(stop, grace))
        if isinstance(load, ClosedLoop) and load.duration is not None:
            chores.append(self._stop_after(load.duration))
        try:
            async with asyncio.TaskGroup() as background:
                tasks = [background.create_task(chore) for chore in chores]
                async with asyncio.TaskGroup() as callers:
                    sender = (
                        self._run_open_loop(load, callers)
                        if isinstance(load, OpenLoop)
                        else self._run_closed_loop(load, callers)
                    )
                    callers.create_task(sender)
                for task in tasks:
                    task.cancel()
        finally:
            # Whatever ended the run, what is recorded so far reaches the sink.
            duration = self.clock.now() - self.origin
            self.recorder.finish(duration)
        self.recorder.check_conservation(self.scheduled)
        return self._build_run(load, started, duration)

    def _build_run(self, load: Load, started: float, duration: float) -> Run:
        sending, asked = self.stopped_at, 0.0
        if isinstance(load, OpenLoop):
            if self.stop_reason == "schedule":
                # The schedule's own length: after its last arrival it goes on for a while in which nothing is due.
                sending = min(load.duration or math.inf, load.arrivals.duration)
            asked = self.scheduled / sending if sending else 0.0
        return Run(
            step=self.step,
            started=started,
            duration=duration,
            stop_reason=self.stop_reason,
            scheduled=self.scheduled,
            tally=self.recorder.tally,
            window_counts=np.array(self.window_counts, dtype=np.int64).reshape(-1, len(COMPLETED_CATEGORIES)),
            window=self.window,
            measurement_start=max(
                self.step.warmup, 0.0 if math.isnan(self.measurement_start) else self.measurement_start
            ),
            error_codes=tuple(self.recorder.error_codes.values()),
            generator_stats=self.monitor.snapshot(
                scheduled=self.scheduled, dropped=self.dropped, send_duration=sending, target_rate=asked
            ),
        )
