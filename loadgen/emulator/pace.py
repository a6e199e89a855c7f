"""Clock and pace: what time it is, and waiting for an instant precisely.

The clock is the wall's date carried on by `perf_counter`: epoch seconds that never jump, in steps far below a
microsecond. The event loops' own timers step in whole milliseconds.
"""

import asyncio
import time

# A timer may be late by its step of 1 ms and by the loop's own turn; it is set this much early and the rest is spun.
_EARLY = 0.0016
# Spinning takes the whole core from the load generator next to us, so only a few requests at a time may.
_FEW = 4


class Clock:
    """Epoch seconds since a start that is read off the wall once."""

    def __init__(self) -> None:
        self._offset = time.time() - time.perf_counter()

    def __call__(self) -> float:
        """Return the time now."""
        return self._offset + time.perf_counter()

    def at(self, counted: float) -> float:
        """Return the epoch seconds of a `perf_counter` reading."""
        return self._offset + counted


class Pace:
    """Waits for instants of a clock: never early; late by microseconds when few wait at once, else by up to 1 ms."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spinning = 0

    async def until(self, instant: float) -> None:
        """Return at the instant (epoch seconds), or at once when it has passed."""
        while (left := instant - self._clock()) > 0:
            if left > _EARLY:
                await asyncio.sleep(left - _EARLY)
            elif self._spinning < _FEW:
                await self._spin(instant)
            else:
                await asyncio.sleep(left)

    async def _spin(self, instant: float) -> None:
        self._spinning += 1
        try:
            while self._clock() < instant:  # noqa: ASYNC110  no event marks an instant
                await asyncio.sleep(0)
        finally:
            self._spinning -= 1
