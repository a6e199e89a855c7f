"""Event loops: which one a process runs, awaiting a coroutine to its end, and calls from inside a running loop."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def new_runner() -> asyncio.Runner:
    """Return a runner of a new event loop: uvloop's where uvloop is installed, asyncio's elsewhere."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform; and importing loadgen loads no loop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def shielded(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine to its end, even when the caller is cancelled meanwhile.

    Raises:
        asyncio.CancelledError: the caller was cancelled; raised after the coroutine has ended.
    """
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
    """Call a function that runs an event loop; in a new thread when this thread already runs one, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
