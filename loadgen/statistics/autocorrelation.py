"""Dependence of a series: how many independent values carry as much about its mean.

The variance of the mean of n dependent values is the long-run variance divided by n. It is the level of the spectrum
near frequency 0, so it is estimated as the mean of the lowest ordinates of the periodogram, whose number is the
degrees of freedom of a t interval (Lazarus, Lewis, Stock and Watson, HAR Inference: Recommendations for Practice,
2018). A linear trend is removed first: it moves the mean of a run, not the error of that mean. A period much shorter
than the run is outside of the lowest frequencies, as it should be: it averages out.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.statistics.distributions import normal_quantile

MAX_BINS = 2048  # longer series are averaged into bins first
_MAX_FREQUENCIES = 12
_MIN_FREQUENCIES = 2
_MIN_VALUES = 8  # fewer values show no dependence
_ROUNDING = 1e-20
_FREQUENCIES_OF_TEST = 3
_SIGNIFICANCE = 0.02  # of each of the two tests of independence
# Frequencies used per bin and unit of autocorrelation time. For a first-order autoregressive series the mean of the
# spectrum over the lowest J of m frequencies is then at most about 5 % below the spectrum at 0.
_RESOLUTION = 0.08


_MEHLER_TERMS = 200
_CHUNK = 1 << 16  # values per chunk
_MIN_TIME = 0.1  # alternating values: their mean is surer than that of independent ones, but not without limit


@dataclass(frozen=True, slots=True)
class Dependence:
    """Dependence of the values of a series in the order of time.

    Args:
        count: number of values.
        is_independent: whether independence is not rejected.
        effective_count: number of independent values with the same variance of the mean; None if the series is too
            short to tell.
        degrees: degrees of freedom of the estimate of the long-run variance; count - 1 if independent.
    """

    count: int
    is_independent: bool
    effective_count: float | None
    degrees: float

    @property
    def autocorrelation_time(self) -> float | None:
        """Integrated autocorrelation time in calls: 1 for independent values; None if the series is too short."""
        return None if self.effective_count is None else self.count / self.effective_count

    @property
    def block_length(self) -> int | None:
        """Length of blocks whose means are nearly independent: three autocorrelation times; None if unknown."""
        time = self.autocorrelation_time
        return None if time is None else max(1, math.ceil(3 * time))


def measure_dependence(series: NDArray[np.float64]) -> Dependence:
    """Estimate the dependence of a series, shape (n,), in the order of time. O(n).

    A series without variance is independent.
    """
    count = series.size
    variance = float(series.var()) if count else 0.0
    if count < _MIN_VALUES or variance <= _ROUNDING * float(series.mean()) ** 2:
        return Dependence(count, is_independent=True, effective_count=float(count), degrees=max(1, count - 1))
    size = -(-count // MAX_BINS)
    bins = series[: count // size * size].reshape(-1, size).mean(axis=1) if size > 1 else series
    variance_of_bins = float(bins.var())
    if variance_of_bins <= _ROUNDING * variance:  # the period of the series divides the bins
        return Dependence(count, is_independent=True, effective_count=float(count), degrees=count - 1)
    spectrum = _periodogram(bins) * size / variance  # 1 on average for independent values
    if _is_white(spectrum, _lag_1(series), count):
        return Dependence(count, is_independent=True, effective_count=float(count), degrees=count - 1)
    time = _rough_time(spectrum * variance / size / variance_of_bins, bins)
    frequencies = min(_MAX_FREQUENCIES, math.floor(_RESOLUTION * bins.size / time))
    if frequencies < _MIN_FREQUENCIES and time <= 1:  # neighbours alternate: independence is the cautious assumption
        return Dependence(count, is_independent=True, effective_count=float(count), degrees=count - 1)
    if frequencies < _MIN_FREQUENCIES:
        return Dependence(count, is_independent=False, effective_count=None, degrees=0)
    degrees = _degrees(frequencies)
    level = 2 * float(spectrum[:frequencies].sum()) / degrees
    return Dependence(count, is_independent=False, effective_count=count / max(level, _MIN_TIME), degrees=degrees)


def measure_latency_dependence(
    latencies: NDArray[np.float64], *, ascending: NDArray[np.float64] | None = None
) -> Dependence:
    """Return the dependence of the ranks of latencies, shape (n,), in the order of time. O(n log n).

    Ranks, because a few cold starts at the beginning of a run would otherwise pass for dependence of all calls.

    Args:
        latencies: seconds, in the order of time.
        ascending: the same values sorted, if they are at hand.
    """
    ascending = np.sort(latencies) if ascending is None else ascending
    ranks = np.empty(latencies.size)
    for start in range(0, latencies.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        # Latencies within a microsecond are equal: else rounding errors would have ranks.
        below = np.searchsorted(ascending, latencies[part] - 5e-7)
        ranks[part] = below + np.searchsorted(ascending, latencies[part] + 5e-7, side="right")
    return measure_dependence(ranks)


def _periodogram(bins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the periodogram without frequency 0 of a series whose linear trend is removed."""
    time = np.arange(bins.size) - (bins.size - 1) / 2
    centred = bins - bins.mean()
    centred = centred - time * (time @ centred) / (time @ time)
    return np.asarray(np.abs(np.fft.rfft(centred)[1:]) ** 2 / bins.size)


def _degrees(frequencies: int) -> float:
    """Return the degrees of freedom of the sum of the lowest ordinates: two each, less those of the linear trend.

    A line is a sum of sines of which the j-th has the share 6 / (pi j)^2 of its energy.
    """
    return 2 * frequencies - sum(6 / (math.pi * j) ** 2 for j in range(1, frequencies + 1))


def _lag_1(series: NDArray[np.float64]) -> float:
    centred = series - series.mean()
    return float(centred[1:] @ centred[:-1] / (centred @ centred))


def _is_white(spectrum: NDArray[np.float64], lag_1: float, count: int) -> bool:
    """Tell whether neither the autocorrelation of neighbours nor the lowest frequencies reject independence."""
    limit = normal_quantile(1 - _SIGNIFICANCE / 2)
    if abs(lag_1 + 1 / count) * math.sqrt(count) > limit:
        return False
    for frequencies in {_FREQUENCIES_OF_TEST, max(_FREQUENCIES_OF_TEST, min(_MAX_FREQUENCIES, spectrum.size // 8))}:
        degrees = _degrees(frequencies)
        ratio = 2 * float(spectrum[:frequencies].sum()) / degrees
        # Wilson and Hilferty: the cube root of chi-square / degrees is nearly normal.
        z = (ratio ** (1 / 3) - (1 - 2 / (9 * degrees))) / math.sqrt(2 / (9 * degrees))
        if abs(z) > limit:
            return False
    return True


def _rough_time(spectrum: NDArray[np.float64], bins: NDArray[np.float64]) -> float:
    """Return the larger of two rough estimates of the autocorrelation time, in bins; at least 1.

    It decides how many of the lowest frequencies show the long-run variance.
    """
    count = bins.size
    lag_1 = _lag_1(bins)
    lag_1 = min(0.999, lag_1 + (1 + 4 * lag_1) / count)  # Kendall's bias, with a trend removed
    first_order = (1 + lag_1) / (1 - lag_1)
    pilot = max(_FREQUENCIES_OF_TEST, min(_MAX_FREQUENCIES, count // 16))
    level = 2 * float(spectrum[:pilot].sum()) / _degrees(pilot)
    return max(1.0, first_order, level)


def exceedance_autocorrelation_time(percent: float, time: float) -> float:
    """Return the integrated autocorrelation time of the exceedances of a percentile.

    For a first-order autoregressive normal series, whatever monotone function of it is observed: neighbours that are
    alike exceed a high percentile together less often than they lie on one side of the median. The correlation of two
    exceedances is a power series of the correlation of the values (Mehler's formula); its terms are Hermite
    polynomials, and each power of the autocorrelation function is again exponential.

    Args:
        percent: the percentile, above 0 and below 100.
        time: integrated autocorrelation time of the values, at least 1.
    """
    if time <= 1:
        return 1.0
    decay = math.log((time + 1) / (time - 1))  # the autocorrelation at lag k is exp(-decay k)
    z = normal_quantile(percent / 100)
    share = percent / 100
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    before, hermite = 0.0, 1.0  # of orders j - 2 and j - 1, divided by the square root of (j - 1)!
    left, total = 1.0, 0.0
    for order in range(1, _MEHLER_TERMS):
        weight = (density * hermite) ** 2 / order / (share * (1 - share))
        total += weight / math.tanh(order * decay / 2)
        left -= weight
        before, hermite = hermite, (z * hermite - math.sqrt(order - 1) * before) / math.sqrt(order)
    return total + max(0.0, left) / math.tanh(_MEHLER_TERMS * decay / 2)
