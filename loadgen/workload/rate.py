"""Rate: requests per second as a function of time, its integral, and the inverse of the integral in closed form."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import UsageError
from loadgen.validation import validate_duration


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second as a piecewise linear function of time.

    Args:
        knots: (seconds from the start, requests per second), with times ascending from 0. Two knots at the same time
            are a jump.
        is_unbounded: True to hold the last value for ever; False to end with the last knot.

    Raises:
        UsageError: a rate is negative or not finite, all rates are 0, or the times are not ascending from 0.
    """

    knots: tuple[tuple[float, float], ...]
    is_unbounded: bool = False

    def __post_init__(self) -> None:
        times = [t for t, _ in self.knots]
        if not times or times[0] != 0 or any(b < a for a, b in pairwise(times)):
            raise UsageError(f"rate has knots at {times}", hint="times must start at 0 and ascend")
        if any(not (math.isfinite(t) and math.isfinite(r) and r >= 0) for t, r in self.knots):
            raise UsageError(f"rate has knots {self.knots}", hint="must be finite, with rates of at least 0")
        if max(r for _, r in self.knots) == 0:
            raise UsageError("rate is 0 throughout, so no request would be sent", hint="must be above 0 somewhere")

    @property
    def duration(self) -> float:
        """Seconds until the rate ends; infinite when it is unbounded."""
        return math.inf if self.is_unbounded else self.knots[-1][0]

    def at(self, t: float) -> float:
        """Return the rate at t seconds, in requests per second; 0 outside the rate's duration."""
        if t < 0 or t > self.duration:
            return 0.0
        after = bisect_right(self.knots, t, key=lambda knot: knot[0])
        t0, r0 = self.knots[after - 1]
        if after == len(self.knots):
            return r0
        t1, r1 = self.knots[after]
        return r0 + (r1 - r0) * (t - t0) / (t1 - t0)

    def cumulative(self, t: float) -> float:
        """Return how many requests are due before t seconds: the integral of the rate from 0 to t."""
        t = min(max(t, 0.0), self.duration)
        total = 0.0
        for (t0, r0), (t1, r1) in pairwise(self.knots):
            if t <= t0:
                return total
            end = min(t, t1)
            share = (end - t0) / (t1 - t0) if t1 > t0 else 0.0
            total += (end - t0) * (r0 + (r0 + (r1 - r0) * share)) / 2
        return total + max(0.0, t - self.knots[-1][0]) * self.knots[-1][1]

    def inverse_cumulative(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the instant at which each cumulative count is reached: the inverse of `cumulative`, in closed form.

        Args:
            counts: cumulative requests, ascending, shape (n,).

        Returns:
            Seconds from the start, shape (n,); infinite for counts that the rate never reaches.
        """
        due = np.full(counts.shape, math.inf)
        reached = 0.0
        for (t0, r0), (t1, r1) in pairwise(self.knots):
            area = (t1 - t0) * (r0 + r1) / 2
            # The segment's end belongs to the next segment, so that an arrival at a knot is counted once.
            inside = (counts >= reached) & (counts < reached + area)
            due[inside] = t0 + _solve(counts[inside] - reached, r0, (r1 - r0) / (t1 - t0) if t1 > t0 else 0.0)
            reached += area
        if self.is_unbounded and self.knots[-1][1] > 0:
            beyond = counts >= reached
            due[beyond] = self.knots[-1][0] + (counts[beyond] - reached) / self.knots[-1][1]
        return due


def _solve(area: NDArray[np.float64], rate: float, slope: float) -> NDArray[np.float64]:
    """Return x with rate * x + slope * x^2 / 2 = area, by the form of the root that is stable for small slopes."""
    if slope == 0:
        return area / rate
    root = np.sqrt(np.maximum(rate * rate + 2 * slope * area, 0.0))
    divisor = rate + root
    # With area 0 and rate 0 the quotient is 0 / 0; such a request is due at once.
    return np.divide(2 * area, divisor, out=np.zeros_like(area), where=divisor > 0)


def constant(rate: float) -> Rate:
    """Return a constant, unbounded rate in requests per second.

    Example:
        >>> constant(50).cumulative(10)
        500.0
    """
    return Rate(((0.0, rate),), is_unbounded=True)


def ramp(start: float, end: float, over: float) -> Rate:
    """Return a rate that changes linearly from `start` to `end` requests per second over `over` seconds, then ends.

    Example:
        >>> ramp(0, 100, over=60).cumulative(60)
        3000.0
    """
    return Rate(((0.0, start), (validate_duration(over), end)))


def stages(*steps: tuple[float, float], start: float = 0.0) -> Rate:
    """Return a rate that changes linearly to each stage's rate over the stage's duration.

    Args:
        steps: (seconds, requests per second) of each stage. A stage with the rate of the previous one holds it; a stage
            of 0 seconds jumps.
        start: the initial rate, in requests per second.

    Example:
        >>> stages((10, 20), (60, 20), (0, 80), (5, 80)).duration
        75.0
    """
    knots = [(0.0, start)]
    for seconds, rate in steps:
        knots.append((knots[-1][0] + validate_duration(seconds, allow_zero=True), rate))
    return Rate(tuple(knots))
