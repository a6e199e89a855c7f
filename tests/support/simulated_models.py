"""Simulated models with a known truth: what the calls of six memory sizes would have taken.

Ten kinds that make a choice easy, hard or impossible: sizes that differ clearly, tie, or differ by a few percent; heavy
tails; two classes of calls, by payload or by the server; latencies that depend on the ones before; a drift common to
all sizes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.size_choice import SizeSeries

SIZES = (1024, 2048, 3072, 4096, 5120, 6144)
_GIB = np.array(SIZES) / 1024
_PUBLISHED = np.array([0.201, 0.098, 0.088, 0.088, 0.088, 0.088])
_CLOSE = np.array([0.2, 0.104, 0.0735, 0.0585, 0.05, 0.0445])
_HEAVY = np.array([0.201, 0.098, 0.080, 0.070, 0.066, 0.064])
_CLASSES = np.array([2.0, 1.0, 0.95, 0.93, 0.9, 0.9])


@dataclass(frozen=True)
class SimulatedBenchmark:
    """The calls of all sizes, and the figures that an endless benchmark would find.

    Args:
        latency: seconds, shape (sizes, calls).
        mean: true latency of each size up to a factor that all sizes share, shape (sizes,); the ratio of two sizes is
            the same for the mean and every percentile.
    """

    latency: NDArray[np.float64]
    mean: NDArray[np.float64]

    def series(self, counts: Mapping[int, int] | None = None) -> list[SizeSeries]:
        """Return the calls as series; `counts` limits sizes to their first calls, and leaves out the others."""
        limits = dict.fromkeys(SIZES, self.latency.shape[1]) if counts is None else counts
        return [
            SizeSeries(size, gib * latency[: limits[size]], latency[: limits[size]])
            for size, gib, latency in zip(SIZES, _GIB, self.latency, strict=True)
            if size in limits
        ]

    def is_right(self, memory_mb: int, cost_weight: float, margin: float = 0.05) -> bool:
        """Tell whether the true score of a size is within the margin of the lowest one."""
        scores = cost_weight * np.log(_GIB * self.mean) + (1 - cost_weight) * np.log(self.mean)
        return bool(scores[SIZES.index(memory_mb)] <= scores.min() + math.log1p(margin))


def simulate(kind: str, calls: int, seed: int) -> SimulatedBenchmark:
    """Return a benchmark of one of KINDS."""
    rng = np.random.default_rng([seed, calls, list(KINDS).index(kind)])
    return KINDS[kind](rng, calls)


def _lognormal(mean: NDArray[np.float64], sigma: float) -> Callable[[np.random.Generator, int], SimulatedBenchmark]:
    def make(rng: np.random.Generator, calls: int) -> SimulatedBenchmark:
        noise = rng.standard_normal((len(SIZES), calls))
        return SimulatedBenchmark(mean[:, None] * np.exp(sigma * noise), mean)

    return make


def _two_classes(*, by_payload: bool) -> Callable[[np.random.Generator, int], SimulatedBenchmark]:
    def make(rng: np.random.Generator, calls: int) -> SimulatedBenchmark:
        draws = rng.random(calls) if by_payload else rng.random((len(SIZES), calls))
        latency = np.where(draws < 0.5, 0.04, 0.4) * _CLASSES[:, None]
        return SimulatedBenchmark(latency * np.exp(0.03 * rng.standard_normal((len(SIZES), calls))), _CLASSES)

    return make


def autoregressive(rng: np.random.Generator, shape: tuple[int, ...], rho: float) -> NDArray[np.float64]:
    """Return stationary first-order autoregressive series of variance 1 along the last axis."""
    shocks = rng.standard_normal(shape) * math.sqrt(1 - rho * rho)
    series = np.empty(shape)
    series[..., 0] = shocks[..., 0] / math.sqrt(1 - rho * rho)
    for k in range(1, shape[-1]):
        series[..., k] = rho * series[..., k - 1] + shocks[..., k]
    return series


def _dependent(rho: float) -> Callable[[np.random.Generator, int], SimulatedBenchmark]:
    def make(rng: np.random.Generator, calls: int) -> SimulatedBenchmark:
        return SimulatedBenchmark(_CLOSE[:, None] * np.exp(0.3 * autoregressive(rng, (6, calls), rho)), _CLOSE)

    return make


def _common_drift(rng: np.random.Generator, calls: int) -> SimulatedBenchmark:
    drift = 0.3 * autoregressive(rng, (calls,), 0.98)
    noise = 0.1 * rng.standard_normal((len(SIZES), calls))
    return SimulatedBenchmark(_CLOSE[:, None] * np.exp(drift + noise), _CLOSE)


KINDS: Mapping[str, Callable[[np.random.Generator, int], SimulatedBenchmark]] = {
    "published example": _lognormal(_PUBLISHED, 0.03),
    "equal costs": _lognormal(0.2 / _GIB, 0.1),
    "1 % cheaper": _lognormal(np.array([0.2, 0.09898, 0.09, 0.085, 0.08, 0.08]), 0.3),
    "heavy tail": _lognormal(_HEAVY, 1.0),
    "few percent apart": _lognormal(_CLOSE, 0.5),
    "two classes by the server": _two_classes(by_payload=False),
    "two classes by payload": _two_classes(by_payload=True),
    "autocorrelated, 0.5": _dependent(0.5),
    "autocorrelated, 0.9": _dependent(0.9),
    "common drift": _common_drift,
}
