"""Joint bootstrap: spreads against formulas, dependence against series of known autocorrelation time."""

import math

import numpy as np
import pytest

from loadgen.statistics.joint_bootstrap import autocorrelation_time, joint_bootstrap
from tests.support.simulated_models import autoregressive


def normal(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def test_means_spread_by_the_standard_error():
    """Replicates of a mean of 400 independent values of deviation 1 spread by 1 / sqrt(400)."""
    values = normal((3, 400))

    drawn = joint_bootstrap(values, replicates=2000).means(values[0])

    assert drawn.std() == pytest.approx(values[0].std() / 20, rel=0.1)
    assert drawn.mean() == pytest.approx(values[0].mean(), abs=0.005)


def test_quantiles_are_values_of_the_series():
    """Each replicate of a quantile is one of the values, and a draw of every unit once is the nearest rank."""
    values = normal((2, 101))
    draws = joint_bootstrap(values)

    drawn = draws.quantiles(values[0], 0.5)

    assert set(drawn) <= set(values[0])
    # The standard error of a median of n normal values is sqrt(pi / 2n).
    assert drawn.std() == pytest.approx(math.sqrt(math.pi / 202), rel=0.5)


def test_a_long_series_is_drawn_in_units():
    """50,000 calls are drawn in 1,000 units of 50, and the spread of mean and median stays that of all calls."""
    values = normal((2, 50_000))

    draws = joint_bootstrap(values, replicates=500)

    assert draws.weights.shape == (500, 1000)
    assert draws.means(values[0]).std() == pytest.approx(1 / math.sqrt(50_000), rel=0.15)
    assert draws.quantiles(values[0], 0.5).std() == pytest.approx(math.sqrt(math.pi / 100_000), rel=0.25)


def test_missing_calls_are_left_out():
    """The mean of a series with NaN is that of its other values, in every replicate."""
    values = np.where(np.arange(60) % 3 == 0, np.nan, 7.0)

    draws = joint_bootstrap(np.stack([values, normal(60)]))

    assert draws.means(values) == pytest.approx(7.0)
    assert set(draws.quantiles(values, 0.9)) == {7.0}


def test_the_same_calls_are_drawn_from_every_series():
    """What two series have in common cancels: the difference of their means does not spread by it."""
    common = 5 * normal(300)
    first, second = common + 0.01 * normal(300, 2), common + 0.01 * normal(300, 3)

    draws = joint_bootstrap(np.stack([first, second]))

    assert draws.means(first).std() > 0.2
    assert (draws.means(first) - draws.means(second)).std() < 0.002


@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_the_autocorrelation_time_is_that_of_the_series(rho):
    """For a first-order autoregression it is (1 + rho) / (1 - rho); six series of 2,000 calls show it within 25 %."""
    found = [autocorrelation_time(autoregressive(np.random.default_rng(s), (6, 2000), rho)) for s in range(5)]

    assert np.median(found) == pytest.approx((1 + rho) / (1 - rho), rel=0.25)


def test_independent_calls_are_rarely_taken_for_dependent():
    """Two one-sided tests of 5 % reject independence of independent calls at most about 10 % of the time."""
    found = [autocorrelation_time(normal((6, 200), seed)) for seed in range(200)]

    assert sum(time > 1 for time in found) <= 36  # 20 expected, 3.5 standard errors


def test_a_drift_common_to_all_series_is_no_dependence():
    """A drift that falls on call k of all series alike cancels, unless they were measured one after the other."""
    drift = np.cumsum(0.1 * normal(500))
    series = drift + 0.1 * normal((6, 500), 2)

    assert joint_bootstrap(series).autocorrelation_time < 2
    assert joint_bootstrap(series, common=False).effective_count < 50


def test_few_calls_spread_like_students_t():
    """With 5 calls the deviations are scaled by t with 4 degrees of freedom, whose 97.5 % quantile is 2.776."""
    values = normal((2, 5), 7)
    draws = joint_bootstrap(values, replicates=20_000)
    unit = np.random.default_rng(3).standard_normal(20_000)  # a spread of exactly 1

    reach = np.quantile(draws.spread(0.0, unit), 0.975)

    assert reach == pytest.approx(2.776 * math.sqrt(5 / 4), rel=0.05)


@pytest.mark.parametrize("calls", [1, 2, 7])
def test_the_shortest_series_have_draws(calls):
    """One call, or a few, give replicates without an error."""
    values = np.abs(normal((2, calls)))

    draws = joint_bootstrap(values)

    assert np.isfinite(draws.means(values[0])).all()
    assert np.isfinite(draws.scales).all()
    assert draws.autocorrelation_time == 1.0
