"""Event loops: which one to run on, work that a cancellation must not cut short, calls from inside a running loop."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


async def shielded(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await `coroutine` to its end even when cancelled meanwhile; the cancellation is then raised, after it."""
    task = asyncio.create_task(coroutine)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    raise cancelled from (None if task.cancelled() else task.exception())


def run_outside_loop(function: Callable[[], T]) -> T:
    """Run it in a thread of its own where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def new_runner() -> asyncio.Runner:
    """Return a runner for a worker's loop: uvloop where there is one."""
    if sys.platform == "win32":
        return asyncio.Runner()
    import uvloop  # noqa: PLC0415 - not on every platform

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
