"""Blocks of a run: how many there are, and the values of each."""

import numpy as np
import pytest

from loadgen.comparison.blocks import block_counts, block_values, calls_of, lag_1
from loadgen.comparison.difference import difference_of_runs
from loadgen.comparison.metric import METRIC_BY_NAME
from loadgen.comparison.shift_test import permute_blocks
from loadgen.statistics.interval import Interval
from tests.support.compared_runs import run_of_latencies


def latencies(count, seed=1):
    """Return independent latencies of about 100 ms."""
    return 0.1 * np.exp(0.2 * np.random.default_rng(seed).standard_normal(count))


def correlated(count, rho, seed=1):
    """Return latencies whose logarithms are a first-order autoregressive series, computed call by call."""
    random = np.random.default_rng(seed)
    values = [random.standard_normal()]
    for noise in random.standard_normal(count - 1):
        values.append(rho * values[-1] + np.sqrt(1 - rho * rho) * noise)
    return 0.1 * np.exp(0.2 * np.array(values))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", lambda part: np.log(part.mean())),
        ("p50", lambda part: np.log(np.quantile(part, 0.5, method="inverted_cdf"))),
        ("p95", lambda part: np.log(np.quantile(part, 0.95, method="inverted_cdf"))),
        ("tps", lambda part: np.log(part.size / part.sum())),
        ("failed", lambda _part: 0.0),
    ],
)
def test_a_block_value_is_that_of_its_calls(name, expected):
    """Each block's value equals the metric of the calls that were due in its tenth of the time."""
    values = latencies(1000)
    calls = calls_of(run_of_latencies(values))
    due = np.cumsum(values) - values
    tenth = np.minimum((due / values.sum() * 10).astype(int), 9)

    found = block_values(METRIC_BY_NAME[name], calls, calls.by_time(10), 10)

    assert found == pytest.approx([expected(values[tenth == i]) for i in range(10)])


def test_a_failed_share_is_that_of_the_block():
    """100 calls of equal length of which every fifth of the second half failed: 0 in five blocks, 0.2 in five."""
    failed = (np.arange(100) % 5 == 0) & (np.arange(100) >= 50)
    calls = calls_of(run_of_latencies(np.full(100, 0.1), failed=failed))
    # The middle of each call, since an edge of a block is the start of a call.
    found = block_values(METRIC_BY_NAME["failed"], calls, (np.arange(100) // 10).astype(np.int64), 10)

    assert found.tolist() == [0.0] * 5 + [0.2] * 5


@pytest.mark.parametrize(("count", "blocks"), [(199, 0), (200, 10), (499, 24), (5000, 40)])
def test_independent_calls_are_divided_into_10_to_40_blocks_of_20_calls(count, blocks):
    """Fewer than 200 calls are no blocks; the reason says how many are needed."""
    calls = calls_of(run_of_latencies(latencies(count)))
    found, reason = block_counts([calls, calls])

    assert found == blocks
    assert ("needs 200 ok calls" in reason) == (not blocks)


def test_dependent_calls_have_longer_blocks():
    """With a correlation of 0.9, 20 calls count as one: 2,000 calls are at most 40 blocks of 50, not of 20."""
    calls = calls_of(run_of_latencies(correlated(1500, 0.9)))
    count, _ = block_counts([calls, calls])

    assert 10 <= count < 40
    values = block_values(METRIC_BY_NAME["mean"], calls, calls.by_time(count), count)
    assert lag_1(values) < 0.5


def test_calls_that_depend_on_each_other_too_long_have_no_blocks():
    """300 calls with a correlation of 0.99 are about 2 independent ones; the reason says so."""
    calls = calls_of(run_of_latencies(correlated(300, 0.99)))
    count, reason = block_counts([calls, calls])

    assert count == 0
    assert "depend on each other" in reason


def test_the_correlation_of_neighbours():
    """A straight line has none once its trend is removed; alternating values have one near -1, a slow wave near 1."""
    assert lag_1(np.linspace(1, 2, 40)) == 0
    assert lag_1(np.tile([0.0, 1.0], 20)) < -0.9
    assert lag_1(np.sin(np.arange(80) / 5)) > 0.9


@pytest.mark.parametrize("period", [2000, 1400])
def test_blocks_that_still_depend_on_each_other_widen_the_interval(period):
    """10 blocks on a slow wave are fewer than 10 independent ones: the interval is wider by sqrt((1 + r) / (1 - r))."""
    p50 = METRIC_BY_NAME["p50"]
    sides = []
    for seed in (1, 2):
        wave = 1 + 0.3 * np.sin(2 * np.pi * np.arange(2000) / period)
        sides.append(calls_of(run_of_latencies(wave * latencies(2000, seed))))
    value = Interval(0.1, None, None, 2000, None)
    found = difference_of_runs(p50, (value, value), tuple(sides), (None, None), blocks=10, between_runs=0.0)

    blocks = [block_values(p50, side, side.by_time(10), 10) for side in sides]
    correlation = min(0.95, max(lag_1(one) for one in blocks))
    low, high = permute_blocks(*blocks).interval(0.95)
    width = np.log1p(found.high) - np.log1p(found.low)
    assert correlation > 0.2
    assert width == pytest.approx((high - low) * np.sqrt((1 + correlation) / (1 - correlation)))
