"""The ranks that bound a percentile, against exact fractions and simulation."""

import math
from fractions import Fraction
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measurement.order_statistics import confidence_interval_ranks, nearest_rank


def exact_ranks(percent, count):
    """Return the ranks by summing exact binomial probabilities as fractions."""
    p = Fraction(str(percent)) / 100
    tail = Fraction(25, 1000)
    masses = [math.comb(count, k) * p**k * (1 - p) ** (count - k) for k in range(count + 1)]
    below = [Fraction(0), *accumulate(masses)]  # below[k] = P(B < k)
    low = max((k for k in range(1, count + 1) if below[k] <= tail), default=None)
    high = min((k for k in range(1, count + 1) if 1 - below[k] <= tail), default=None)
    return None if low is None or high is None else (low, high)


@pytest.mark.parametrize("percent", [50, 75, 90, 95, 99])
def test_ranks_are_those_of_the_exact_binomial(percent):
    """For counts up to 150 the ranks are those that exact fractions give."""
    counts = [*range(1, 80), 100, 150]

    assert [confidence_interval_ranks(percent, n) for n in counts] == [exact_ranks(percent, n) for n in counts]


@pytest.mark.parametrize(
    ("percent", "least"), [(50, 6), (75, 13), (90, 36), (95, 72), (99, 368), (99.9, 3688), (99.99, 36887)]
)
def test_an_interval_needs_a_minimum_count(percent, least):
    """The largest of n values bounds a percentile p with 97.5 % only when p^n is at most 2.5 %: n = ln 0.025 / ln p."""
    by_hand = math.ceil(math.log(0.025) / math.log(percent / 100))

    assert by_hand == least
    assert confidence_interval_ranks(percent, least - 1) is None
    assert confidence_interval_ranks(percent, least) is not None
    assert confidence_interval_ranks(percent, least)[1] == least


@pytest.mark.parametrize("percent", [50, 95, 99, 99.9])
@pytest.mark.parametrize("count", [100_000, 3_000_000, 10_000_000])
def test_large_counts_agree_with_the_normal_approximation(percent, count):
    """For large counts the ranks are np +- 1.96 standard deviations, to within a hundredth of one, or two ranks."""
    p = percent / 100
    spread = math.sqrt(count * p * (1 - p))

    low, high = confidence_interval_ranks(percent, count)

    assert low == pytest.approx(count * p - 1.959964 * spread, abs=max(2, 0.03 * spread))
    assert high == pytest.approx(count * p + 1.959964 * spread, abs=max(2, 0.03 * spread))


@pytest.mark.parametrize(("percent", "count"), [(50, 200), (90, 500), (95, 2000), (99, 2000), (99.9, 8000)])
def test_intervals_cover_the_true_percentile(percent, count):
    """In 93 to 98 % of 2,000 simulated samples the interval contains the population's percentile."""
    random = np.random.default_rng(round(percent * 10) + count)
    low, high = confidence_interval_ranks(percent, count)
    # Of uniform values the true percentile is the share itself, whatever the distribution.
    hits = 0
    for _ in range(2000):
        below = random.binomial(count, percent / 100)  # how many of the sample lie below the true percentile
        hits += low <= below < high

    assert 0.93 <= hits / 2000 <= 0.98


def test_intervals_cover_the_percentile_of_a_skewed_distribution():
    """The interval of sorted exponential samples contains the 95th percentile, known in closed form, in 93 to 98 % of them."""
    random = np.random.default_rng(11)
    low, high = confidence_interval_ranks(95, 400)
    truth = -math.log(0.05)
    samples = np.sort(random.exponential(size=(2000, 400)), axis=1)

    covered = (samples[:, low - 1] <= truth) & (truth <= samples[:, high - 1])

    assert 0.93 <= covered.mean() <= 0.98


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
    assert confidence_interval_ranks(50, 0) is None
