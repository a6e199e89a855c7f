"""The emulator's clock, and precise waiting for one of its instants.

The clock is the wall clock at the start plus `perf_counter`: epoch seconds that never jump, with a resolution below a
microsecond. The timers of the event loops have a resolution of one millisecond.
"""

import asyncio
import time

# A timer is set this much early, as it may be late by its resolution and one turn of the loop; the rest is spun.
_WAKE_EARLY = 0.0012
# Spinning takes a core from the load generator on the same machine, so it is done only while few requests wait.
# Measured on two cores with 100 in flight at 100 ms: 560 us of CPU per request if four may spin, 160 us if none.
_MAX_SPINNING = 8
# With many requests waiting, timers are accurate to the nearest millisecond, as often early as late.
_TOLERANCE = 0.0005


class EpochClock:
    """Epoch seconds; the wall clock is read once, at construction."""

    def __init__(self) -> None:
        self._offset = time.time() - time.perf_counter()

    def __call__(self) -> float:
        """Return the current time."""
        return self._offset + time.perf_counter()

    def to_epoch(self, perf_counter_seconds: float) -> float:
        """Return the epoch seconds of a `perf_counter` reading."""
        return self._offset + perf_counter_seconds


class PreciseSleeper:
    """Waits for instants of a clock, to the microsecond while at most 8 wait at once, else to half a millisecond."""

    def __init__(self, clock: EpochClock) -> None:
        self._clock = clock
        self._waiter_count = 0

    async def sleep_until(self, instant: float) -> None:
        """Return at the instant (epoch seconds), or at once if it has passed."""
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
