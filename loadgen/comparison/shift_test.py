"""Tests of a shift between two sets of block values, and the intervals that follow from them.

Separate runs: the labels of the blocks are permuted. Pairs of blocks: the signs of their differences are flipped. Both
hold for any distribution of the values, if blocks are exchangeable where nothing differs. An interval contains every
shift that the test does not reject; for a difference of means each pattern rejects up to one threshold, so that both
ends are order statistics of the thresholds (Hartigan, Using subsample values as typical values, 1969).

Nothing is trimmed, and no single request is tested: neighbours depend on each other, so a test on requests calls two
runs of the same thing different in up to 86 % of the comparisons.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from loadgen.statistics.distributions import beta_cdf

PATTERNS = 10_000  # drawn if there are more
_MAX_EXACT = 14  # pairs: 16,384 patterns
_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class ShiftTest:
    """A tested shift.

    Args:
        estimate: the shift, new minus base.
        thresholds: of each pattern other than the observed one, the shift up to which the observation is at least as
            extreme; ascending.
        far_p_value: p-value of Student's t test, which counts where no drawn pattern is as extreme as the observation:
            the number of patterns drawn does not limit what can be told. 1 if all patterns were tried.
    """

    estimate: float
    thresholds: NDArray[np.float64]
    far_p_value: float = 1.0

    @property
    def p_value(self) -> float:
        """Two-sided p-value of no shift."""
        total = self.thresholds.size + 1
        at_most = 1 + int(np.count_nonzero(self.thresholds <= _TOLERANCE))
        at_least = 1 + int(np.count_nonzero(self.thresholds >= -_TOLERANCE))
        p_value = min(1.0, 2 * min(at_most, at_least) / total)
        return min(p_value, self.far_p_value) if min(at_most, at_least) == 1 else p_value

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """Return the shifts that are not rejected; None if the patterns are too few for this confidence."""
        outside = math.floor((1 - confidence) / 2 * (self.thresholds.size + 1) + 1e-9)
        if not outside:
            return None
        return float(self.thresholds[outside - 1]), float(self.thresholds[-outside])


def permute_blocks(base: NDArray[np.float64], new: NDArray[np.float64]) -> ShiftTest:
    """Test the difference of the means of two runs' blocks; the same number of blocks each, shape (k,).

    Example:
        >>> base = np.array([1.00, 1.02, 0.98, 1.01, 0.99, 1.00, 1.01, 0.99, 1.02, 0.98])
        >>> found = permute_blocks(base, base[::-1] + 0.1)
        >>> round(found.estimate, 3), found.p_value <= 0.001
        (0.1, True)
    """
    count = base.size
    chosen_new, chosen_base, sizes = _swaps(count)
    thresholds = (chosen_new @ new - chosen_base @ base) / sizes
    shift = float(new.mean() - base.mean())
    error = math.sqrt((float(base.var()) + float(new.var())) / (count - 1))
    return ShiftTest(shift, np.sort(thresholds), _student_p_value(shift, error, 2 * count - 2))


def flip_pairs(differences: NDArray[np.float64]) -> ShiftTest:
    """Test the differences of pairs of blocks, new minus base, shape (k,); exact up to 14 pairs.

    The estimate is that of Hodges and Lehmann: the median of the means of all pairs of differences, each with itself
    included.

    Example:
        >>> found = flip_pairs(np.array([3.0, 5.0, 4.0, 6.0, 2.0, 4.0, 5.0, 3.0, 4.0, 4.0]))
        >>> found.estimate, found.p_value == 2 / 2**10
        (4.0, True)
    """
    rows, columns = np.triu_indices(differences.size)
    estimate = float(np.median((differences[rows] + differences[columns]) / 2))
    count = differences.size
    flips = _flips(count)
    error = math.sqrt(float(differences.var()) / (count - 1))
    far = 1.0 if count <= _MAX_EXACT else _student_p_value(float(differences.mean()), error, count - 1)
    return ShiftTest(estimate, np.sort(flips @ differences / flips.sum(axis=1)), far)


def _student_p_value(shift: float, error: float, degrees: int) -> float:
    """Return the two-sided p-value of Student's t test."""
    if not error:
        return 1.0 if not shift else 0.0
    return beta_cdf(degrees / (degrees + (shift / error) ** 2), degrees / 2, 0.5)


@lru_cache(maxsize=8)
def _swaps(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return which blocks of each side change sides in each pattern, shape (patterns, count), and how many do."""
    random = np.random.default_rng(count)
    shuffled = random.permuted(np.tile(np.arange(2 * count) < count, (PATTERNS - 1, 1)), axis=1)
    kept_base, taken = shuffled[:, :count], shuffled[:, count:]
    out_of_base = ~kept_base
    sizes = taken.sum(axis=1)
    moved = sizes > 0  # a pattern that changes nothing is as extreme as the observed one for every shift: a tie
    return (
        taken[moved].astype(np.float64),
        out_of_base[moved].astype(np.float64),
        sizes[moved].astype(np.float64),
    )


@lru_cache(maxsize=8)
def _flips(count: int) -> NDArray[np.float64]:
    """Return the nonempty sets of pairs whose signs are flipped, shape (patterns, count): all, or drawn ones."""
    if count <= _MAX_EXACT:
        patterns = np.arange(1, 2**count)
        return np.asarray((patterns[:, None] >> np.arange(count)) & 1, dtype=np.float64)
    drawn = np.random.default_rng(count).integers(0, 2, (PATTERNS - 1, count))
    return np.asarray(drawn[drawn.any(axis=1)], dtype=np.float64)


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values corrected for their number, shape (m,) (Holm, A simple sequentially rejective procedure, 1979).

    Example:
        >>> holm(np.array([0.04, 0.01, 0.03])).tolist()
        [0.06, 0.03, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(p_values.size, 0, -1)
    adjusted = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    result = np.empty_like(adjusted)
    result[order] = adjusted
    return result
