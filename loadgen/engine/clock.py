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
_LONGEST = 86_400.0  # seconds: a timer is set for no longer, and then set again; a kernel's number cannot say "never"
_EARLY = 0.002  # how much before the due instant a coarse timer is set: two of its steps


class Clock(Protocol):
    """The time of a run, in seconds on a monotonic scale; tests bring one that jumps."""

    def now(self) -> float:
        """Return the current instant."""
        ...

    async def until(self, due: float) -> None:
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
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._armed = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._fd = self._open_timerfd()

    def _open_timerfd(self) -> int:
        if sys.platform != "linux":
            return -1
        self._libc = ctypes.CDLL(None, use_errno=True)
        # Python has os.timerfd_create from 3.13 on; the call is the same.
        fd: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if fd >= 0:
            self._loop.add_reader(fd, self._rang)
        return fd

    async def until(self, due: float) -> None:
        """Return at `due` or as little after it as possible; at once when it has passed."""
        if due <= self.now():
            return
        woken = self._loop.create_future()
        heapq.heappush(self._waiting, (due, next(self._order), woken))
        self._arm()
        await woken

    def _arm(self) -> None:
        """Set the kernel's timer to the earliest waiter, if it is not set to it already."""
        while self._waiting and self._waiting[0][2].done():  # its task was cancelled
            heapq.heappop(self._waiting)
        if not self._waiting or self._waiting[0][0] == self._armed:
            return
        self._armed = self._waiting[0][0]
        delay = min(max(self._armed - self.now(), 1e-9), _LONGEST)  # a zero would disarm it
        if self._fd >= 0:
            spec = _Itimerspec(_Timespec(0, 0), _Timespec(int(delay), max(1, int(delay % 1 * 1e9))))
            self._libc.timerfd_settime(self._fd, 0, ctypes.byref(spec), None)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, delay - _EARLY), self._rang)

    def _rang(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(BlockingIOError):  # set anew between the ring and this call
                os.read(self._fd, 8)
        self._armed = float("inf")
        now = self.now()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, woken = heapq.heappop(self._waiting)
            if not woken.done():
                woken.set_result(None)
        # After those who woke: most wait again at once, and would set the timer a second time. On a virtual machine
        # one such call takes 10 us.
        self._loop.call_soon(self._arm)

    def close(self) -> None:
        """Give the kernel's timer back. Nothing may wait on the clock any more."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        if self._timer is not None:
            self._timer.cancel()


@asynccontextmanager
async def clock_of_a_run(given: Clock | None) -> AsyncIterator[Clock]:
    """Yield the clock that was given, or a PreciseClock that is closed in the end."""
    if given is not None:
        yield given
        return
    clock = PreciseClock()
    try:
        yield clock
    finally:
        clock.close()
