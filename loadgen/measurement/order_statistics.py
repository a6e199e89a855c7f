"""Order statistics: the nearest rank of a percentile, and the ranks that bound it with 95 % confidence.

Distribution-free: the number of sample values below a population's percentile p is binomial(n, p), so two quantiles of
that binomial are two ranks of the sorted sample between which the percentile lies with at least 95 % probability
(David and Nagaraja, Order Statistics, 3rd edition, section 7.1).
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2


def nearest_rank(percent: float, count: int) -> int:
    """Return the nearest rank: the smallest k in 1..count such that k values are at least `percent` of all values.

    Example:
        >>> nearest_rank(99.9, 1000), nearest_rank(50, 3), nearest_rank(95, 1)
        (999, 2, 1)
    """
    # Integer arithmetic in thousandths of a percent: 99.9 / 100 * 1000 is 999.0000000000001 in floating point.
    return max(1, -(-round(percent * 1000) * count // 100_000))


@lru_cache(maxsize=1024)
def confidence_interval_ranks(percent: float, count: int) -> tuple[int, int] | None:
    """Return the ranks (low, high) of a percentile's 95 % interval, or None when the sample is too small for it.

    Each side is exceeded with a probability of at most 2.5 %. Exact for every count, without a normal approximation.

    Example:
        >>> confidence_interval_ranks(95, 71), confidence_interval_ranks(95, 72)
        (None, (64, 72))
    """
    if count < 1:
        return None
    first, cumulative = _binomial_cdf(count, percent / 100)
    # The largest low with P(B < low) <= tail, and the smallest high with P(B >= high) <= tail.
    low = first + int(np.searchsorted(cumulative, _TAIL, side="right"))
    high = first + int(np.searchsorted(cumulative, 1 - _TAIL)) + 1
    return (low, high) if low >= 1 and high <= count else None


def _binomial_cdf(count: int, share: float) -> tuple[int, NDArray[np.float64]]:
    """Return (k0, P(B <= k) for k = k0, k0 + 1, ...) of the binomial distribution, without its negligible tails."""
    spread = 12 * math.sqrt(count * share * (1 - share)) + 12  # the probability beyond it is below 1e-20
    k0 = max(0, math.floor(count * share - spread))
    k1 = min(count, math.ceil(count * share + spread))
    k = np.arange(k0, k1, dtype=np.float64)
    # Ratios pmf(k + 1) / pmf(k), summed as logarithms and normalized: no factorials and no overflow.
    logs = np.concatenate(([0.0], np.cumsum(np.log((count - k) / (k + 1)) + math.log(share / (1 - share)))))
    masses = np.exp(logs - logs.max())
    return k0, np.cumsum(masses) / masses.sum()


def calls_needed(percent: float) -> int:
    """Return the smallest number of calls for which a percentile has a 95 % interval.

    The upper bound is at most the largest sample, which lies below the p-quantile with probability p^n; that must not
    exceed 2.5 %.

    Example:
        >>> [calls_needed(p) for p in (95, 99, 99.9)]
        [72, 368, 3688]
    """
    return math.ceil(math.log(0.025) / math.log(percent / 100))
