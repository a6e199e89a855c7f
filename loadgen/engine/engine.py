"""The engine: runs one load against a transport and returns the Run.

It knows no AWS, no files and no processes, so it can run inside any asyncio service, several runs at a time. It owns
every task that it starts and leaves none behind.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from loadgen.engine.clock import Clock, open_clock
from loadgen.engine.load_drivers import ClosedLoopDriver, OpenLoopDriver
from loadgen.engine.monitor import GeneratorMonitor
from loadgen.engine.request_sender import RequestSender
from loadgen.errors import DataError, UsageError
from loadgen.interfaces import PreconnectingTransport, Transport
from loadgen.measurement.block import Block
from loadgen.measurement.outcome import COMPLETED_CATEGORIES
from loadgen.measurement.recorder import Recorder
from loadgen.measurement.run import Run
from loadgen.measurement.sample import ErrorCode
from loadgen.measurement.tally import Window
from loadgen.validation import to_int, to_tuple
from loadgen.workload.load import ClosedLoop, Load, OpenLoop
from loadgen.workload.request import Request
from loadgen.workload.step import Step

FLUSH_INTERVAL = 0.2  # seconds between two writes of samples: a killed process loses less than 250 ms of them


class SampleSink(Protocol):
    """Stores what a run records, while it records it."""

    def write_samples(self, batch: NDArray[np.void]) -> None:
        """Store a batch of samples, dtype SAMPLE; the array is valid during the call only."""
        ...

    def write_error_code(self, error_code: ErrorCode) -> None:
        """Store an error that occurred for the first time; called before any sample that refers to it is written."""
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
    """Run a load against a transport until it ends, and return the recorded Run.

    Args:
        load: the load to send; a Step adds a warm-up and an error limit.
        transport: an open transport; it is not closed.
        requests: the requests to choose from; which one is sent n-th depends on `seed` and n alone.
        seed: selects the sequence of requests.
        window: length of a window, in seconds.
        drain: seconds that requests in flight have to complete after the load has ended; then they are cancelled and
            recorded as `cancelled_in_flight`.
        grace: replaces `drain` once `stop` is set.
        on_window: called on the event loop with each closed window; must return quickly.
        stop: ends the load early when set.
        sink: stores every sample as it is recorded.
        clock: the clock of the run; tests pass a virtual one.
        start: the instant on the clock that counts as the start, so that several runs can start at once; None for now.
            Arrivals due before it is reached are sent late; their response times count from the schedule.

    Raises:
        DataError: `requests` is empty.
        UsageError: `window` is not above 0, or a time or the seed is negative.
        UnavailableError, ResourceError: the connections to begin with could not be opened.
        InternalError: the counts are inconsistent, which is a bug.

    Example:
        >>> from loadgen.measurement.outcome import OutcomeCategory
        >>> from loadgen.transport.null import NullTransport
        >>> result = asyncio.run(run(ClosedLoop(2, count=10), NullTransport(), [Request(b"{}")]))
        >>> result.scheduled, result.count(OutcomeCategory.OK)
        (10, 10)
    """
    async with open_run(
        load,
        transport,
        requests,
        seed=seed,
        window=window,
        drain=drain,
        grace=grace,
        on_window=on_window,
        stop=stop,
        sink=sink,
        clock=clock,
    ) as load_run:
        await load_run.send(start=start)
        return load_run.finish()


@asynccontextmanager
async def open_run(
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
) -> AsyncIterator["LoadRun"]:
    """Open a run that sends its load in blocks; see `run` for the arguments.

    The run's clock stands still between its blocks: sequence numbers, pauses of clients, windows, warm-up and error
    limit continue as if there were none.

    Raises:
        DataError, UsageError: as `run`.

    Example:
        >>> from loadgen.transport.null import NullTransport
        >>> async def send_in_blocks():
        ...     async with open_run(ClosedLoop(2, count=50), NullTransport(), [Request(b"{}")]) as load_run:
        ...         while not load_run.stop_reason:
        ...             await load_run.send(block_size=20, round_number=len(load_run.blocks) + 1)
        ...         return load_run.finish()
        >>> [block.count for block in asyncio.run(send_in_blocks()).blocks]
        [20, 20, 10]
    """
    requests = to_tuple(requests, "requests")
    if not requests:
        raise DataError("no requests to send", hint="give at least one Request")
    if not 0 < window < math.inf:
        raise UsageError(f"window is {window!r} seconds", hint="must be finite and above 0")
    for name, seconds in (("drain", drain), ("grace", grace)):
        if not seconds >= 0:
            raise UsageError(f"{name} is {seconds!r} seconds", hint="must be at least 0")
    seed = to_int(seed, "seed", 0)
    step = load if isinstance(load, Step) else Step(None, load)
    await _open_connections(transport, step.load.initial_connections, stop)
    async with open_clock(clock) as run_clock:
        load_run = LoadRun(step, transport, requests, run_clock, seed, window, sink, on_window, drain, grace, stop)
        try:
            yield load_run
        finally:
            # However the run ended, the samples recorded so far reach the sink.
            load_run.recorder.finish(load_run.elapsed)


async def _open_connections(transport: Transport, count: int, stop: asyncio.Event | None) -> None:
    """Open a load's first connections, so that its first requests do not wait for them; `stop` ends this early."""
    if not isinstance(transport, PreconnectingTransport):
        return
    opening: asyncio.Task[Any] = asyncio.ensure_future(transport.open_connections(count))
    stopped: asyncio.Task[Any] = asyncio.ensure_future((stop or asyncio.Event()).wait())
    try:
        await asyncio.wait({opening, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            opening.result()
    finally:
        opening.cancel()
        stopped.cancel()
        await asyncio.wait({opening, stopped})


def first_exception(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first exception of a task group; it caused the others."""
    first = group.exceptions[0]
    return first_exception(first) if isinstance(first, BaseExceptionGroup) else first


class LoadRun:
    """The life of one run: start, stop, drain, result. Made by `open_run`.

    Attributes:
        stop_reason: why the load ended, as in Run; empty while there is more to send.
    """

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
        drain: float,
        grace: float,
        stop: asyncio.Event | None,
    ) -> None:
        self.step = step
        self.clock = clock
        self.window = window
        self.sink = sink
        self.on_window = on_window
        self.monitor = GeneratorMonitor(clock)
        self.recorder = Recorder(
            on_samples=self._handle_samples,
            interval=window,
            with_response=isinstance(step.load, OpenLoop),
            on_window=self._handle_window,
            on_error_code=sink.write_error_code if sink is not None else None,
        )
        self.sender = RequestSender(
            step,
            transport,
            requests,
            seed=seed,
            clock=clock,
            recorder=self.recorder,
            stop_load=self._stop_load,
        )
        load = step.load
        self.driver = (
            OpenLoopDriver(load, self.sender, clock, self._stop_load)
            if isinstance(load, OpenLoop)
            else ClosedLoopDriver(load, self.sender, clock, self._stop_load)
        )
        self.drain = drain
        self.grace = grace
        self.stop = stop
        self.origin = 0.0  # the instant on the clock at which the run would have started without a standstill
        self.elapsed = 0.0  # seconds of the run at the end of the last block
        self.blocks: list[Block] = []
        self.stop_reason = ""
        self.stopped_at = 0.0
        self.stopping = asyncio.Event()
        self.window_counts: list[list[int]] = []

    def _handle_samples(self, batch: NDArray[np.void]) -> None:
        self.monitor.record_batch(batch)
        if self.sink is not None:
            self.sink.write_samples(batch)

    def _handle_window(self, window: Window) -> None:
        self.window_counts.append([window.count(category) for category in COMPLETED_CATEGORIES])
        if self.on_window is not None:
            self.on_window(window)

    async def send(
        self,
        *,
        start: float | None = None,
        block_size: int | None = None,
        round_number: int = 0,
        on_block: Callable[[Block], None] | None = None,
    ) -> None:
        """Send the load, or its next block, and wait for the replies. However it ends, no task is left behind.

        Args:
            start: as in `run`.
            block_size: how many requests to send; None for all.
            round_number: number of the round, for the run's table of blocks.
            on_block: called with the block when it starts; its count is not known yet.
        """
        load, origin = self.step.load, self.clock.now() if start is None else start
        await self.clock.sleep_until(origin)
        started = time.time() - (self.clock.now() - origin)
        block = Block(round_number, self.driver.next_seq, started, self.elapsed)
        if on_block is not None:
            on_block(block)
        self.origin = self.sender.origin = self.monitor.origin = origin - self.elapsed
        scheduled = self.sender.scheduled
        background: list[Coroutine[Any, Any, None]] = [
            self.monitor.run(),
            self._flush_periodically(origin),
            self._cancel_after_drain(self.drain),
        ]
        if self.stop is not None:
            background.append(self._stop_on_event(self.stop, self.grace))
        if isinstance(load, ClosedLoop) and load.duration is not None:
            background.append(self._stop_after(load.duration))
        try:
            async with asyncio.TaskGroup() as background_group:
                tasks = [background_group.create_task(coroutine) for coroutine in background]
                async with asyncio.TaskGroup() as request_group:
                    request_group.create_task(self.driver.run(request_group, block_size))
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise first_exception(group) from group
        finally:
            self.elapsed = self.clock.now() - self.origin
            self.recorder.flush()
        self.blocks.append(replace(block, count=self.sender.scheduled - scheduled))

    def end(self, reason: str) -> None:
        """End the load between two blocks, before all of it was sent."""
        self._stop_load(reason)

    def finish(self) -> Run:
        """Return the run.

        Raises:
            InternalError: the counts are inconsistent, which is a bug.
        """
        self.recorder.finish(self.elapsed)
        self.recorder.check_conservation(self.sender.scheduled)
        return self._build_run(self.step.load)

    def _stop_load(self, reason: str) -> None:
        """Stop sending requests; only the first reason is recorded."""
        if not self.stop_reason:
            self.stop_reason = reason
            self.stopped_at = self.clock.now() - self.origin
            self.stopping.set()
            self.driver.stop()

    async def _flush_periodically(self, start: float) -> None:
        due = start
        while True:
            due += FLUSH_INTERVAL
            await self.clock.sleep_until(due)
            self.recorder.close_windows(self.clock.now() - self.origin)

    async def _stop_on_event(self, stop: asyncio.Event, grace: float) -> None:
        """End the load on `stop`. `grace` then also limits a drain that has already started."""
        await stop.wait()
        self._stop_load("stop")
        await self.clock.sleep_until(self.clock.now() + grace)
        self.driver.cancel_in_flight()

    async def _stop_after(self, duration: float) -> None:
        await self.clock.sleep_until(self.origin + duration)
        self._stop_load("duration")

    async def _cancel_after_drain(self, drain: float) -> None:
        """Cancel requests still in flight `drain` seconds after the load has ended by itself."""
        await self.stopping.wait()
        if self.stop_reason != "stop":
            await self.clock.sleep_until(self.clock.now() + drain)
            self.driver.cancel_in_flight()

    def _build_run(self, load: Load) -> Run:
        sender = self.sender
        send_duration, target_rate = self.stopped_at, 0.0
        if isinstance(load, OpenLoop):
            if self.stop_reason == "schedule":
                # The length of the schedule, which may be longer than the time of its last arrival.
                send_duration = min(load.duration or math.inf, load.arrivals.duration) + self.driver.standstill
            target_rate = sender.scheduled / send_duration if send_duration else 0.0
        return Run(
            step=self.step,
            started=self.blocks[0].started if self.blocks else time.time(),
            duration=self.elapsed,
            stop_reason=self.stop_reason,
            scheduled=sender.scheduled,
            tally=self.recorder.tally,
            window_counts=np.array(self.window_counts, dtype=np.int64).reshape(-1, len(COMPLETED_CATEGORIES)),
            window=self.window,
            measurement_start=max(
                self.step.warmup, 0.0 if math.isnan(sender.measurement_start) else sender.measurement_start
            ),
            error_codes=self.recorder.errors.rows,
            generator_stats=self.monitor.snapshot(
                scheduled=sender.scheduled, dropped=sender.dropped, send_duration=send_duration, target_rate=target_rate
            ),
            blocks=tuple(block for block in self.blocks if block.round),
        )
