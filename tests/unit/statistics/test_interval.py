"""Intervals of means, percentiles and shares, against textbook values and exact sums."""

import math

import numpy as np
import pytest

from loadgen.statistics.autocorrelation import Dependence
from loadgen.statistics.interval import mean_interval, quantile_interval, share_interval, share_interval_of_counts


def test_the_mean_of_symmetric_independent_values_has_student_s_interval():
    """For values without skewness it is mean +- 2.064 s / 5 with 25 values: the table's t of 24 degrees."""
    half = np.array([0.3, 1.7, 0.9, 2.2, 0.1, 1.1, 3.0, 0.5, 1.4, 2.6, 0.8, 1.9])
    values = np.random.default_rng(3).permutation(np.concatenate((10 - half, [10.0], 10 + half)))

    found = mean_interval(values)

    width = 2.064 * values.std(ddof=1) / 5
    assert (found.value, found.low, found.high) == pytest.approx((10, 10 - width, 10 + width), rel=1e-4)
    assert found.effective_count == 25


def test_a_long_tail_moves_the_interval_of_the_mean_up():
    """The mean of a few exponential values errs below more often than above, so the upper side is wider."""
    found = mean_interval(np.random.default_rng(1).exponential(size=60))

    assert found.high - found.value > 1.1 * (found.value - found.low)


def test_too_few_values_have_no_interval():
    """Seven values have a mean and no interval; equal values have one without width."""
    assert mean_interval(np.arange(7.0)).ends is None
    assert mean_interval(np.full(20, 0.1)).ends == pytest.approx((0.1, 0.1))
    assert quantile_interval(np.arange(5.0), 50).ends is None


def test_a_given_dependence_widens_a_percentile():
    """With an autocorrelation time of 9 the interval of a median is about 2.6 times as wide: the root of 6.8.

    The exceedances of the median have the correlations (2 / pi) asin(0.8^k): their sum makes a time of 6.2.
    """
    values = np.random.default_rng(2).normal(10, 1, 4000)
    alone = quantile_interval(values, 50)
    given = quantile_interval(
        values, 50, dependence=Dependence(4000, is_independent=False, effective_count=4000 / 9, degrees=1e9)
    )
    time = 1 + 2 * sum(2 / math.pi * math.asin(0.8**k) for k in range(1, 200))

    assert given.effective_count == pytest.approx(4000 / time, rel=0.05)
    assert (given.high - given.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(time), rel=0.15)


@pytest.mark.parametrize(("hits", "count"), [(1, 20), (7, 100), (20, 400), (399, 400)])
def test_the_ends_of_a_share_are_mid_p_values(hits, count):
    """At each end the probability of more extreme numbers of hits, and half of that of the observed one, is 2.5 %."""
    found = share_interval_of_counts(hits, count)

    def mass(k, p):
        return math.comb(count, k) * p**k * (1 - p) ** (count - k)

    def beyond(p, numbers):
        return sum(mass(k, p) for k in numbers) + mass(hits, p) / 2

    assert beyond(found.low, range(hits + 1, count + 1)) == pytest.approx(0.025, rel=1e-3)
    assert beyond(found.high, range(hits)) == pytest.approx(0.025, rel=1e-3)


def test_hits_in_groups_carry_less():
    """100 hits in 10 groups of 10 have a wider interval than 100 hits anywhere among 2,000 calls."""
    random = np.random.default_rng(5)
    groups = np.zeros(2000, dtype=bool)
    for start in random.choice(200, 10, replace=False) * 10:
        groups[start : start + 10] = True

    grouped, scattered = share_interval(groups), share_interval(random.permutation(groups))

    assert grouped.value == scattered.value == 0.05
    assert scattered.ends == pytest.approx(share_interval_of_counts(100, 2000).ends)
    assert grouped.high - grouped.low > 1.8 * (scattered.high - scattered.low)
    assert grouped.effective_count < 600
