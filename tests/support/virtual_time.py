"""Virtual time: an asyncio loop whose clock jumps when every task sleeps, a clock of it, and a far side to call.

Hours of a run take milliseconds, and every instant is exact. `execute` runs a load that way and checks the books.
"""

import asyncio
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from loadgen.engine.engine import run
from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome
from loadgen.measurement.sample import SAMPLE, WARMUP
from loadgen.workload.request import Reply, Request

NANOSECOND = 1e-9
ONE_REQUEST = [Request(b"{}")]
START_TIME = 4096.0  # not 0: an instant from the start is not an instant on the clock


class _TimeJumpSelector(selectors.SelectSelector):
    """Waits for nobody: where a real selector would sleep, time jumps to the next timer."""

    loop: "VirtualLoop"

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("every task waits for something that never comes")
        if not ready and timeout > 0:
            self.loop.now = max(self.loop.now, self.loop._scheduled[0]._when)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own."""

    def __init__(self) -> None:
        selector = _TimeJumpSelector()
        selector.loop = self
        self.now = START_TIME
        super().__init__(selector)
        self._clock_resolution = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        # asyncio takes what is due strictly before now + resolution; with exact timers that must be "at or before".
        self._clock_resolution = self.now * 2**-52
        super()._run_once()


class VirtualClock:
    """loadgen's Clock on the running loop's virtual time."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep_until(self, due: float) -> None:
        if due <= self.now():
            return
        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        timer = loop.call_at(due, lambda: woken.done() or woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    def close(self) -> None:
        pass


def run_virtual(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it on a virtual loop, and see that it leaves no task behind."""

    async def whole() -> Any:
        try:
            return await coroutine
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"left behind: {left}"

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(whole())


@dataclass(frozen=True)
class FakeReply:
    """What the far side does with one request."""

    delay: float = 0.1
    status: int = 200
    code: str = ""
    message: str = ""
    error: Outcome | None = None  # no answer: a TransportError of this outcome
    exception: BaseException | None = None  # the transport itself fails


OK = FakeReply()
THROTTLED = FakeReply(0.01, 400, "ThrottlingException")
FAILED = FakeReply(0.05, 424, "ModelError", "division by zero")


@dataclass
class FakeTransport:
    """A transport: asks `behave(number, seconds from the start)` what to do with each request, and keeps books."""

    behave: Callable[[int, float], FakeReply] = lambda _n, _t: OK
    arrivals: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def invoke(self, request: Request) -> Reply:
        time = asyncio.get_running_loop().time
        sent = time()
        says = self.behave(len(self.arrivals), sent - START_TIME)
        self.arrivals.append(sent - START_TIME)
        self.bodies.append(request.body)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(says.delay)
        finally:
            self.in_flight -= 1
        if says.exception is not None:
            raise says.exception
        if says.error is not None:
            raise TransportError(says.error, "broken", sent=sent, done=time())
        return Reply(says.status, sent, time(), time(), response_bytes=10, code=says.code, message=says.message)


@dataclass
class MemorySink:
    """A sink that keeps everything in memory; fails at the n-th batch or code when told to."""

    batches: list[Any] = field(default_factory=list)
    codes: list[Any] = field(default_factory=list)
    error: BaseException | None = None

    def write_samples(self, batch) -> None:
        if self.error is not None:
            raise self.error
        self.batches.append(batch.copy())

    def write_error_code(self, error_code) -> None:
        self.codes.append(error_code)

    @property
    def all(self):
        """Every sample so far, in the order of completion."""
        return np.concatenate(self.batches) if self.batches else np.empty(0, SAMPLE)


def execute(load, transport=None, *, requests=ONE_REQUEST, sink=None, stop_at=None, **more):
    """Run a load on virtual time; returns the run, the far side and what the sink kept."""
    transport = transport or FakeTransport()
    sink = sink or MemorySink()

    async def main():
        stop = None
        async with asyncio.TaskGroup() as group:
            if stop_at is not None:
                stop = asyncio.Event()
                timer = asyncio.get_running_loop().call_at(START_TIME + stop_at, stop.set)
            done = await group.create_task(
                run(load, transport, requests, clock=VirtualClock(), sink=sink, stop=stop, **more)
            )
            if stop is not None:
                timer.cancel()
            return done

    done = run_virtual(main())
    check_counts(done, sink)
    return done, transport, sink


def check_counts(result, sink) -> None:
    """Scheduled = every outcome = records; answered = histogram counts = windows: from the samples alone."""
    samples = sink.all
    assert result.scheduled == len(samples) == result.tally.total
    assert len(set(samples["seq"].tolist())) == len(samples)
    warm = (samples["flags"] & WARMUP) != 0
    assert Counter(samples["outcome"][~warm].tolist()) == {int(o): n for o, n in result.tally.counts.items()}
    answered = sum(Outcome(o).category in COMPLETED_CATEGORIES for o in samples["outcome"][~warm].tolist())
    assert answered == sum(h.total for h in result.tally.service.values()) == int(result.window_counts.sum())
    if result.is_open_loop:
        assert answered == sum(h.total for h in result.tally.response.values())
    assert (np.nan_to_num(samples["sent"] - samples["scheduled"]) >= -NANOSECOND).all()
    assert (samples["done"] >= np.nan_to_num(samples["sent"], nan=-1)).all()
