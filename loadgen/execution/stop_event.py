"""The stop event of a run: waits that end when it is set."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from loadgen.errors import InterruptedRunError


async def wait_or_stop(future: "asyncio.Future[Any]", stop: asyncio.Event) -> None:
    """Wait until a future is done or `stop` is set; the future is neither awaited nor cancelled."""
    stop_task = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([future, stop_task], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop_task.cancel()


async def sleep_until(deadline: float, stop: asyncio.Event) -> None:
    """Wait until an instant of the monotonic clock, or until `stop` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            await stop.wait()


@asynccontextmanager
async def acquire_or_stop(semaphore: asyncio.Semaphore, stop: asyncio.Event) -> AsyncIterator[None]:
    """Hold a semaphore during the block; enter the block without it as soon as `stop` is set."""
    acquisition = asyncio.ensure_future(semaphore.acquire())
    try:
        await wait_or_stop(acquisition, stop)
        yield
    finally:
        if not acquisition.cancel():  # it was granted
            semaphore.release()


@asynccontextmanager
async def cancel_on(stop: asyncio.Event) -> AsyncIterator[None]:
    """Cancel the block as soon as `stop` is set.

    Raises:
        InterruptedRunError: `stop` was set before the block ended.
    """
    try:
        async with asyncio.timeout(None) as limit:
            stop_task = asyncio.create_task(_expire_on(stop, limit))
            try:
                yield
            finally:
                stop_task.cancel()
    except TimeoutError as error:
        if not stop.is_set():
            raise
        raise InterruptedRunError("stopped before anything was created") from error


async def _expire_on(stop: asyncio.Event, limit: asyncio.Timeout) -> None:
    await stop.wait()
    limit.reschedule(asyncio.get_running_loop().time())
