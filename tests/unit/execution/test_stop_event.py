"""Waits end when the stop event is set, and leave no task and no permit behind."""

import asyncio
import time

import pytest

from loadgen.errors import InterruptedRunError
from loadgen.execution.stop_event import acquire_or_stop, cancel_on, sleep_until, wait_or_stop
from tests.support.virtual_time import run_virtual


def stop_after(seconds):
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    return stop


@pytest.mark.parametrize(("future_after", "stop_seconds", "is_done"), [(1, 2, True), (2, 1, False)])
def test_wait_or_stop_returns_at_the_first_of_both(future_after, stop_seconds, is_done):
    """The wait ends with the future or with the stop; a future that is not done is not cancelled."""

    async def main():
        loop = asyncio.get_running_loop()
        future, started = loop.create_future(), loop.time()
        loop.call_later(future_after, future.set_result, None)
        await wait_or_stop(future, stop_after(stop_seconds))
        duration = loop.time() - started
        await asyncio.sleep(0)  # the cancelled wait ends
        return duration, future.done(), future.cancelled()

    assert run_virtual(main()) == (pytest.approx(1), is_done, False)


def test_sleep_until_ends_at_a_stop():
    """A sleep of an hour ends when the stop event is set."""

    async def main():
        loop, deadline = asyncio.get_running_loop(), time.monotonic() + 3600
        started = loop.time()
        await sleep_until(deadline, stop_after(5))
        return loop.time() - started

    assert run_virtual(main()) == pytest.approx(5)


def test_a_semaphore_is_held_by_one_block_at_a_time():
    """Without a stop the blocks run one after the other, and the semaphore is free afterwards."""

    async def main():
        semaphore, stop, order = asyncio.Semaphore(1), asyncio.Event(), []

        async def block(number):
            async with acquire_or_stop(semaphore, stop):
                order.append(number)
                await asyncio.sleep(1)
                order.append(number)

        await asyncio.gather(*(block(n) for n in range(3)))
        return order, semaphore.locked()

    assert run_virtual(main()) == ([0, 0, 1, 1, 2, 2], False)


def test_a_stop_lets_every_waiter_of_a_semaphore_in():
    """After a stop no block waits for another one that still drains; the count of the semaphore is kept."""

    async def main():
        semaphore, stop = asyncio.Semaphore(1), stop_after(1)
        loop, entered = asyncio.get_running_loop(), []
        started = loop.time()

        async def block():
            async with acquire_or_stop(semaphore, stop):
                entered.append(loop.time() - started)
                await asyncio.sleep(10)

        await asyncio.gather(block(), block())
        await semaphore.acquire()
        return entered, semaphore.locked()

    assert run_virtual(main()) == ([pytest.approx(0), pytest.approx(1)], True)


def test_cancel_on_interrupts_its_block():
    """A block that is waiting is cancelled by the stop event, and raises InterruptedRunError."""

    async def main():
        async with cancel_on(stop_after(1)):
            await asyncio.sleep(3600)

    with pytest.raises(InterruptedRunError):
        run_virtual(main())


def test_cancel_on_passes_other_timeouts_on():
    """A TimeoutError of the block itself is not taken for a stop."""

    async def main():
        with pytest.raises(TimeoutError):
            async with cancel_on(asyncio.Event()):
                raise TimeoutError
        await asyncio.sleep(0)  # the cancelled wait ends

    run_virtual(main())
