"""Order statistics: which ranks bound a percentile with 95 % confidence, whatever the distribution. Pure numbers.

The number of values below a population's percentile p is binomial(n, p); two of its quantiles are two ranks of the
sorted sample between which the percentile lies with at least 95 % probability (David and Nagaraja, Order Statistics,
3rd edition, section 7.1). What a percentile is taken of is summary.py's.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2


def nearest_rank(percent: float, count: int) -> int:
    """Return the nearest rank: the least k of 1..count such that k values are at least `percent` of all.

    Example:
        >>> nearest_rank(99.9, 1000), nearest_rank(50, 3), nearest_rank(95, 1)
        (999, 2, 1)
    """
    # In whole thousandths of a percent: 99.9 / 100 * 1000 is 999.0000000000001 in floating point, and would be 1000.
    return max(1, -(-round(percent * 1000) * count // 100_000))


@lru_cache(maxsize=1024)
def confidence_interval_ranks(percent: float, count: int) -> tuple[int, int] | None:
    """Return the ranks (low, high) of the 95 % interval of a percentile, or None where the sample cannot bound it.

    Each side misses with at most 2.5 %. Exact for every count: no normal approximation.

    Example:
        >>> confidence_interval_ranks(95, 71), confidence_interval_ranks(95, 72)
        (None, (64, 72))
    """
    if count < 1:
        return None
    first, cumulative = _binomial_cdf(count, percent / 100)
    # P(B < low) <= tail, the largest such low; P(B >= high) <= tail, the least such high.
    low = first + int(np.searchsorted(cumulative, _TAIL, side="right"))
    high = first + int(np.searchsorted(cumulative, 1 - _TAIL)) + 1
    return (low, high) if low >= 1 and high <= count else None


def _binomial_cdf(count: int, share: float) -> tuple[int, NDArray[np.float64]]:
    """Return (k0, P(B <= k) for k = k0, k0 + 1, ...) of the binomial, where its mass lies."""
    spread = 12 * math.sqrt(count * share * (1 - share)) + 12  # the mass beyond is below 1e-20
    k0 = max(0, math.floor(count * share - spread))
    k1 = min(count, math.ceil(count * share + spread))
    k = np.arange(k0, k1, dtype=np.float64)
    # pmf(k + 1) / pmf(k); summed as logarithms, then scaled so that all of it is 1: no factorials, no overflow.
    logs = np.concatenate(([0.0], np.cumsum(np.log((count - k) / (k + 1)) + math.log(share / (1 - share)))))
    masses = np.exp(logs - logs.max())
    return k0, np.cumsum(masses) / masses.sum()


def calls_needed(percent: float) -> int:
    """Return how many calls a percentile's distribution-free 95 % interval needs before its upper end exists.

    Source: the upper bound is the largest sample, which lies below the p-quantile with probability p^n; that must not
    exceed 2.5 %. 72 calls for p95, 368 for p99, 3,688 for p99.9.

    Example:
        >>> [calls_needed(p) for p in (95, 99, 99.9)]
        [72, 368, 3688]
    """
    return math.ceil(math.log(0.025) / math.log(percent / 100))
