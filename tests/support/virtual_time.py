"""Virtual time: an asyncio loop whose clock jumps when every task sleeps, its clock, and a transport to call.

Hours of a run take milliseconds, and every time is exact. `execute` runs a load that way and checks all counts.
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
START_TIME = 4096.0  # not 0, so that times from the start differ from times of the clock


class _TimeJumpSelector(selectors.SelectSelector):
    """A selector that never sleeps: it advances the loop's time to the next timer instead."""

    loop: "VirtualLoop"

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("deadlock: every task waits and there is no timer")
        if not ready and timeout > 0:
            self.loop.now = max(self.loop.now, self.loop._scheduled[0]._when)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with virtual time."""

    def __init__(self) -> None:
        selector = _TimeJumpSelector()
        selector.loop = self
        self.now = START_TIME
        super().__init__(selector)
        self._clock_resolution = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        # asyncio runs timers due strictly before now + resolution; with exact timers it must be "at or before".
        self._clock_resolution = self.now * 2**-52
        super()._run_once()


class VirtualClock:
    """A Clock of the virtual time of the running loop."""

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
    """Run a coroutine on a virtual loop; fail if it leaves a task behind."""

    async def main() -> Any:
        try:
            return await coroutine
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"left behind: {left}"

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


@dataclass(frozen=True)
class FakeReply:
    """What FakeTransport does with one request."""

    delay: float = 0.1
    status: int = 200
    code: str = ""
    message: str = ""
    error: Outcome | None = None  # raise a TransportError of this outcome
    exception: BaseException | None = None  # raise this exception


OK = FakeReply()
THROTTLED = FakeReply(0.01, 400, "ThrottlingException")
FAILED = FakeReply(0.05, 424, "ModelError", "division by zero")


@dataclass
class FakeTransport:
    """A transport that records requests and does what `behave(number, seconds from the start)` returns for each."""

    behave: Callable[[int, float], FakeReply] = lambda _n, _t: OK
    arrivals: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def invoke(self, request: Request) -> Reply:
        time = asyncio.get_running_loop().time
        sent = time()
        reply = self.behave(len(self.arrivals), sent - START_TIME)
        self.arrivals.append(sent - START_TIME)
        self.bodies.append(request.body)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(reply.delay)
        finally:
            self.in_flight -= 1
        if reply.exception is not None:
            raise reply.exception
        if reply.error is not None:
            raise TransportError(reply.error, "broken", sent=sent, done=time())
        return Reply(reply.status, sent, time(), time(), response_bytes=10, code=reply.code, message=reply.message)


@dataclass
class MemorySink:
    """A sink that keeps everything in memory; `error` is raised at the next batch."""

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
    """Run a load on virtual time; return the run, the transport and the sink."""
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
    assert_counts_agree(done, sink)
    return done, transport, sink


def assert_counts_agree(result, sink) -> None:
    """Scheduled = outcomes = samples, and completed = histogram counts = window counts, all counted from the samples."""
    samples = sink.all
    assert result.scheduled == len(samples) == result.tally.total
    assert len(set(samples["seq"].tolist())) == len(samples)
    is_warmup = (samples["flags"] & WARMUP) != 0
    assert Counter(samples["outcome"][~is_warmup].tolist()) == {int(o): n for o, n in result.tally.counts.items()}
    completed = sum(Outcome(o).category in COMPLETED_CATEGORIES for o in samples["outcome"][~is_warmup].tolist())
    assert completed == sum(h.total for h in result.tally.service.values()) == int(result.window_counts.sum())
    if result.is_open_loop:
        assert completed == sum(h.total for h in result.tally.response.values())
    assert (np.nan_to_num(samples["sent"] - samples["scheduled"]) >= -NANOSECOND).all()
    assert (samples["done"] >= np.nan_to_num(samples["sent"], nan=-1)).all()
