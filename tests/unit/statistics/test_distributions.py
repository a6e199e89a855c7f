"""Distributions, against exact fractions, closed forms and published tables."""

import math
from fractions import Fraction

import pytest

from loadgen.statistics.distributions import beta_cdf, beta_quantile, student_quantile


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 9), (5, 9), (9, 9), (30, 200), (199, 200)])
@pytest.mark.parametrize("x", [Fraction(1, 100), Fraction(3, 10), Fraction(1, 2), Fraction(97, 100)])
def test_the_beta_distribution_is_a_sum_of_binomials(k, n, x):
    """For whole parameters I_x(k, n + 1 - k) is the probability of at least k hits among n, summed exactly."""
    exact = sum(math.comb(n, i) * x**i * (1 - x) ** (n - i) for i in range(k, n + 1))

    assert beta_cdf(float(x), k, n + 1 - k) == pytest.approx(float(exact), rel=1e-9, abs=1e-14)


def test_the_beta_distribution_ends_at_0_and_1():
    """At and beyond the ends of the range the distribution function is 0 and 1."""
    assert [beta_cdf(x, 2, 3) for x in (-1, 0, 1, 2)] == [0, 0, 1, 1]


@pytest.mark.parametrize("probability", [1e-6, 0.025, 0.5, 0.975])
def test_a_quantile_is_the_inverse(probability):
    """The distribution function at a quantile is the probability; a power law's quantile is known in closed form."""
    assert beta_cdf(beta_quantile(probability, 3.7, 90.2), 3.7, 90.2) == pytest.approx(probability, rel=1e-5)
    assert beta_quantile(probability, 4, 1) == pytest.approx(probability ** (1 / 4), rel=1e-6)


@pytest.mark.parametrize(
    ("degrees", "table"), [(1, 12.706), (2, 4.303), (4, 2.776), (10, 2.228), (30, 2.042), (120, 1.980), (1e7, 1.960)]
)
def test_student_quantiles_are_those_of_the_tables(degrees, table):
    """The 97.5 % quantiles are those printed in every table of Student's distribution; the 2.5 % ones mirror them."""
    assert student_quantile(0.975, degrees) == pytest.approx(table, abs=0.0006)
    assert student_quantile(0.025, degrees) == pytest.approx(-table, abs=0.0006)
