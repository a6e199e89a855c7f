"""The clock of a run: the current instant, and waits that are more precise than the event loop's timers.

asyncio's timers have a resolution of one millisecond on uvloop and on epoll, which is too coarse for thousands of
requests per second. On Linux a timerfd wakes the loop; elsewhere a loop timer wakes it early and the clock is polled.
"""

import asyncio
import contextlib
import ctypes
import heapq
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

_CLOCK_MONOTONIC = 1  # linux/time.h
_TFD_NONBLOCK_CLOEXEC = 0o2004000  # TFD_NONBLOCK | TFD_CLOEXEC, linux/timerfd.h
# Seconds. A longer wait sets the timer repeatedly, since an infinite wait does not fit the kernel's number.
_MAX_TIMER_DELAY = 86_400.0
_TIMER_MARGIN = 0.002  # seconds by which a loop timer is set early: twice its resolution


class Clock(Protocol):
    """The time of a run, in seconds on a monotonic scale. Tests provide a virtual one."""

    def now(self) -> float:
        """Return the current instant."""
        ...

    async def sleep_until(self, due: float) -> None:
        """Wait until `due`: return as soon as possible after it, never before. Return at once when it has passed."""
        ...

    def close(self) -> None:
        """Release the clock's resources."""
        ...


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class PreciseClock:
    """The real clock, `time.perf_counter`, for one event loop. All its waits share one kernel timer."""

    def __init__(self) -> None:
        self.now = time.perf_counter
        self._loop = asyncio.get_running_loop()
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []
        self._sequence = itertools.count()
        self._timer_due = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._fd = self._open_timerfd()

    def _open_timerfd(self) -> int:
        if sys.platform != "linux":
            return -1
        self._libc = ctypes.CDLL(None, use_errno=True)
        # os.timerfd_create exists from Python 3.13 on; this is the same system call.
        fd: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if fd >= 0:
            self._loop.add_reader(fd, self._on_timer)
        return fd

    async def sleep_until(self, due: float) -> None:
        """Wait until `due`: return as soon as possible after it, never before. Return at once when it has passed."""
        if due <= self.now():
            return
        waiter = self._loop.create_future()
        heapq.heappush(self._waiters, (due, next(self._sequence), waiter))
        self._set_timer()
        await waiter

    def _set_timer(self) -> None:
        """Set the timer to the earliest waiter, unless it is already set to it."""
        while self._waiters and self._waiters[0][2].done():  # the waiting task was cancelled
            heapq.heappop(self._waiters)
        if not self._waiters or self._waiters[0][0] == self._timer_due:
            return
        self._timer_due = self._waiters[0][0]
        delay = min(max(self._timer_due - self.now(), 1e-9), _MAX_TIMER_DELAY)  # 0 would disarm the timer
        if self._fd >= 0:
            spec = _Itimerspec(_Timespec(0, 0), _Timespec(int(delay), max(1, int(delay % 1 * 1e9))))
            self._libc.timerfd_settime(self._fd, 0, ctypes.byref(spec), None)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, delay - _TIMER_MARGIN), self._on_timer)

    def _on_timer(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(BlockingIOError):  # the timer was set again after it expired
                os.read(self._fd, 8)
        self._timer_due = float("inf")
        now = self.now()
        while self._waiters and self._waiters[0][0] <= now:
            _, _, waiter = heapq.heappop(self._waiters)
            if not waiter.done():
                waiter.set_result(None)
        # Set the timer after the woken tasks have run: most of them wait again at once, and would set it a second time.
        # On a virtual machine one timerfd_settime takes 10 us.
        self._loop.call_soon(self._set_timer)

    def close(self) -> None:
        """Release the kernel timer. No task may wait on the clock any more. Idempotent."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        if self._timer is not None:
            self._timer.cancel()


@asynccontextmanager
async def open_clock(clock: Clock | None) -> AsyncIterator[Clock]:
    """Yield the given clock, which is not closed, or a new PreciseClock, which is."""
    if clock is not None:
        yield clock
        return
    own = PreciseClock()
    try:
        yield own
    finally:
        own.close()
