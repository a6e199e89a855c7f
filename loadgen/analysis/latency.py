"""Distribution of the latencies of one category of calls: statistics, percentiles, and their confidence intervals.

A percentile without an interval is None: the calls, or the independent calls that they carry as much as, are too few.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.histogram import Histogram, highest_equivalent_value, lowest_equivalent_value
from loadgen.statistics.autocorrelation import Dependence, measure_latency_dependence
from loadgen.statistics.interval import Interval, mean_interval, quantile_interval
from loadgen.statistics.order_statistics import interpolated_ranks, nearest_rank, value_between

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Percentile:
    """A percentile with its distribution-free 95 % confidence interval, in seconds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Distribution of the latencies of one category, in seconds; within 0.1 % if the samples were not kept.

    Args:
        count: number of calls, at least 1.
        minimum: shortest latency.
        mean: arithmetic mean.
        median: median.
        maximum: longest latency.
        iqr: interquartile range.
        percentiles: percent -> value with interval; None if there are too few calls.
        mean_interval: 95 % interval of the mean; None if the calls are too few or the samples were not kept.
        effective_count: number of independent calls that carry as much about the median; at most `count`; None if the
            calls are too few to tell or the samples were not kept.
        dependence: dependence of the calls in the order of time; None if the samples were not kept.
    """

    count: int
    minimum: float
    mean: float
    median: float
    maximum: float
    iqr: float
    percentiles: Mapping[float, Percentile | None]
    mean_interval: Interval | None = None
    effective_count: float | None = None
    dependence: Dependence | None = None


def latency_from_values(values: NDArray[np.float64]) -> Latency | None:
    """Return the distribution of latencies, float seconds, shape (n,), in the order of time; None if there are none."""
    count = values.size
    if not count:
        return None
    ascending = np.sort(values)
    quartiles = [quantile(ascending, share) for share in (0.25, 0.5, 0.75)]
    dependence = measure_latency_dependence(values, ascending=ascending)
    percentiles = {
        percent: quantile_interval(values, percent, ascending=ascending, dependence=dependence)
        for percent in PERCENTILES
    }
    mean = mean_interval(values)
    return Latency(
        count=count,
        minimum=float(ascending[0]),
        mean=mean.value,
        median=quartiles[1],
        maximum=float(ascending[-1]),
        iqr=quartiles[2] - quartiles[0],
        percentiles={percent: _percentile(found) for percent, found in percentiles.items()},
        mean_interval=None if mean.ends is None else mean,
        effective_count=percentiles[50.0].effective_count,
        dependence=dependence,
    )


def _percentile(found: Interval) -> Percentile | None:
    return None if found.ends is None else Percentile(found.value, *found.ends)


def quantile(ascending: NDArray[np.float64], share: float) -> float:
    """Return a quantile of sorted values by linear interpolation, as pandas and spreadsheets do."""
    position = share * (ascending.size - 1)
    below = math.floor(position)
    above = min(below + 1, ascending.size - 1)
    return float(ascending[below] + (position - below) * (ascending[above] - ascending[below]))


def latency_from_histogram(histogram: Histogram) -> Latency | None:
    """Return the distribution of a histogram, within 0.1 %; None if it is empty.

    A histogram does not keep the order of the calls: its intervals are those of independent calls.
    """
    if not histogram.total:
        return None
    indices = np.flatnonzero(histogram.counts)
    low, high = lowest_equivalent_value(indices), highest_equivalent_value(indices)
    at = histogram.value_at_rank
    count = histogram.total
    percentiles: dict[float, Percentile | None] = {}
    for percent in PERCENTILES:
        shares = interpolated_ranks(percent, count)
        percentiles[percent] = shares and Percentile(
            at(nearest_rank(percent, count)), *(value_between(at, share * (count + 1)) for share in shares)
        )
    return Latency(
        count=count,
        minimum=int(low[0]) / 1e6,
        mean=float(np.average((low + high) / 2, weights=histogram.counts[indices])) / 1e6,
        median=at(nearest_rank(50, count)),
        maximum=int(high[-1]) / 1e6,
        iqr=at(nearest_rank(75, count)) - at(nearest_rank(25, count)),
        percentiles=percentiles,
    )
