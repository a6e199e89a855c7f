"""Rates against integrals in exact fractions."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.workload.arrivals import even
from loadgen.workload.load import OpenLoop
from loadgen.workload.rate import Rate, constant, ramp, stages

rates = st.integers(0, 400).map(lambda n: n / 4)

segments = st.lists(st.tuples(st.integers(0, 40).map(lambda n: n / 4), rates), min_size=1, max_size=6)


def some_rate(first, steps, unbounded) -> Rate | None:
    """Return a rate from drawn segments, or None where there is nothing to send."""
    if max([first, *(rate for _, rate in steps)]) == 0:
        return None
    knots = list(itertools.accumulate(steps, lambda a, b: (a[0] + b[0], b[1]), initial=(0.0, first)))
    return Rate(tuple(knots), is_unbounded=unbounded)


def exact_cumulative(rate: Rate, t: Fraction) -> Fraction:
    """Integrate in whole fractions, trapezium by trapezium."""
    total = Fraction(0)
    for (t0, r0), (t1, r1) in itertools.pairwise(rate.knots):
        a, b, low, high = Fraction(t0), Fraction(t1), Fraction(r0), Fraction(r1)
        end = min(b, t)
        if end <= a or a == b:
            continue
        at_end = low + (high - low) * (end - a) / (b - a)
        total += (low + at_end) / 2 * (end - a)
    last, r = Fraction(rate.knots[-1][0]), Fraction(rate.knots[-1][1])
    return total + (max(Fraction(0), t - last) * r if rate.is_unbounded else 0)


def test_a_ramp_down_mirrors_a_ramp_up():
    """The integral of a falling ramp over its last t seconds equals that of the rising ramp over its first t seconds."""
    up, down = ramp(0, 80, over=30), ramp(80, 0, over=30)
    for t in np.linspace(0, 30, 61):
        assert down.cumulative(30) - down.cumulative(30 - t) == pytest.approx(up.cumulative(t), abs=1e-9)
    assert len(list(even(down))) == len(list(even(up))) == 1200


@given(st.data(), rates, segments, st.booleans())
def test_cumulative_is_the_integral(data, first, steps, unbounded):
    """`cumulative` equals the area under the rate, computed with fractions."""
    rate = some_rate(first, steps, unbounded)
    if rate is None:
        return
    t = data.draw(st.integers(0, 800).map(lambda n: n / 8))
    assert rate.cumulative(t) == pytest.approx(float(exact_cumulative(rate, Fraction(t))), rel=1e-12, abs=1e-12)


@given(st.data(), rates, segments, st.booleans())
def test_inverse_cumulative_inverts_cumulative(data, first, steps, unbounded):
    """cumulative(inverse_cumulative(n)) is n; counts that the rate never reaches are due at infinity."""
    rate = some_rate(first, steps, unbounded)
    if rate is None:
        return
    n = data.draw(st.integers(0, 4000).map(lambda k: k / 4))
    (at,) = rate.inverse_cumulative(np.array([n]))
    most = math.inf if rate.is_unbounded and rate.knots[-1][1] > 0 else rate.cumulative(rate.knots[-1][0])
    if math.isinf(at):
        assert n >= most - 1e-9
    else:
        assert rate.cumulative(at) == pytest.approx(n, rel=1e-9, abs=1e-6)


def test_an_unbounded_rate_may_end_in_silence():
    """A rate that falls to 0 and stays there sends its finite number of requests, and still needs a duration."""
    rate = Rate(((0.0, 10.0), (4.0, 0.0)), is_unbounded=True)
    assert len(list(OpenLoop(even(rate), duration=100))) == 20
    with pytest.raises(UsageError):
        OpenLoop(even(rate))


@given(rates, segments)
def test_the_number_of_even_arrivals_is_the_area_rounded_up(first, steps):
    """The number of arrivals is the integral of the rate, rounded up."""
    rate = some_rate(first, steps, unbounded=False)
    if rate is None:
        return
    area = exact_cumulative(rate, Fraction(rate.knots[-1][0]))
    due = [at for _, at in even(rate)]
    assert len(due) == math.ceil(area)
    assert due == sorted(due)


@pytest.mark.parametrize(
    "build",
    [
        lambda: constant(-1),
        lambda: constant(math.nan),
        lambda: constant(math.inf),
        lambda: constant(1e309),
        lambda: constant(0),
        lambda: ramp(1, -1, over=5),
        lambda: ramp(1, 2, over=0),
        lambda: ramp(1, 2, over=math.nan),
        lambda: ramp(1, 2, over=-1),
        lambda: ramp(0, 0, over=5),
        stages,
        lambda: stages((-1, 5)),
        lambda: stages((math.inf, 5)),
        lambda: Rate(()),
        lambda: Rate(((1.0, 5.0),)),
        lambda: Rate(((0.0, 5.0), (2.0, 5.0), (1.0, 5.0))),
        lambda: Rate(((0.0, 5.0), (math.nan, 5.0))),
    ],
)
def test_an_invalid_value_is_rejected_when_built(build):
    """Each invalid value raises a UsageError where it is created."""
    with pytest.raises(UsageError):
        build()
