"""Arrivals against formulas, statistics and their own shards."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.workload.arrivals import Arrivals, even, poisson, trace
from loadgen.workload.load import OpenLoop
from loadgen.workload.rate import constant, ramp, stages

NANOSECOND = 1e-9


@pytest.mark.parametrize(("rate", "seconds"), [(1, 10), (7, 3), (10_000, 2), (0.1, 60), (3, 0.7)])
def test_even_arrivals_are_exact_to_a_nanosecond(rate, seconds):
    """The n-th arrival at a constant rate is due at n / rate, and there are exactly as many as fit."""
    due = list(OpenLoop(even(constant(rate)), duration=seconds))
    expected = [
        Fraction(n) / Fraction(str(rate)) for n in range(math.ceil(Fraction(str(rate)) * Fraction(str(seconds))))
    ]
    assert [seq for seq, _ in due] == list(range(len(expected)))
    assert all(abs(Fraction(at) - want) < NANOSECOND for (_, at), want in zip(due, expected, strict=True))


def test_arrivals_of_a_ramp_follow_the_square_root():
    """On a ramp from 0 to r over T the n-th arrival is due at sqrt(2 n T / r), and r T / 2 are due in total."""
    due = [at for _, at in even(ramp(0, 100, over=60))]
    assert len(due) == 3000
    assert np.abs(np.array(due) - np.sqrt(2 * np.arange(3000) * 60 / 100)).max() < NANOSECOND


def test_stages_hold_and_jump():
    """A stage at the previous rate holds it and a stage of 0 s jumps; the arrivals equal the areas under the rate."""
    shape = stages((10, 20), (60, 20), (0, 80), (5, 80))
    due = np.array([at for _, at in even(shape)])
    in_ramp, held, after = (due < 10).sum(), ((due >= 10) & (due < 70)).sum(), (due >= 70).sum()
    assert (in_ramp, held, after) == (100, 1200, 400)
    assert np.allclose(np.diff(due[due >= 10][:1200]), 1 / 20, atol=NANOSECOND)
    assert np.allclose(np.diff(due[due >= 70]), 1 / 80, atol=NANOSECOND)
    assert (shape.at(69.999), shape.at(70), shape.at(75), shape.at(75.001), shape.at(-1)) == (20, 80, 80, 0, 0)


def test_no_arrival_is_due_while_the_rate_is_zero():
    """A period with rate 0 has no arrivals, and the arrivals around it are complete."""
    due = np.array([at for _, at in even(stages((5, 10), (0, 0), (20, 0), (0, 10), (5, 10), start=10))])
    assert len(due) == 100
    assert not ((due > 5) & (due < 25)).any()


def test_a_poisson_process_has_independent_exponential_gaps():
    """The gaps of 20,000 arrivals for 20 seeds pass a Kolmogorov-Smirnov test, and successive gaps are uncorrelated."""
    n, rate = 20_000, 200.0
    p_values, correlations = [], []
    for seed in range(20):
        due = np.array([at for _, at in itertools.islice(poisson(constant(rate), seed=seed), n)])
        gaps = np.sort(np.diff(due, prepend=0.0))
        expected = -np.expm1(-rate * gaps)
        ranks = np.arange(1, n + 1) / n
        distance = max((ranks - expected).max(), (expected - ranks + 1 / n).max())
        p_values.append(kolmogorov_p_value(distance * math.sqrt(n)))
        raw = np.diff(due, prepend=0.0)
        correlations.append(abs(np.corrcoef(raw[:-1], raw[1:])[0, 1]))
    # Of 20 sound processes one in five shows a p below 0.01 somewhere: their least is judged as the least of twenty.
    assert 1 - (1 - min(p_values)) ** 20 > 0.01
    assert np.mean(correlations) < 0.02
    assert max(correlations) < 4.5 / math.sqrt(n)


def kolmogorov_p_value(x: float) -> float:
    """Return P(K > x) of Kolmogorov's distribution."""
    return min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101)))


def test_poisson_counts_have_a_variance_equal_to_their_mean():
    """The variance of the arrivals per second equals their mean, and a ramp has the expected mean."""
    due = np.array([at for _, at in OpenLoop(poisson(constant(100), seed=3), duration=400)])
    counts = np.bincount(due.astype(int), minlength=400)
    assert counts.mean() == pytest.approx(100, abs=3 * math.sqrt(100 / 400))
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.25)
    ramped = [len(list(poisson(ramp(0, 200, over=10), seed=s))) for s in range(60)]
    assert np.mean(ramped) == pytest.approx(1000, abs=4 * math.sqrt(1000 / 60))


def test_a_seed_determines_the_arrivals():
    """Equal seeds give identical instants on every iteration; another seed gives different ones."""
    first, again, other = (
        np.array(list(OpenLoop(poisson(constant(500), seed=seed), duration=40))).tobytes() for seed in (7, 7, 8)
    )
    assert first == again != other
    arrivals = poisson(ramp(1, 50, over=20), seed=1)
    assert list(arrivals) == list(arrivals)


SCHEDULES = [
    even(stages((10, 900), (20, 900))),
    poisson(stages((10, 900), (20, 900)), seed=5),
    trace([0.5, 0.1, 3, 3, 3, 9.25, 40]),
]


@pytest.mark.parametrize("arrivals", SCHEDULES, ids=["even", "poisson", "trace"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_shards_are_exactly_the_whole(arrivals, count):
    """Every arrival of the whole is in exactly one shard, at the identical instant."""
    whole = list(arrivals)
    parts = [list(arrivals.shard(i, count)) for i in range(count)]
    assert sorted(itertools.chain(*parts)) == whole
    assert all(part == sorted(part) for part in parts)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))
def test_shards_of_shards_are_exactly_the_whole(a, b, c):
    """Sharding a shard loses no arrival and repeats none."""
    whole = even(constant(97))
    parts = [
        list(OpenLoop(whole, duration=3).shard(i, a).shard(j, b).shard(k, c))
        for i in range(a)
        for j in range(b)
        for k in range(c)
    ]
    assert sorted(itertools.chain(*parts)) == list(OpenLoop(whole, duration=3))


def test_a_trace_replays_an_interval_at_a_speed():
    """The interval is half open, the replay starts at its beginning, and speed 2 halves every distance."""
    recorded = [100.0, 104.0, 101.0, 110.0, 120.0]
    assert [at for _, at in trace(recorded)] == [0, 1, 4, 10, 20]
    assert [at for _, at in trace(recorded, start=101, end=120)] == [0, 3, 9]
    assert [at for _, at in trace(recorded, start=102, end=111, speed=2)] == [1, 4]
    assert trace(recorded, speed=0.5).duration == 40
    assert [seq for seq, _ in trace(recorded)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "build",
    [
        lambda: trace([]),
        lambda: trace([math.nan]),
        lambda: trace([1, 2], start=5),
        lambda: trace([1, 2], speed=0),
        lambda: trace([1, 2], speed=math.inf),
        lambda: trace([1, 2], speed=math.nan),
        lambda: poisson(constant(1), seed=-1),
        lambda: poisson(constant(1), seed=1.5),
        lambda: Arrivals(instants=(2.0, 1.0)),
        lambda: Arrivals(instants=(-1.0, 1.0)),
        lambda: Arrivals(constant(1), part=(2, 2)),
    ],
)
def test_an_invalid_value_is_rejected_when_built(build):
    """Each invalid value raises a UsageError where it is created."""
    with pytest.raises(UsageError):
        build()
