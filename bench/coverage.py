"""Coverage: how often a 95 % interval contains the true value, by simulation of calls whose truth is known.

    python -m bench.coverage [--repetitions N] [--seed S] [--count N ...]

Prints, for each kind of series and number of calls, the percentage of the intervals that contain the true value. A
dash: the data cannot carry an interval in more than half of the series. Fewer than all series with an interval: their
percentage stands in brackets. Exit status 1 if a percentage is far below 95.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bench.tables import table
from loadgen.statistics.autocorrelation import measure_latency_dependence
from loadgen.statistics.interval import Interval, mean_interval, quantile_interval, share_interval

COUNTS = (100, 1_000, 10_000)
SPREADS = (0.3, 1.0)  # sigma of the lognormal distribution
PERCENTS = (50.0, 90.0, 95.0, 99.0)
_SLOW_SHARES = (5.0, 1.0)  # percent of the calls that are slower than a limit
FIGURES = ("mean", *(f"p{percent:g}" for percent in PERCENTS), *(f"share {share:g} %" for share in _SLOW_SHARES))
_DRIFT = 1.2  # the last call is slower than the first by this factor
_PAUSE_EVERY = 50  # calls
_TRUTH_CALLS = 2_000_000
_LOWEST = 88.0  # percent: a defect of the method, not noise of the simulation

Values = NDArray[np.float64]


def independent(random: np.random.Generator, sigma: float, count: int) -> Values:
    """Return independent lognormal latencies with a median of 1."""
    return np.asarray(np.exp(sigma * random.standard_normal(count)))


def _autoregressive(random: np.random.Generator, sigma: float, count: int, rho: float) -> Values:
    """Return lognormal latencies whose logarithm is a first-order autoregressive series."""
    lags = math.ceil(math.log(1e-6) / math.log(rho))
    weights = math.sqrt(1 - rho * rho) * rho ** np.arange(lags)
    size = 1 << (count + 2 * lags).bit_length()
    noise = np.fft.rfft(random.standard_normal(count + lags), size)
    series = np.fft.irfft(noise * np.fft.rfft(weights, size), size)[lags : lags + count]
    return np.asarray(np.exp(sigma * series))


def weakly_dependent(random: np.random.Generator, sigma: float, count: int) -> Values:
    """Return latencies whose neighbours have a correlation of 0.5."""
    return _autoregressive(random, sigma, count, 0.5)


def strongly_dependent(random: np.random.Generator, sigma: float, count: int) -> Values:
    """Return latencies whose neighbours have a correlation of 0.9."""
    return _autoregressive(random, sigma, count, 0.9)


def drifting(random: np.random.Generator, sigma: float, count: int) -> Values:
    """Return latencies that rise by 20 % over the run, in a straight line."""
    return independent(random, sigma, count) * np.linspace(1, _DRIFT, count)


def paused(random: np.random.Generator, sigma: float, count: int) -> Values:
    """Return latencies of a server that stops about every 50th call: the calls that wait get faster one by one.

    The distance between pauses varies by a fifth; they take two to four times the median latency.
    """
    values = independent(random, sigma, count)
    at = random.uniform(-_PAUSE_EVERY, 0)
    while at < count:
        length = random.uniform(2, 4)
        for waiting in range(math.ceil(length)):
            if 0 <= at + waiting < count:
                values[int(at) + waiting] += length - waiting
        at += _PAUSE_EVERY * random.uniform(0.8, 1.2)
    return values


KINDS = {
    "independent": independent,
    "correlation 0.5": weakly_dependent,
    "correlation 0.9": strongly_dependent,
    "drift of 20 %": drifting,
    "periodic pauses": paused,
}


@dataclass(frozen=True, slots=True)
class Coverage:
    """Intervals of one figure in many series.

    Args:
        shown: number of series with an interval.
        covered: number of intervals that contain the true value.
        series: number of series.
    """

    shown: int
    covered: int
    series: int

    @property
    def percent(self) -> float | None:
        """Percentage of the intervals that contain the truth; None if most series have no interval."""
        return 100 * self.covered / self.shown if self.shown * 2 > self.series else None

    def __str__(self) -> str:
        if self.percent is None:
            return "-"
        shown = "" if self.shown == self.series else f" ({100 * self.shown / self.series:.0f})"
        return f"{self.percent:.1f}{shown}"


def true_values(kind: str, sigma: float) -> Mapping[str, float]:
    """Return the true value of each figure: in closed form where there is one, else from two million calls."""
    normal = NormalDist()
    if kind in ("drift of 20 %", "periodic pauses"):
        calls = KINDS[kind](np.random.default_rng(0), sigma, _TRUTH_CALLS)
        quantiles = {percent: float(np.quantile(calls, percent / 100)) for percent in PERCENTS}
        mean = float(calls.mean())
    else:
        quantiles = {percent: math.exp(sigma * normal.inv_cdf(percent / 100)) for percent in PERCENTS}
        mean = math.exp(sigma * sigma / 2)
    return {
        "mean": mean,
        **{f"p{percent:g}": value for percent, value in quantiles.items()},
        **{f"share {share:g} %": share / 100 for share in _SLOW_SHARES},
    }


def intervals(values: Values, truth: Mapping[str, float]) -> Mapping[str, Interval]:
    """Return the interval of each figure of one series."""
    ascending, dependence = np.sort(values), measure_latency_dependence(values)
    return {
        "mean": mean_interval(values),
        **{
            f"p{percent:g}": quantile_interval(values, percent, ascending=ascending, dependence=dependence)
            for percent in PERCENTS
        },
        **{
            f"share {share:g} %": share_interval(values > truth[f"p{100 - share:g}"], dependence=dependence)
            for share in _SLOW_SHARES
        },
    }


def measure(kind: str, sigma: float, count: int, *, series: int, seed: int) -> Mapping[str, Coverage]:
    """Return the coverage of each figure over many series of one kind."""
    truth = true_values(kind, sigma)
    shown, covered = dict.fromkeys(FIGURES, 0), dict.fromkeys(FIGURES, 0)
    for number in range(series):
        values = KINDS[kind](np.random.default_rng([seed, number, count]), sigma, count)
        for figure, interval in intervals(values, truth).items():
            if interval.low is not None and interval.high is not None:
                shown[figure] += 1
                covered[figure] += interval.low <= truth[figure] <= interval.high
    return {figure: Coverage(shown[figure], covered[figure], series) for figure in FIGURES}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.coverage", description="How often a 95 % interval contains the true value."
    )
    parser.add_argument("--repetitions", type=int, default=1000, help="series of each kind (default: 1000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulation (default: 1)")
    parser.add_argument("--count", type=int, nargs="+", default=COUNTS, help="calls of a series")
    options = parser.parse_args(arguments)
    rows, lowest = [], 100.0
    for kind in KINDS:
        for sigma in SPREADS:
            for count in options.count:
                found = measure(kind, sigma, count, series=options.repetitions, seed=options.seed)
                rows.append([f"{kind}, sigma {sigma:g}", f"{count:,}", *(str(found[figure]) for figure in FIGURES)])
                lowest = min([lowest, *(c.percent for c in found.values() if c.percent is not None)])
    print(table(["series", "calls", *FIGURES], rows))
    print(f"\nLowest coverage: {lowest:.1f} %, of intervals that are to contain the truth in 95 %.")
    return 0 if lowest >= _LOWEST else 1


if __name__ == "__main__":
    sys.exit(main())
