"""Beta, Student and normal distributions, as far as confidence intervals need them; scipy would be a heavy dependency.

Source: Numerical Recipes, 3rd edition, section 6.4 (continued fraction of the incomplete beta function, Lentz).
"""

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

_TINY = 1e-300
_MAX_TERMS = 10_000


def normal_quantile(probability: float) -> float:
    """Return the quantile of the standard normal distribution.

    Example:
        >>> round(normal_quantile(0.975), 4)
        1.96
    """
    return NormalDist().inv_cdf(probability)


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b): P(X <= x) of the beta distribution; a, b > 0.

    Example:
        >>> round(beta_cdf(0.5, 2, 3), 4)  # 11/16
        0.6875
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) * _continued_fraction(x, a, b) / a


def _continued_fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    product = d
    for m in range(1, _MAX_TERMS):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + numerator * d)
            c = _away_from_zero(1 + numerator / c)
            product *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return product


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return the quantile of the beta distribution.

    Example:
        >>> round(beta_quantile(0.6875, 2, 3), 6)
        0.5
    """
    return bisect_increasing(lambda x: beta_cdf(x, a, b), probability, 0.0, 1.0)


def bisect_increasing(function: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Return x between `low` and `high` where an increasing function reaches `target`, to 1e-12 of the range."""
    for _ in range(44):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=4096)
def student_quantile(probability: float, degrees: float) -> float:
    """Return the quantile of Student's t distribution; `degrees` need not be a whole number.

    Example:
        >>> round(student_quantile(0.975, 4), 3), round(student_quantile(0.975, 1e9), 3)
        (2.776, 1.96)
    """
    if degrees > 1e6:
        return normal_quantile(probability)
    if probability < 0.5:
        return -student_quantile(1 - probability, degrees)
    # P(|T| > t) = I_x(degrees / 2, 1/2) at x = degrees / (degrees + t^2)
    x = beta_quantile(2 * (1 - probability), degrees / 2, 0.5)
    return math.sqrt(degrees * (1 - x) / x) if x > 0 else math.inf
