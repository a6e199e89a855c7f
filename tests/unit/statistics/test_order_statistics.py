"""The ranks that bound a percentile, against exact fractions and simulation."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.statistics.order_statistics import calls_needed, interpolated_ranks, nearest_rank, value_between


def exact_beta_cdf(k, n, p):
    """Return P(the k-th smallest of n uniform values < p) = P(at least k of n lie below p), with exact fractions."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


@pytest.mark.parametrize("percent", [50, 75, 90, 95])
@pytest.mark.parametrize("count", [40, 80, 150])
def test_ranks_lie_between_those_of_the_exact_binomial(percent, count):
    """The whole ranks on both sides of an interpolated rank err with less and with more than 2.5 %."""
    p = Fraction(percent, 100)
    shares = interpolated_ranks(percent, count)
    if p**count > Fraction(25, 1000):
        assert shares is None
        return
    low, high = (share * (count + 1) for share in shares)

    assert exact_beta_cdf(math.floor(low), count, p) >= 0.975 >= exact_beta_cdf(math.floor(low) + 1, count, p)
    assert exact_beta_cdf(math.floor(high), count, p) >= 0.025 >= exact_beta_cdf(math.floor(high) + 1, count, p)


@pytest.mark.parametrize(
    ("percent", "least"), [(50, 6), (75, 13), (90, 36), (95, 72), (99, 368), (99.9, 3688), (99.99, 36887)]
)
def test_an_interval_needs_a_minimum_count(percent, least):
    """The largest of n values bounds a percentile p with 97.5 % only when p^n is at most 2.5 %: n = ln 0.025 / ln p."""
    by_hand = math.ceil(math.log(0.025) / math.log(percent / 100))

    assert by_hand == least == calls_needed(percent)
    assert interpolated_ranks(percent, least - 1) is None
    assert least - 1 < interpolated_ranks(percent, least)[1] * (least + 1) <= least


@pytest.mark.parametrize("percent", [50, 95, 99, 99.9])
@pytest.mark.parametrize("count", [100_000, 3_000_000, 10_000_000])
def test_large_counts_agree_with_the_normal_approximation(percent, count):
    """For large counts the ranks are np +- 1.96 standard deviations, to within a hundredth of one, or two ranks."""
    p = percent / 100
    spread = math.sqrt(count * p * (1 - p))

    low, high = (share * (count + 1) for share in interpolated_ranks(percent, count))

    assert low == pytest.approx(count * p - 1.959964 * spread, abs=max(2, 0.03 * spread))
    assert high == pytest.approx(count * p + 1.959964 * spread, abs=max(2, 0.03 * spread))


@pytest.mark.parametrize(("percent", "count"), [(50, 20), (90, 50), (95, 100), (99, 500), (99, 2000)])
def test_intervals_cover_the_true_percentile(percent, count):
    """In 94 to 96.7 % of 10,000 samples of exponential values the interval contains the percentile, known in closed form."""
    random = np.random.default_rng(round(percent * 10) + count)
    truth = -math.log(1 - percent / 100)
    low, high = (share * (count + 1) for share in interpolated_ranks(percent, count))
    covered = 0
    for _ in range(20):
        rows = np.sort(random.exponential(size=(500, count)), axis=1)
        bottom, top = (value_between(lambda rank: rows.T[rank - 1], end) for end in (low, high))
        covered += int(((bottom <= truth) & (truth <= top)).sum())

    assert 0.94 <= covered / 10_000 <= 0.967


@settings(max_examples=200)
@given(percent=st.sampled_from([25, 50, 75, 90, 95, 99, 99.9]), count=st.integers(1, 100_000))
def test_nearest_rank_is_numpys_inverted_cdf(percent, count):
    """The rank equals that of numpy's inverted CDF, computed on the ranks."""
    values = np.arange(1, count + 1)

    # In exact arithmetic: numpy's own product of floats is off by one where it should be a whole number.
    expected = math.ceil(Fraction(str(percent)) / 100 * count)

    assert nearest_rank(percent, count) == max(1, expected)
    assert abs(nearest_rank(percent, count) - np.quantile(values, percent / 100, method="inverted_cdf")) <= 1


def test_an_empty_sample_has_no_interval():
    """An empty sample bounds no percentile."""
    assert interpolated_ranks(50, 0) is None
