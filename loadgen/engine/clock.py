"""Clock: what time it is, and waiting until an instant that lies closer than the loop's own timers can tell.

asyncio's timers step in whole milliseconds on uvloop and lose up to one on epoll; a schedule of thousands of requests
a second needs better. On Linux a timerfd wakes the loop; elsewhere a wait ends early and asks the clock again.
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
_MAX_TIMER_DELAY = (
    86_400.0  # seconds: a timer is set for no longer, and then set again; a kernel's number cannot say "never"
)
_TIMER_MARGIN = 0.002  # how much before the due instant a coarse timer is set: two of its steps


class Clock(Protocol):
    """The time of a run, in seconds on a monotonic scale; tests bring one that jumps."""

    def now(self) -> float:
        """Return the current instant."""
        ...

    async def sleep_until(self, due: float) -> None:
        """Return at `due` or as little after it as possible; at once when it has passed."""
        ...

    def close(self) -> None:
        """Give back what the clock holds."""
        ...


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class PreciseClock:
    """The real clock, `time.perf_counter`, for one event loop: all its waits share one kernel timer."""

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
        # Python has os.timerfd_create from 3.13 on; the call is the same.
        fd: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if fd >= 0:
            self._loop.add_reader(fd, self._on_timer)
        return fd

    async def sleep_until(self, due: float) -> None:
        """Return at `due` or as little after it as possible; at once when it has passed."""
        if due <= self.now():
            return
        woken = self._loop.create_future()
        heapq.heappush(self._waiters, (due, next(self._sequence), woken))
        self._set_timer()
        await woken

    def _set_timer(self) -> None:
        """Set the kernel's timer to the earliest waiter, if it is not set to it already."""
        while self._waiters and self._waiters[0][2].done():  # its task was cancelled
            heapq.heappop(self._waiters)
        if not self._waiters or self._waiters[0][0] == self._timer_due:
            return
        self._timer_due = self._waiters[0][0]
        delay = min(max(self._timer_due - self.now(), 1e-9), _MAX_TIMER_DELAY)  # a zero would disarm it
        if self._fd >= 0:
            spec = _Itimerspec(_Timespec(0, 0), _Timespec(int(delay), max(1, int(delay % 1 * 1e9))))
            self._libc.timerfd_settime(self._fd, 0, ctypes.byref(spec), None)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, delay - _TIMER_MARGIN), self._on_timer)

    def _on_timer(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(BlockingIOError):  # set anew between the ring and this call
                os.read(self._fd, 8)
        self._timer_due = float("inf")
        now = self.now()
        while self._waiters and self._waiters[0][0] <= now:
            _, _, woken = heapq.heappop(self._waiters)
            if not woken.done():
                woken.set_result(None)
        # After those who woke: most wait again at once, and would set the timer a second time. On a virtual machine
        # one such call takes 10 us.
        self._loop.call_soon(self._set_timer)

    def close(self) -> None:
        """Give the kernel's timer back. Nothing may wait on the clock any more."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        if self._timer is not None:
            self._timer.cancel()


@asynccontextmanager
async def open_clock(given: Clock | None) -> AsyncIterator[Clock]:
    """Yield the clock that was given, or a PreciseClock that is closed in the end."""
    if given is not None:
        yield given
        return
    clock = PreciseClock()
    try:
        yield clock
    finally:
        clock.close()
