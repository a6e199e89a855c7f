"""One choice of the event loop, awaiting to the end despite a cancellation, and calls from a running loop."""

import asyncio
import sys
import threading

import pytest

from loadgen.event_loop import new_runner, run_outside_loop, shielded


async def loop_module():
    return type(asyncio.get_running_loop()).__module__


def test_the_loop_is_uvloops_where_uvloop_is_installed(monkeypatch):
    """`new_runner` runs uvloop's loop, and asyncio's where uvloop cannot be imported."""
    pytest.importorskip("uvloop")
    with new_runner() as runner:
        assert runner.run(loop_module()).partition(".")[0] == "uvloop"
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with new_runner() as runner:
        assert runner.run(loop_module()).partition(".")[0] == "asyncio"


def test_a_shielded_coroutine_ends_before_its_cancellation():
    """A cancellation, even a repeated one, is raised only after the coroutine has ended."""
    events = []

    async def work():
        await asyncio.sleep(0.01)
        events.append("ended")

    async def main():
        task = asyncio.create_task(shielded(work()))
        for _ in range(2):
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        events.append("cancelled")

    asyncio.run(main())
    assert events == ["ended", "cancelled"]


def test_a_call_inside_a_running_loop_gets_its_own_thread():
    """Without a running loop the function runs in this thread, within one in another."""
    assert run_outside_loop(threading.get_ident) == threading.get_ident()

    async def main():
        return run_outside_loop(lambda: asyncio.run(loop_module())), run_outside_loop(threading.get_ident)

    module, thread = asyncio.run(main())
    assert module.startswith("asyncio")
    assert thread != threading.get_ident()
