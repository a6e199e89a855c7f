"""The difference of one metric between two measurements: estimate, interval and p-value."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.comparison.blocks import (
    MAX_LAG_1,
    MIN_BLOCKS,
    Calls,
    block_values,
    fewer_blocks,
    lag_1,
    largest_block_count,
)
from loadgen.comparison.metric import Metric
from loadgen.comparison.shift_test import ShiftTest, flip_pairs, permute_blocks
from loadgen.statistics.distributions import normal_quantile
from loadgen.statistics.interval import Interval

CONFIDENCE = 0.95
_SMALLEST_P_VALUE = 1e-15
_LARGEST_LAG_1 = 0.95  # the estimate from 10 blocks can exceed 1
_Z = normal_quantile(0.5 + CONFIDENCE / 2)


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of one metric; a change is a ratio minus 1, of a share the difference of the shares.

    Args:
        metric: the metric.
        base: value of the base with its interval; None if it has none.
        new: likewise of the new measurement.
        change: the estimate; None if it cannot be worked out.
        low: lower end of its 95 % interval; None without one.
        high: upper end.
        p_value: two-sided, of no change, not corrected for the number of comparisons; 1 if unknown.
        blocks: number of blocks of each side, or of pairs; 0 without blocks.
        calls: ok calls of the smaller side.
        reason: why there is no change or no interval; empty if there is one.
    """

    metric: Metric
    base: Interval | None
    new: Interval | None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float = 1.0
    blocks: int = 0
    calls: int = 0
    reason: str = ""

    @property
    def worsening(self) -> float:
        """The change in the direction that is worse: positive if the new measurement is worse; 0 if unknown."""
        change = self.change or 0.0
        return change if self.metric.more_is_worse else -change

    @property
    def half_width(self) -> float | None:
        """Half of the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def without_change(metric: Metric, base: Interval | str, new: Interval | str, reason: str = "") -> Difference:
    """Return a difference that cannot be worked out; a text in place of a value says why that is missing."""
    missing = [text for text in (base, new) if isinstance(text, str)]
    return Difference(
        metric,
        None if isinstance(base, str) else base,
        None if isinstance(new, str) else new,
        reason=reason or "; ".join(dict.fromkeys(missing)),
    )


def difference_of_runs(
    metric: Metric,
    values: tuple[Interval, Interval],
    sides: tuple[Calls, Calls],
    rows: tuple[RunAnalysis, RunAnalysis],
    *,
    blocks: int,
    between_runs: float,
) -> Difference:
    """Compare two runs that were measured one after the other.

    Args:
        metric: the metric.
        values: its values, base and new.
        sides: the calls of both runs.
        rows: their analyses.
        blocks: most blocks that the dependence of the calls allows.
        between_runs: standard deviation of the logarithm of a latency between runs of the same thing. Two runs do not
            show it; the interval is widened by it.
    """
    calls = min(int(np.count_nonzero(side.is_ok)) for side in sides)
    if not metric.is_share:
        blocks = min(blocks, largest_block_count(calls, metric.block_calls))
    if not blocks:
        return without_change(metric, *values, reason=f"needs {MIN_BLOCKS * metric.block_calls:,} ok calls in each run")
    while True:
        found = [
            block_values(metric, side, side.by_time(blocks), blocks, row) for side, row in zip(sides, rows, strict=True)
        ]
        base, new = found
        remaining = max((lag_1(one) for one in found if one is not None), default=0.0)
        less = fewer_blocks(blocks)
        if (base is not None and new is not None and remaining < MAX_LAG_1) or not less:
            break
        blocks = less
    if base is None or new is None:
        return without_change(metric, *values, reason=f"one of {blocks} blocks has no call to work it out from")
    remaining = min(remaining, _LARGEST_LAG_1)
    wider = math.sqrt((1 + remaining) / (1 - remaining)) if remaining >= MAX_LAG_1 else 1.0
    extra = 0.0 if metric.is_share else math.sqrt(2) * between_runs
    return _concluded(metric, values, permute_blocks(base, new), blocks, calls, wider=wider, extra=extra)


def difference_of_pairs(
    metric: Metric, values: tuple[Interval, Interval], differences: NDArray[np.float64], *, calls: int
) -> Difference:
    """Compare two steps that were called in alternating blocks.

    Args:
        metric: the metric.
        values: its values, base and new.
        differences: new minus base of each pair of blocks, shape (k,).
        calls: ok calls of the smaller side.
    """
    return _concluded(metric, values, flip_pairs(differences), differences.size, calls)


def difference_of_intervals(metric: Metric, base: Interval, new: Interval, *, between_runs: float) -> Difference:
    """Compare two values of which only the intervals are known, as in summary.json.

    The interval of the difference is that of Zou and Donner (Construction of confidence limits about effect measures,
    2008): each end combines the distances of both values to their own ends.
    """
    first = Difference(metric, base, new, calls=min(base.count, new.count))
    if base.ends is None or new.ends is None:
        return replace(first, reason="a value without an interval")
    if metric.is_share:
        change, ends = new.value - base.value, (base.ends, new.ends)
        points = (base.value, new.value)
        extra = 0.0
    else:
        if min(base.value, new.value, *base.ends, *new.ends) <= 0:
            return replace(first, reason="a value that is not positive")
        points = (math.log(base.value), math.log(new.value))
        ends = tuple((math.log(low), math.log(high)) for low, high in (base.ends, new.ends))  # type: ignore[assignment]
        change, extra = points[1] - points[0], math.sqrt(2) * between_runs
    below = math.hypot(points[1] - ends[1][0], ends[0][1] - points[0], _Z * extra)
    above = math.hypot(ends[1][1] - points[1], points[0] - ends[0][0], _Z * extra)
    toward_none = below if change > 0 else above
    p_value = 1.0 if not change else _two_sided(_Z * abs(change) / toward_none) if toward_none else 0.0
    return _displayed(first, change, change - below, change + above, p_value)


def _concluded(
    metric: Metric,
    values: tuple[Interval, Interval],
    test: ShiftTest,
    blocks: int,
    calls: int,
    *,
    wider: float = 1.0,
    extra: float = 0.0,
) -> Difference:
    """Return the difference of a test, widened by a factor and by a further standard deviation."""
    first = Difference(metric, *values, blocks=blocks, calls=calls)
    ends, estimate = test.interval(CONFIDENCE), test.estimate
    if ends is None:
        return replace(first, reason=f"{blocks} blocks are too few")
    below, above = (math.hypot(wider * (end - estimate), _Z * extra) for end in ends)
    if metric.is_share:
        by_counts = difference_of_intervals(metric, *values, between_runs=0.0)
        if by_counts.low is not None and by_counts.high is not None and by_counts.change is not None:
            estimate = by_counts.change
            below, above = max(below, estimate - by_counts.low), max(above, by_counts.high - estimate)
    p_value = _widened(test.p_value, test.estimate, wider=wider, extra=extra)
    return _displayed(first, estimate, estimate - below, estimate + above, p_value)


def _widened(p_value: float, estimate: float, *, wider: float, extra: float) -> float:
    """Return the p-value of an estimate whose standard error is larger than the one that the p-value came from."""
    if p_value >= 1 or not estimate or (wider == 1 and not extra):
        return p_value
    error = abs(estimate) / normal_quantile(1 - max(p_value, _SMALLEST_P_VALUE) / 2)
    return max(p_value, _two_sided(abs(estimate) / math.hypot(wider * error, extra)))


def _two_sided(z: float) -> float:
    return math.erfc(z / math.sqrt(2))


def _displayed(first: Difference, change: float, low: float, high: float, p_value: float) -> Difference:
    """Return the difference with its change as a ratio minus 1, or as a difference of shares."""
    if first.metric.is_share:
        return replace(first, change=change, low=max(-1.0, low), high=min(1.0, high), p_value=p_value)
    return replace(first, change=math.expm1(change), low=math.expm1(low), high=math.expm1(high), p_value=p_value)
