"""Dependence of a series, against closed forms of autoregressive series."""

import math

import numpy as np
import pytest

from loadgen.statistics.autocorrelation import (
    exceedance_autocorrelation_time,
    measure_dependence,
    measure_latency_dependence,
)


def autoregressive(random, count, rho):
    """Return a first-order autoregressive normal series, by its recursion."""
    noise = random.standard_normal(count) * math.sqrt(1 - rho * rho)
    values = np.empty(count)
    values[0] = random.standard_normal()
    for i in range(1, count):
        values[i] = rho * values[i - 1] + noise[i]
    return values


@pytest.mark.parametrize(("rho", "count"), [(0.5, 1000), (0.9, 10_000)])
def test_the_effective_count_is_that_of_the_series(rho, count):
    """The mean of the estimated autocorrelation time is (1 + rho) / (1 - rho), which is known for the series."""
    found = [
        measure_dependence(autoregressive(np.random.default_rng([seed, count]), count, rho)).autocorrelation_time
        for seed in range(60)
    ]

    assert np.mean(found) == pytest.approx((1 + rho) / (1 - rho), rel=0.15)


@pytest.mark.parametrize("count", [100, 1000, 10_000])
def test_independent_values_are_called_independent(count):
    """Independence of independent values is rejected in at most 8 % of the series."""
    rejected = sum(
        not measure_latency_dependence(np.random.default_rng([seed, count]).lognormal(size=count)).is_independent
        for seed in range(300)
    )

    assert rejected <= 24


def test_a_short_dependent_series_does_not_tell():
    """100 values with an autocorrelation time of 19 are 5 independent ones: too few to estimate anything."""
    found = [
        measure_dependence(autoregressive(np.random.default_rng(seed), 100, 0.9)).effective_count for seed in range(50)
    ]

    assert found.count(None) >= 48


@pytest.mark.parametrize("series", [[], [1.0], [0.1] * 7, [0.1] * 5000, [0.1, 0.2] * 2048])
def test_a_series_without_variance_is_independent(series):
    """Series of no, one or equal values, or with a period that the bins average out, have their full count."""
    found = measure_dependence(np.array(series))

    assert found.effective_count is not None
    assert found.effective_count >= len(series)


@pytest.mark.parametrize("rho", [0.5, 0.9])
@pytest.mark.parametrize("percent", [50, 95, 99])
def test_exceedances_depend_less_on_each_other(rho, percent):
    """The variance of the number of exceedances in simulated series is that which the formula gives, within 20 %."""
    random = np.random.default_rng(percent)
    runs = np.array([autoregressive(random, 1000, rho) for _ in range(150)])
    lags = 60
    hits = (runs > np.quantile(runs, percent / 100)).astype(float)
    centred = hits - hits.mean()
    correlations = [(centred[:, lag:] * centred[:, : 1000 - lag]).mean() for lag in range(lags)]
    time = 1 + 2 * sum(correlations[1:]) / correlations[0]

    assert exceedance_autocorrelation_time(percent, (1 + rho) / (1 - rho)) == pytest.approx(time, rel=0.2)


def test_exceedances_of_independent_values_are_independent():
    """An autocorrelation time of 1 stays 1; blocks are three autocorrelation times long."""
    assert exceedance_autocorrelation_time(95, 1) == 1
    series = autoregressive(np.random.default_rng(2), 2000, 0.5)
    found = measure_dependence(series)
    assert found.block_length == math.ceil(3 * found.autocorrelation_time)


def test_alternating_values_of_a_short_series_count_in_full():
    """20 values that alternate are not independent, but no less certain than independent ones."""
    series = np.tile([9.0, 10.0], 10) + np.random.default_rng(1).normal(0, 0.1, 20)

    assert measure_dependence(series).effective_count == 20
