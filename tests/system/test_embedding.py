"""The engine as a guest in another asyncio service: it leaves everything as it found it."""

import asyncio
import gc
import logging
import os
import signal
import threading
import warnings

import pytest
import uvloop

from loadgen import ClosedLoop, NullTransport, OpenLoop, Request, constant, even, run
from loadgen.measurement.outcome import OutcomeCategory

ONE = [Request(b"{}")]
LOOPS = pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def hosted(factory, coroutine):
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def house() -> dict[str, object]:
    """Describe everything of a process that a guest could change."""
    root = logging.getLogger()
    return {
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "policy": type(asyncio.get_event_loop_policy()),
        "logging": (root.level, list(root.handlers), logging.root.manager.disable),
        "threads": threading.active_count(),
        "collector": (gc.isenabled(), gc.get_threshold(), list(gc.callbacks)),
        "warnings": list(warnings.filters),
        "files": len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0,
        "environment": dict(os.environ) | {"PYTEST_CURRENT_TEST": ""},
        "directory": os.getcwd(),
    }


@LOOPS
def test_two_engines_share_one_loop(factory):
    """Each has its own books, both end, and each reports to its own gauge."""

    async def main():
        gauges = [], []
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(run(load, NullTransport(0.001), ONE, on_window=gauge.append, window=0.05))
                for load, gauge in zip(
                    [ClosedLoop(3, count=90), OpenLoop(even(constant(400)), duration=0.2)], gauges, strict=True
                )
            ]
        return [task.result() for task in tasks], gauges

    (closed, opened), gauges = hosted(factory, main())
    assert (closed.count(OutcomeCategory.OK), opened.count(OutcomeCategory.OK)) == (90, 80)
    assert [sum(w.count(OutcomeCategory.OK) for w in gauge) for gauge in gauges] == [90, 80]


@LOOPS
def test_one_of_two_engines_can_be_cancelled(factory):
    """Cancelling one leaves the other running to its end."""

    async def main():
        first = asyncio.create_task(run(ClosedLoop(2, duration=3600), NullTransport(0.001), ONE))
        seen = asyncio.Event()
        second = asyncio.create_task(
            run(ClosedLoop(2, count=200), NullTransport(0.001), ONE, window=0.01, on_window=lambda _w: seen.set())
        )
        await seen.wait()
        first.cancel()
        results = await asyncio.gather(first, second, return_exceptions=True)
        return results, asyncio.all_tasks() - {asyncio.current_task()}

    (cancelled, done), left = hosted(factory, main())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert done.count(OutcomeCategory.OK) == 200
    assert not left


@LOOPS
def test_two_hundred_starts_and_stops_leave_nothing(factory, caplog, capfd):
    """After 200 runs, each ended in another way, the process is as it was: not a task, descriptor, callback or word."""

    async def main():
        complaints = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        handler, executor, factory = (
            loop.get_exception_handler(),
            loop._default_executor if hasattr(loop, "_default_executor") else None,
            loop.get_task_factory(),
        )
        await run(ClosedLoop(1, count=1), NullTransport(), ONE)
        gc.collect()
        before = house()
        for number in range(200):
            stop = asyncio.Event()
            load = OpenLoop(even(constant(500)), duration=60) if number % 2 else ClosedLoop(2, duration=60)
            task = asyncio.create_task(run(load, NullTransport(), ONE, stop=stop, grace=0.01))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            if number % 3:
                stop.set()
            else:
                task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(result, asyncio.CancelledError) if number % 3 == 0 else result.stop_reason == "stop"
        left = asyncio.all_tasks() - {asyncio.current_task()}
        del task, result
        gc.collect()
        await asyncio.sleep(0)
        assert house() == before
        assert loop.get_exception_handler() is handler
        assert (getattr(loop, "_default_executor", None), loop.get_task_factory()) == (executor, factory)
        assert not left
        assert not complaints

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hosted(factory, main())
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


@LOOPS
def test_a_run_can_be_stopped_from_a_gauge(factory):
    """The sketch of a canary: a gauge that has seen enough sets the event, and the run returns its result."""

    async def main():
        stop = asyncio.Event()

        def gauge(window):
            if window.index == 2:
                stop.set()

        return await run(
            OpenLoop(even(constant(200)), duration=3600), NullTransport(), ONE, on_window=gauge, stop=stop, window=0.02
        )

    done = hosted(factory, main())
    assert done.stop_reason == "stop"
    assert done.count(OutcomeCategory.OK) == done.scheduled > 0


def test_a_run_may_be_timed_out_by_its_host():
    """`asyncio.timeout` around a run ends it as it ends anything else."""

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await run(ClosedLoop(2, duration=3600), NullTransport(0.001), ONE)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert not asyncio.run(main())
