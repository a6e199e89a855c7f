"""The real clock on real event loops: never early, in order, and no resource is leaked."""

import asyncio
import math
import os
import sys
import time

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.clock import PreciseClock

LOOPS = pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
TIMERS = pytest.mark.parametrize("kernel", [True, False], ids=["timerfd", "loop timers"])


def run(factory, coroutine):
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def clock_with(kernel: bool, monkeypatch) -> PreciseClock:
    """Return a clock on the kernel timer, or on the loop's timers as on other systems."""
    with monkeypatch.context() as patch:
        if not kernel:
            patch.setattr(sys, "platform", "darwin")
        return PreciseClock()


@LOOPS
@TIMERS
def test_a_wait_is_never_early(factory, kernel, monkeypatch):
    """A wait returns at its instant or later, for waits from nanoseconds to milliseconds."""

    async def main():
        clock = clock_with(kernel, monkeypatch)
        late = []
        for delay in [1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 0.0009, 0.001, 0.0011, 0.0037, 0.011]:
            due = clock.now() + delay
            await clock.sleep_until(due)
            late.append(clock.now() - due)
        clock.close()
        return late

    assert min(run(factory, main())) >= 0


@LOOPS
@TIMERS
def test_waiters_wake_in_the_order_of_their_instants(factory, kernel, monkeypatch):
    """Two hundred waits started in any order end in the order of their instants; equal ones in the order of their start."""

    async def main():
        clock = clock_with(kernel, monkeypatch)
        woken, ended = [], []

        async def wait(number: int, due: float) -> None:
            is_early = clock.now() < due  # on a slow machine some are due before they start
            await clock.sleep_until(due)
            assert clock.now() >= due
            ended.append(number)
            if is_early:
                woken.append((due, number))

        origin = clock.now() + 0.005
        async with asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(wait(number, origin + (number * 37 % 50) / 10_000))
        clock.close()
        return woken, ended

    woken, ended = run(factory, main())
    assert woken == sorted(woken)
    assert sorted(ended) == list(range(200))


@LOOPS
@TIMERS
def test_cancelled_waits_do_not_delay_the_others(factory, kernel, monkeypatch):
    """After some waits are cancelled, the others still end on time and in order."""

    async def main():
        clock = clock_with(kernel, monkeypatch)
        origin = clock.now()
        tasks = [asyncio.create_task(clock.sleep_until(origin + 0.1 + n / 1000)) for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        ended = clock.now()
        clock.close()
        return results, ended - origin

    results, lasted = run(factory, main())
    assert [isinstance(r, asyncio.CancelledError) for r in results] == [n % 3 == 0 for n in range(20)]
    assert lasted >= 0.1 + 19 / 1000 - 1 / 1000


@LOOPS
@TIMERS
def test_an_earlier_wait_started_later_ends_first(factory, kernel, monkeypatch):
    """A wait started later for an earlier instant does not wait for the first one."""

    async def main():
        clock = clock_with(kernel, monkeypatch)
        long = asyncio.create_task(clock.sleep_until(clock.now() + 3600))
        await asyncio.sleep(0)
        await clock.sleep_until(clock.now() + 0.001)
        overtaken = not long.done()
        long.cancel()
        await asyncio.gather(long, return_exceptions=True)
        clock.close()
        return overtaken

    assert run(factory, main())


@LOOPS
@TIMERS
@pytest.mark.parametrize("forever", [math.inf, 1e300, 1e18])
def test_an_infinite_wait_can_be_cancelled(factory, kernel, forever, monkeypatch):
    """Beside an infinite wait others end on time, and the event loop does not spin."""
    wakeups = []
    on_timer = PreciseClock._on_timer
    monkeypatch.setattr(PreciseClock, "_on_timer", lambda clock: (wakeups.append(1), on_timer(clock)))

    async def main():
        clock = clock_with(kernel, monkeypatch)
        never = asyncio.create_task(clock.sleep_until(forever))
        await asyncio.sleep(0)
        await clock.sleep_until(clock.now() + 0.001)
        await asyncio.sleep(0)
        assert not never.done()
        wakeups.clear()  # a loop timer polls during the last two milliseconds of a wait
        for _ in range(100):
            await asyncio.sleep(0)
        never.cancel()
        result = await asyncio.gather(never, return_exceptions=True)
        clock.close()
        return result

    result = run(factory, main())
    assert not wakeups
    assert isinstance(result[0], asyncio.CancelledError)


def test_a_wait_for_the_past_does_not_suspend():
    """A wait for an instant in the past returns without yielding to the event loop."""

    async def main():
        clock = PreciseClock()
        other = asyncio.create_task(asyncio.sleep(0))
        await clock.sleep_until(clock.now() - 1)
        ran = other.done()
        await other
        clock.close()
        return ran

    assert not asyncio.run(main())


@LOOPS
def test_closing_releases_the_file_descriptor(factory):
    """A hundred clocks opened and closed leave no file descriptor; closing twice is allowed."""

    async def main():
        before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
        for _ in range(100):
            clock = PreciseClock()
            await clock.sleep_until(clock.now() + 1e-5)
            clock.close()
            clock.close()
        after = len(os.listdir("/proc/self/fd")) if before else 0
        return before, after

    before, after = run(factory, main())
    assert before == after


def test_the_clock_is_perf_counter():
    """The clock's instants are comparable with those of the transports."""

    async def main():
        clock = PreciseClock()
        a, b, c = time.perf_counter(), clock.now(), time.perf_counter()
        clock.close()
        return a <= b <= c

    assert asyncio.run(main())


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 4000), st.booleans()), max_size=30))
def test_any_mix_of_waits_and_cancellations_ends(waits):
    """Every wait that was not cancelled ends, never early, for any number of cancelled waits."""

    async def main():
        clock = PreciseClock()
        origin = clock.now()

        async def wait(due: float) -> float:
            await clock.sleep_until(due)
            return clock.now() - due

        tasks = [asyncio.create_task(wait(origin + us / 1e6)) for us, _ in waits]
        await asyncio.sleep(0)
        for task, (_, is_cancelled) in zip(tasks, waits, strict=True):
            if is_cancelled:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        clock.close()
        return results

    for result in asyncio.run(main()):
        assert isinstance(result, asyncio.CancelledError) or result >= 0


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd exists on Linux only")
def test_the_kernel_timer_is_set_once_for_each_wait():
    """A task that waits repeatedly, beside one long wait, costs one system call for each wait."""

    async def main():
        clock = PreciseClock()
        calls = []
        real = clock._libc.timerfd_settime

        class Counting:
            def timerfd_settime(self, *arguments):
                calls.append(arguments)
                return real(*arguments)

        clock._libc = Counting()
        long = asyncio.create_task(clock.sleep_until(clock.now() + 60))
        for _ in range(100):
            await clock.sleep_until(clock.now() + 0.0005)
        long.cancel()
        clock.close()
        return len(calls)

    # One more for the long wait, and some for spurious wake-ups on a busy machine.
    assert run(uvloop.new_event_loop, main()) <= 110
