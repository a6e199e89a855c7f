"""95 % confidence intervals of a mean, a percentile and a share of calls that may depend on each other.

The arrays are in the order of time. Where independence is not rejected the interval is that of independent values;
else it is that of the effective number of calls (autocorrelation.py). An interval that the data cannot carry is None.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from loadgen.statistics.autocorrelation import (
    Dependence,
    exceedance_autocorrelation_time,
    measure_dependence,
    measure_latency_dependence,
)
from loadgen.statistics.distributions import beta_cdf, bisect_increasing, normal_quantile, student_quantile
from loadgen.statistics.order_statistics import TAIL, interpolated_ranks, nearest_rank, value_between

_MIN_VALUES_FOR_MEAN = 8


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % confidence interval.

    Args:
        value: the estimate.
        low: lower end; None if the data cannot carry an interval.
        high: upper end; None if and only if `low` is.
        count: number of calls.
        effective_count: number of independent calls that would carry as much, at most `count`; None if unknown.
    """

    value: float
    low: float | None
    high: float | None
    count: int
    effective_count: float | None

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends, or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def scaled(self, factor: float) -> "Interval":
        """Return the interval in another unit; `factor` is positive."""
        low, high = (None if end is None else end * factor for end in (self.low, self.high))
        return Interval(self.value * factor, low, high, self.count, self.effective_count)


def mean_interval(values: NDArray[np.float64]) -> Interval:
    """Return the mean of values, shape (n,), n >= 1, with its interval. O(n).

    A t interval, corrected for skewness as by Hall (On the Removal of Skewness by Transformation, 1992): latencies have
    a long right tail, so that the mean of a few calls errs more often below than above.

    Example:
        >>> found = mean_interval(np.array([0.11, 0.12, 0.10, 0.11, 0.14, 0.11, 0.12, 0.11, 0.10, 0.12]))
        >>> f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
        '0.114 (0.107 to 0.125)'
    """
    count = values.size
    value = float(values.mean())
    dependence = measure_dependence(values)
    effective = dependence.effective_count
    if count < _MIN_VALUES_FOR_MEAN or effective is None:
        return Interval(value, None, None, count, _at_most(effective, count))
    deviations = values - value
    deviation = math.sqrt(float(deviations @ deviations) / (count - 1))
    if not deviation:
        return Interval(value, value, value, count, _at_most(effective, count))
    error = deviation / math.sqrt(effective)
    ratio = float(deviations**2 @ deviations) / count / deviation**3 / math.sqrt(effective)
    t = student_quantile(1 - TAIL, dependence.degrees)
    low, high = (value - error * _skewed(end, ratio) for end in (t, -t))
    return Interval(value, low, high, count, _at_most(effective, count))


def _skewed(t: float, ratio: float) -> float:
    """Return the studentized value whose transform by Hall is t; `ratio` is skewness / sqrt(n)."""
    if abs(ratio) < 1e-6:
        return t
    return 3 / ratio * (math.cbrt(1 + ratio * (t - ratio / 6)) - 1)


def quantile_interval(
    values: NDArray[np.float64],
    percent: float,
    *,
    ascending: NDArray[np.float64] | None = None,
    dependence: Dependence | None = None,
) -> Interval:
    """Return a percentile of latencies, by nearest rank, with its interval. O(n) if both keywords are given.

    Args:
        values: latencies in the order of time, shape (n,), n >= 1.
        percent: above 0 and below 100.
        ascending: the same values sorted, if they are at hand.
        dependence: `measure_latency_dependence(values)`, if it is at hand.
    """
    count = values.size
    ascending = np.sort(values) if ascending is None else ascending
    dependence = measure_latency_dependence(values, ascending=ascending) if dependence is None else dependence
    value = float(ascending[nearest_rank(percent, count) - 1])
    of_hits = _dependence_of_hits(values > value, percent, dependence)
    ends = None
    carried = _carried_count(of_hits)
    if carried is not None:
        shares = interpolated_ranks(percent, carried)
        positions = None if shares is None else [share * (count + 1) for share in shares]
        if positions is not None and positions[0] >= 1 and positions[1] <= count:
            ends = [value_between(lambda rank: float(ascending[rank - 1]), position) for position in positions]
    low, high = ends or (None, None)
    return Interval(value, low, high, count, _at_most(of_hits.effective_count, count))


def share_interval(is_hit: NDArray[np.bool_], *, dependence: Dependence | None = None) -> Interval:
    """Return the share of hits with its interval. O(n).

    Args:
        is_hit: a flag per call in the order of time, shape (n,), n >= 1.
        dependence: `measure_latency_dependence` of the same calls, if it is at hand. A few hits do not show whether
            they come in groups; the latencies do.
    """
    count, hits = is_hit.size, int(np.count_nonzero(is_hit))
    near = min(max(hits, 0.5), count - 0.5)  # a percentile strictly between 0 and 100
    of_hits = _dependence_of_hits(is_hit, 100 - 100 * near / count, dependence)
    carried = _carried_count(of_hits)
    low, high = (None, None) if carried is None else share_ends(hits / count * carried, carried)
    return Interval(hits / count, low, high, count, _at_most(of_hits.effective_count, count))


def share_interval_of_counts(hits: int, count: int) -> Interval:
    """Return the share of hits with the interval of independent calls, for counts without their order; count >= 1.

    Example:
        >>> found = share_interval_of_counts(1, 20)
        >>> f"{found.value:.0%} ({found.low:.1%} to {found.high:.0%})"
        '5% (0.3% to 22%)'
    """
    low, high = share_ends(hits, count)
    return Interval(hits / count, low, high, count, None)


def _dependence_of_hits(is_hit: NDArray[np.bool_], percent: float, of_values: Dependence | None) -> Dependence:
    """Return the dependence of exceedances of a percentile: their own, or that which follows from the latencies.

    A high percentile is exceeded by few calls, which show little of their own dependence.
    """
    own = measure_dependence(is_hit.astype(np.float64))
    if of_values is None or of_values.is_independent or own.effective_count is None:
        return own
    if of_values.effective_count is None:
        return Dependence(own.count, is_independent=False, effective_count=None, degrees=0)
    time = exceedance_autocorrelation_time(percent, of_values.count / of_values.effective_count)
    if own.count / time >= own.effective_count:
        return own
    return Dependence(own.count, is_independent=False, effective_count=own.count / time, degrees=of_values.degrees)


def _carried_count(dependence: Dependence) -> float | None:
    """Return the effective count, less what its own uncertainty costs: the ratio of a normal to a t quantile."""
    if dependence.effective_count is None or dependence.is_independent:
        return dependence.effective_count
    wider = student_quantile(1 - TAIL, dependence.degrees) / normal_quantile(1 - TAIL)
    return round(dependence.effective_count / wider**2, 3)


def _at_most(effective: float | None, count: int) -> float | None:
    return None if effective is None else min(effective, float(count))


@lru_cache(maxsize=4096)
def share_ends(hits: float, count: float) -> tuple[float, float]:
    """Return the interval of a share (mid-P); neither number need be whole, 0 <= hits <= count.

    The exact interval of Clopper and Pearson covers 98 % where 95 % are meant; half of the probability of the observed
    number counted as beyond it brings the mean coverage to 95 % (Berry and Armitage, Mid-P confidence intervals, 1995).
    Without a hit, and with hits only, it is the exact interval: that end decides alone.
    """
    tail = TAIL ** (1 / count)
    if hits <= 0:
        return 0.0, 1 - tail
    if hits >= count:
        return tail, 1.0

    def at_least(share: float) -> float:
        """Return P(B > hits) + P(B = hits) / 2 of the binomial distribution; it increases with the share."""
        return (beta_cdf(share, hits, count - hits + 1) + beta_cdf(share, hits + 1, count - hits)) / 2

    low, high = (bisect_increasing(at_least, target, 0.0, 1.0) for target in (TAIL, 1 - TAIL))
    return low, high
