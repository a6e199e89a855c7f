"""The engine embedded in another asyncio service: it changes nothing of the process, and can be stopped and cancelled."""

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

ONE_REQUEST = [Request(b"{}")]
LOOPS = pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def run_on(factory, coroutine):
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def process_state() -> dict[str, object]:
    """Return everything of the process that a library could change."""
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
    """Two runs in one loop have their own counts and windows, and both end."""

    async def main():
        windows = [], []
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(run(load, NullTransport(0.001), ONE_REQUEST, on_window=on_window.append, window=0.05))
                for load, on_window in zip(
                    [ClosedLoop(3, count=90), OpenLoop(even(constant(400)), duration=0.2)], windows, strict=True
                )
            ]
        return [task.result() for task in tasks], windows

    (closed, opened), windows = run_on(factory, main())
    assert (closed.count(OutcomeCategory.OK), opened.count(OutcomeCategory.OK)) == (90, 80)
    assert [sum(w.count(OutcomeCategory.OK) for w in on_window) for on_window in windows] == [90, 80]


@LOOPS
def test_one_of_two_engines_can_be_cancelled(factory):
    """Cancelling one of two runs leaves the other running to its end."""

    async def main():
        first = asyncio.create_task(run(ClosedLoop(2, duration=3600), NullTransport(0.001), ONE_REQUEST))
        seen = asyncio.Event()
        second = asyncio.create_task(
            run(
                ClosedLoop(2, count=200),
                NullTransport(0.001),
                ONE_REQUEST,
                window=0.01,
                on_window=lambda _w: seen.set(),
            )
        )
        await seen.wait()
        first.cancel()
        results = await asyncio.gather(first, second, return_exceptions=True)
        return results, asyncio.all_tasks() - {asyncio.current_task()}

    (cancelled, done), left = run_on(factory, main())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert done.count(OutcomeCategory.OK) == 200
    assert not left


@LOOPS
def test_two_hundred_starts_and_stops_leave_nothing(factory, caplog, capfd):
    """After 200 runs that ended in different ways the process is unchanged: no task, descriptor, callback or output."""

    async def main():
        complaints = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        handler, executor, factory = (
            loop.get_exception_handler(),
            loop._default_executor if hasattr(loop, "_default_executor") else None,
            loop.get_task_factory(),
        )
        await run(ClosedLoop(1, count=1), NullTransport(), ONE_REQUEST)
        gc.collect()
        before = process_state()
        for number in range(200):
            stop = asyncio.Event()
            load = OpenLoop(even(constant(500)), duration=60) if number % 2 else ClosedLoop(2, duration=60)
            task = asyncio.create_task(run(load, NullTransport(), ONE_REQUEST, stop=stop, grace=0.01))
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
        assert process_state() == before
        assert loop.get_exception_handler() is handler
        assert (getattr(loop, "_default_executor", None), loop.get_task_factory()) == (executor, factory)
        assert not left
        assert not complaints

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_on(factory, main())
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


@LOOPS
def test_a_run_can_be_stopped_from_on_window(factory):
    """If `on_window` sets the stop event, the run ends and returns its result."""

    async def main():
        stop = asyncio.Event()

        def on_window(window):
            if window.index == 2:
                stop.set()

        return await run(
            OpenLoop(even(constant(200)), duration=3600),
            NullTransport(),
            ONE_REQUEST,
            on_window=on_window,
            stop=stop,
            window=0.02,
        )

    done = run_on(factory, main())
    assert done.stop_reason == "stop"
    assert done.count(OutcomeCategory.OK) == done.scheduled > 0


def test_a_run_can_be_ended_by_asyncio_timeout():
    """`asyncio.timeout` ends a run with TimeoutError and leaves no task."""

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await run(ClosedLoop(2, duration=3600), NullTransport(0.001), ONE_REQUEST)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert not asyncio.run(main())
