"""Order statistics: the nearest rank of a percentile, and the ranks that bound it with 95 % confidence.

Distribution-free: the k-th smallest of n independent values lies below the population's percentile p with the
probability that a beta(k, n + 1 - k) variable is below p (David and Nagaraja, Order Statistics, 3rd edition, section
7.1). Whole ranks cover up to 98 % where 95 % are meant; ranks between them, with the values interpolated, cover 95 %
(Hutson, Calculating nonparametric confidence intervals for quantiles using fractional order statistics, 1999).
"""

import math
from collections.abc import Callable
from functools import lru_cache

from loadgen.statistics.distributions import beta_cdf, bisect_increasing

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2


def nearest_rank(percent: float, count: int) -> int:
    """Return the nearest rank: the smallest k in 1..count such that k values are at least `percent` of all values.

    Example:
        >>> nearest_rank(99.9, 1000), nearest_rank(50, 3), nearest_rank(95, 1)
        (999, 2, 1)
    """
    # Integer arithmetic in thousandths of a percent: 99.9 / 100 * 1000 is 999.0000000000001 in floating point.
    return max(1, -(-round(percent * 1000) * count // 100_000))


@lru_cache(maxsize=4096)
def interpolated_ranks(percent: float, count: float) -> tuple[float, float] | None:
    """Return the ranks, as shares of count + 1, that bound a percentile; None when the sample is too small for it.

    Each side is exceeded with a probability of 2.5 %. `count` is the effective number of calls; it need not be whole.

    Example:
        >>> interpolated_ranks(95, 71), [round(share * 401, 1) for share in interpolated_ranks(95, 400)]
        (None, [371.6, 388.6])
    """
    p, ranks = percent / 100, count + 1
    # The outermost values bound a percentile with p^n and (1 - p)^n.
    if count <= 0 or p**count > TAIL or (1 - p) ** count > TAIL:
        return None

    def above(share: float) -> float:
        """Return the probability that this rank's value lies above the percentile."""
        return 1 - beta_cdf(p, ranks * share, ranks * (1 - share))

    low, high = (bisect_increasing(above, target, 1e-9, 1 - 1e-9) for target in (TAIL, 1 - TAIL))
    return low, high


def value_between(value_at_rank: Callable[[int], float], position: float) -> float:
    """Return the value at a rank that need not be whole, interpolated; `value_at_rank(1)` is the smallest value.

    Example:
        >>> value_between([10.0, 20.0].__getitem__, 0.25)
        12.5
    """
    below = math.floor(position)
    low = value_at_rank(below)
    return low if position == below else low + (position - below) * (value_at_rank(below + 1) - low)


def calls_needed(percent: float) -> int:
    """Return the smallest number of independent calls for which a percentile has a 95 % interval.

    The upper bound is at most the largest sample, which lies below the p-quantile with probability p^n; that must not
    exceed 2.5 %.

    Example:
        >>> [calls_needed(p) for p in (95, 99, 99.9)]
        [72, 368, 3688]
    """
    return math.ceil(math.log(TAIL) / math.log(percent / 100))
