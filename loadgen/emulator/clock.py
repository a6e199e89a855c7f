"""Clock and pace: what time it is, and waiting for an instant precisely.

The clock is the wall's date carried on by `perf_counter`: epoch seconds that never jump, in steps far below a
microsecond. The event loops' own timers step in whole milliseconds.
"""

import asyncio
import time

# A timer is set this much early, since it may be late by its step and the loop's own turn; the rest is spun.
_WAKE_EARLY = 0.0012
# Spinning takes a core from the load generator next to us, so it is done only while few wait. Measured on two cores
# with 100 in flight at 100 ms: 560 us of CPU for each request when four may spin, 160 us when none does.
_MAX_SPINNING = 8
# With many waiting, timers are taken as they come: to the nearest millisecond, as often early as late.
_TOLERANCE = 0.0005


class EpochClock:
    """Epoch seconds since a start that is read off the wall once."""

    def __init__(self) -> None:
        self._offset = time.time() - time.perf_counter()

    def __call__(self) -> float:
        """Return the time now."""
        return self._offset + time.perf_counter()

    def to_epoch(self, perf_counter_seconds: float) -> float:
        """Return the epoch seconds of a `perf_counter` reading."""
        return self._offset + perf_counter_seconds


class PreciseSleeper:
    """Waits for instants of a clock: to microseconds while few wait at once, else to half a millisecond."""

    def __init__(self, clock: EpochClock) -> None:
        self._clock = clock
        self._waiter_count = 0

    async def sleep_until(self, instant: float) -> None:
        """Return at the instant (epoch seconds), or at once when it has passed."""
        self._waiter_count += 1
        try:
            while (left := instant - self._clock()) > 0:
                if self._waiter_count > _MAX_SPINNING:
                    if left <= _TOLERANCE:
                        return
                    await asyncio.sleep(left)
                else:
                    await asyncio.sleep(left - _WAKE_EARLY if left > _WAKE_EARLY else 0)
        finally:
            self._waiter_count -= 1
