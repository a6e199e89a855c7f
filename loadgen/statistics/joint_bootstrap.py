"""Joint block bootstrap of several series that were measured under the same conditions.

Call k of each series had the same payload and was sent at about the same time, so that what the payload and the time
contribute is common to all series and cancels in their differences. The same calls are drawn from every series, which
keeps that.

Calls that follow each other are not independent. The autocorrelation time of what is left after the common part is
removed sets the length of the blocks that are drawn, and the number of independent calls. With few independent calls
the spread itself is uncertain: deviations are scaled like Student's t.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REPLICATES = 1000
_MAX_UNITS = 1000  # units to draw from: in a longer series a unit is several consecutive calls
_MAX_GRID = 4096  # grid points of a distribution that has more values than this
_ONE_SIDED_95 = 1.645


@dataclass(frozen=True, slots=True, eq=False)
class JointBootstrap:
    """Draws of calls for series of one length.

    Args:
        weights: how often each unit was drawn, shape (replicates, units).
        scales: factor on the deviation of each replicate from the estimate, shape (replicates,).
        freedom: degrees of freedom of the spread of the replicates.
        inflation: factor by which the spread of the replicates is too small.
        unit: consecutive calls in a unit.
        calls: calls of a series.
        autocorrelation_time: calls after which a series is independent of its past; 1 for independent calls.
    """

    weights: NDArray[np.float64]
    scales: NDArray[np.float64]
    freedom: float
    inflation: float
    unit: int
    calls: int
    autocorrelation_time: float

    @property
    def effective_count(self) -> float:
        """Number of independent calls that carry as much information as a series."""
        return self.calls / self.autocorrelation_time

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of each replicate, shape (replicates,), without the NaN of `values`, shape (calls,)."""
        known = ~np.isnan(values)
        totals = self.weights @ self._per_unit(np.where(known, values, 0.0))
        counts = self.weights @ self._per_unit(known.astype(np.float64))
        return np.asarray(totals / np.maximum(counts, 1e-12))

    def quantiles(self, values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
        """Return the quantile of each replicate, shape (replicates,), without the NaN of `values`, shape (calls,)."""
        known = np.flatnonzero(~np.isnan(values))
        grid = np.unique(values[known])
        if grid.size > _MAX_GRID:
            grid = np.unique(np.quantile(grid, np.linspace(0, 1, _MAX_GRID), method="inverted_cdf"))
        cells = np.searchsorted(grid, values[known])  # the smallest grid point that is not below the value
        counts = np.zeros((self.weights.shape[1], grid.size))
        np.add.at(counts, (known // self.unit, cells), 1.0)
        cumulative = np.cumsum(self.weights @ counts, axis=1)
        reached = cumulative >= share * cumulative[:, -1:] - 1e-9
        return np.asarray(grid[np.argmax(reached, axis=1)])

    def spread(self, estimate: NDArray[np.float64] | float, replicates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return replicates whose deviations from the estimate are scaled; both are logarithms or differences."""
        scales = self.scales.reshape(-1, *(1,) * (replicates.ndim - 1))
        return np.asarray(estimate + (replicates - estimate) * scales)

    def _per_unit(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        starts = np.arange(0, self.calls, self.unit)
        return np.asarray(np.add.reduceat(values, starts))


def joint_bootstrap(
    series: NDArray[np.float64], *, replicates: int = REPLICATES, seed: int = 0, common: bool = True
) -> JointBootstrap:
    """Draw calls for series that belong together.

    Args:
        series: logarithms of what was measured, shape (series, calls), calls in order of time; NaN where a series has
            no value.
        replicates: number of draws.
        seed: the same seed gives the same draws.
        common: whether call k of all series shares payload and time; False if the series were measured one after the
            other.
    """
    calls = series.shape[1]
    time = autocorrelation_time(_residuals(series) if common else series)
    unit = -(-calls // _MAX_UNITS)
    units = -(-calls // unit)
    length = 1 if time <= unit else min(math.ceil(2 * time / unit), max(1, units // 10))
    rng = np.random.default_rng(seed)
    weights = _block_weights(units, length, replicates, rng)
    # A block shorter than the memory of the series shows only a part of its variance.
    shown = _shown_variance(time, length * unit)
    freedom = max(1.0, calls / time - 1)
    inflation = math.sqrt((freedom + 1) / freedom * time / shown)
    scales = np.sqrt(freedom / rng.chisquare(freedom, replicates)) * inflation
    return JointBootstrap(weights, scales, freedom, inflation, unit, calls, time)


def autocorrelation_time(series: NDArray[np.float64]) -> float:
    """Return the integrated autocorrelation time in calls, pooled over series; 1 if independence is not rejected.

    The estimate is the larger one of the summed autocorrelations (Sokal's window of five times the sum) and that of a
    first-order autoregression, whose first autocorrelation is corrected for its bias in short series (Marriott and
    Pope, Biometrika 41, 1954). Independence is tested one-sided at 5 % by the first autocorrelation and by the test of
    Ljung and Box (Biometrika 65, 1978) over the first 10 log10(n) ones.

    Args:
        series: shape (series, calls), calls in order of time; NaN where a series has no value.
    """
    calls = series.shape[1]
    known = ~np.isnan(series)
    rows = known.sum(axis=1) >= _MIN_CALLS
    if not rows.any():
        return 1.0
    centred = np.where(known, series, 0.0)[rows]
    known = known[rows]
    centred = np.where(known, centred - (centred.sum(axis=1) / known.sum(axis=1))[:, None], 0.0)
    power = (centred**2).sum(axis=1)
    centred, known = centred[power > 0], known[power > 0]
    if not len(centred):
        return 1.0
    spectrum = np.fft.rfft(centred, 2 * calls, axis=1)
    products = np.fft.irfft(spectrum * np.conj(spectrum), axis=1)[:, :calls] / power[power > 0][:, None]
    effective = float(known.sum(axis=1).mean())
    correlations = products.mean(axis=0) + 1 / effective
    first = float(products[:, 1].mean()) if calls > 1 else 0.0
    first += (1 + 3 * max(first, 0.0)) / effective
    lags = max(1, min(int(10 * math.log10(effective)), int(effective) // 4))
    total = len(centred) * effective * (effective + 2)
    chi = float((total * correlations[1 : lags + 1] ** 2 / (effective - np.arange(1, lags + 1))).sum())
    # Wilson and Hilferty: the cube root of a chi-square value over its degrees of freedom is nearly normal.
    deviation = ((chi / lags) ** (1 / 3) - (1 - 2 / (9 * lags))) / math.sqrt(2 / (9 * lags))
    if first * math.sqrt(len(centred) * effective) < _ONE_SIDED_95 and deviation < _ONE_SIDED_95:
        return 1.0
    summed = 1.0
    for lag in range(1, calls // 2):
        summed += 2 * float(correlations[lag])
        if lag >= 5 * summed:
            break
    first = min(max(first, 0.0), 0.995)
    return max(1.0, summed, (1 + first) / (1 - first))


_MIN_CALLS = 8  # calls below which a series says nothing about its autocorrelation


def _residuals(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the series without what call k of all of them has in common; a call that few series have is left out."""
    levels = np.nan_to_num(np.array([np.nanmean(row) if np.isfinite(row).any() else 0.0 for row in series]))
    centred = series - levels[:, None]
    known = np.isfinite(centred)
    counts = known.sum(axis=0)
    shared = np.where(counts > 1, np.where(known, centred, 0.0).sum(axis=0) / np.maximum(counts, 1), 0.0)
    residuals = centred - shared
    if len(series) > 1:
        residuals[:, counts < 2] = np.nan
        # Removing the mean of n series leaves 1 - 1/n of the variance of each, and does not change its correlations.
    return np.asarray(residuals)


def _block_weights(units: int, length: int, replicates: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return how often each unit was drawn in circular blocks of consecutive units, shape (replicates, units)."""
    blocks = -(-units // length)
    starts = rng.multinomial(blocks, np.full(units, 1 / units), replicates).astype(np.float64)
    if length == 1:
        return starts
    around = np.concatenate([starts[:, units - length + 1 :], starts], axis=1)
    sums = np.concatenate([np.zeros((replicates, 1)), np.cumsum(around, axis=1)], axis=1)
    return np.asarray(sums[:, length:] - sums[:, :-length])


def _shown_variance(time: float, length: int) -> float:
    """Return the autocorrelation time that blocks of some calls show of a first-order autoregression."""
    rho = (time - 1) / (time + 1)
    lags = np.arange(1, length)
    return max(1.0, 1 + 2 * float(((1 - lags / length) * rho**lags).sum()))
