"""Rates, arrivals and loads against formulas, statistics and each other."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.workload.arrivals import Arrivals, even, poisson, trace
from loadgen.workload.load import ClosedLoop, OpenLoop, Uniform
from loadgen.workload.rate import Rate, constant, ramp, stages

NANOSECOND = 1e-9

rates = st.integers(0, 400).map(lambda n: n / 4)
segments = st.lists(st.tuples(st.integers(0, 40).map(lambda n: n / 4), rates), min_size=1, max_size=6)


def some_rate(first, steps, endless) -> Rate | None:
    """Return a rate from drawn segments, or None where there is nothing to send."""
    if max([first, *(rate for _, rate in steps)]) == 0:
        return None
    knots = list(itertools.accumulate(steps, lambda a, b: (a[0] + b[0], b[1]), initial=(0.0, first)))
    return Rate(tuple(knots), is_unbounded=endless)


def exact_hits(rate: Rate, t: Fraction) -> Fraction:
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


def total(arrivals: Arrivals, until: float) -> int:
    return len(list(OpenLoop(arrivals, duration=until)))


@pytest.mark.parametrize(("rate", "seconds"), [(1, 10), (7, 3), (10_000, 2), (0.1, 60), (3, 0.7)])
def test_even_arrivals_are_exact_to_a_nanosecond(rate, seconds):
    """The n-th arrival at a constant rate is due at n / rate, and there are exactly as many as fit."""
    due = list(OpenLoop(even(constant(rate)), duration=seconds))
    expected = [
        Fraction(n) / Fraction(str(rate)) for n in range(math.ceil(Fraction(str(rate)) * Fraction(str(seconds))))
    ]
    assert [seq for seq, _ in due] == list(range(len(expected)))
    assert all(abs(Fraction(at) - want) < NANOSECOND for (_, at), want in zip(due, expected, strict=True))


def test_a_ramp_follows_the_square_root():
    """On a ramp from 0 to r over T the n-th arrival is due at sqrt(2 n T / r), and r T / 2 are due in all."""
    due = [at for _, at in even(ramp(0, 100, over=60))]
    assert len(due) == 3000
    assert np.abs(np.array(due) - np.sqrt(2 * np.arange(3000) * 60 / 100)).max() < NANOSECOND


def test_a_ramp_down_mirrors_a_ramp_up():
    """What a falling rate has left to send at T - t is what the rising one has sent at t."""
    up, down = ramp(0, 80, over=30), ramp(80, 0, over=30)
    for t in np.linspace(0, 30, 61):
        assert down.cumulative(30) - down.cumulative(30 - t) == pytest.approx(up.cumulative(t), abs=1e-9)
    assert len(list(even(down))) == len(list(even(up))) == 1200


def test_stages_hold_and_jump():
    """A stage at the rate before it holds it, one of no seconds jumps: counted by the areas of the drawing."""
    shape = stages((10, 20), (60, 20), (0, 80), (5, 80))
    due = np.array([at for _, at in even(shape)])
    in_ramp, held, after = (due < 10).sum(), ((due >= 10) & (due < 70)).sum(), (due >= 70).sum()
    assert (in_ramp, held, after) == (100, 1200, 400)
    assert np.allclose(np.diff(due[due >= 10][:1200]), 1 / 20, atol=NANOSECOND)
    assert np.allclose(np.diff(due[due >= 70]), 1 / 80, atol=NANOSECOND)
    assert (shape.at(69.999), shape.at(70), shape.at(75), shape.at(75.001), shape.at(-1)) == (20, 80, 80, 0, 0)


def test_nothing_is_due_while_the_rate_is_zero():
    """A gap of rate 0 has no arrivals in it, and loses none of those around it."""
    due = np.array([at for _, at in even(stages((5, 10), (0, 0), (20, 0), (0, 10), (5, 10), start=10))])
    assert len(due) == 100
    assert not ((due > 5) & (due < 25)).any()


@given(st.data(), rates, segments, st.booleans())
def test_hits_is_the_integral(data, first, steps, endless):
    """`hits` is the area under the rate, worked out in fractions."""
    rate = some_rate(first, steps, endless)
    if rate is None:
        return
    t = data.draw(st.integers(0, 800).map(lambda n: n / 8))
    assert rate.cumulative(t) == pytest.approx(float(exact_hits(rate, Fraction(t))), rel=1e-12, abs=1e-12)


@given(st.data(), rates, segments, st.booleans())
def test_when_undoes_hits(data, first, steps, endless):
    """Where requests are due at all, hits(when(n)) is n again; where they are not, `inverse_cumulative` is infinite."""
    rate = some_rate(first, steps, endless)
    if rate is None:
        return
    n = data.draw(st.integers(0, 4000).map(lambda k: k / 4))
    (at,) = rate.inverse_cumulative(np.array([n]))
    most = math.inf if rate.is_unbounded and rate.knots[-1][1] > 0 else rate.cumulative(rate.knots[-1][0])
    if math.isinf(at):
        assert n >= most - 1e-9
    else:
        assert rate.cumulative(at) == pytest.approx(n, rel=1e-9, abs=1e-6)


@given(rates, segments)
def test_even_totals_are_the_area_rounded_up(first, steps):
    """As many are sent as whole requests begin under the area of the rate."""
    rate = some_rate(first, steps, endless=False)
    if rate is None:
        return
    area = exact_hits(rate, Fraction(rate.knots[-1][0]))
    due = [at for _, at in even(rate)]
    assert len(due) == math.ceil(area)
    assert due == sorted(due)


def test_a_poisson_process_has_exponential_gaps_without_memory():
    """20,000 arrivals over 20 seeds: gaps pass Kolmogorov-Smirnov, and tell nothing about the next gap."""
    n, rate = 20_000, 200.0
    p_values, correlations = [], []
    for seed in range(20):
        due = np.array([at for _, at in itertools.islice(poisson(constant(rate), seed=seed), n)])
        gaps = np.sort(np.diff(due, prepend=0.0))
        expected = -np.expm1(-rate * gaps)
        ranks = np.arange(1, n + 1) / n
        distance = max((ranks - expected).max(), (expected - ranks + 1 / n).max())
        p_values.append(kolmogorov(distance * math.sqrt(n)))
        raw = np.diff(due, prepend=0.0)
        correlations.append(abs(np.corrcoef(raw[:-1], raw[1:])[0, 1]))
    # Of 20 sound processes one in five shows a p below 0.01 somewhere: their least is judged as the least of twenty.
    assert 1 - (1 - min(p_values)) ** 20 > 0.01
    assert np.mean(correlations) < 0.02
    assert max(correlations) < 4.5 / math.sqrt(n)


def kolmogorov(x: float) -> float:
    """Return P(K > x) of Kolmogorov's distribution."""
    return min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101)))


def test_poisson_counts_vary_as_poisson_counts_do():
    """The number of arrivals in a second has a variance equal to its mean, also under a ramp."""
    due = np.array([at for _, at in OpenLoop(poisson(constant(100), seed=3), duration=400)])
    counts = np.bincount(due.astype(int), minlength=400)
    assert counts.mean() == pytest.approx(100, abs=3 * math.sqrt(100 / 400))
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.25)
    ramped = [len(list(poisson(ramp(0, 200, over=10), seed=s))) for s in range(60)]
    assert np.mean(ramped) == pytest.approx(1000, abs=4 * math.sqrt(1000 / 60))


def test_a_seed_decides_every_byte():
    """The same seed gives the same instants again and again; another seed gives others."""
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
def test_shards_unite_to_exactly_the_whole(arrivals, count):
    """Every arrival of the whole is in exactly one shard, at the same instant to the last bit."""
    whole = list(arrivals)
    parts = [list(arrivals.shard(i, count)) for i in range(count)]
    assert sorted(itertools.chain(*parts)) == whole
    assert all(part == sorted(part) for part in parts)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))
def test_shards_of_shards_unite_to_the_whole(a, b, c):
    """Splitting again what has been split loses nothing and repeats nothing."""
    whole = even(constant(97))
    parts = [
        list(OpenLoop(whole, duration=3).shard(i, a).shard(j, b).shard(k, c))
        for i in range(a)
        for j in range(b)
        for k in range(c)
    ]
    assert sorted(itertools.chain(*parts)) == list(OpenLoop(whole, duration=3))


def test_the_shares_of_max_in_flight_add_up():
    """Shards divide `max_in_flight` among them."""
    load = OpenLoop(even(constant(10)), duration=1, max_in_flight=17)
    assert sum(load.shard(i, 5).max_in_flight for i in range(5)) == 17


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 12), st.integers(1, 3))
def test_closed_loop_shards_divide_clients_and_requests(clients, requests, count, again):
    """Whatever the numbers, the shards of a closed loop have all its clients and all its requests, each number once."""
    load = ClosedLoop(clients, count=requests)
    parts = [part for i in range(count) if (part := load.shard(i, count)) is not None]
    parts = [deep for part in parts for i in range(again) if (deep := part.shard(i, again)) is not None]
    assert sum(part.clients for part in parts) == clients
    numbers = [n for part in parts for n in itertools.islice(itertools.count(*part.part), part.count)]
    assert sorted(numbers) == list(range(requests))


def test_closed_loop_shards_by_duration_divide_clients():
    """Without a count, clients are divided and the duration stays."""
    parts = [ClosedLoop(5, duration=9).shard(i, 3) for i in range(3)]
    assert [(p.clients, p.count, p.duration) for p in parts] == [(2, None, 9), (2, None, 9), (1, None, 9)]
    assert ClosedLoop(1, duration=9).shard(1, 2) is None


@pytest.mark.parametrize("load", [ClosedLoop(4, count=4), OpenLoop(even(constant(1)), duration=1), even(constant(1))])
@pytest.mark.parametrize(("index", "count"), [(0, 0), (2, 2), (-1, 2), (0, -1)])
def test_a_shard_that_cannot_be_is_refused(load, index, count):
    """Only 0 <= index < count names a shard."""
    with pytest.raises(UsageError):
        load.shard(index, count)


def test_a_trace_replays_a_window_at_a_speed():
    """The window is half open, the replay starts at its beginning, and speed 2 halves every distance."""
    recorded = [100.0, 104.0, 101.0, 110.0, 120.0]
    assert [at for _, at in trace(recorded)] == [0, 1, 4, 10, 20]
    assert [at for _, at in trace(recorded, start=101, end=120)] == [0, 3, 9]
    assert [at for _, at in trace(recorded, start=102, end=111, speed=2)] == [1, 4]
    assert trace(recorded, speed=0.5).duration == 40
    assert [seq for seq, _ in trace(recorded)] == [0, 1, 2, 3, 4]


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
        lambda: OpenLoop(even(constant(1))),
        lambda: OpenLoop(even(constant(1)), duration=0),
        lambda: OpenLoop(even(constant(1)), duration=math.nan),
        lambda: OpenLoop(even(constant(1)), duration=math.inf),
        lambda: OpenLoop(even(constant(1)), duration=1, max_in_flight=0),
        lambda: OpenLoop(even(constant(1)), duration=1, max_in_flight=math.nan),
        lambda: OpenLoop(even(constant(1)), duration=1, max_in_flight=1.5),
        lambda: ClosedLoop(0, count=1),
        lambda: ClosedLoop(1.5, count=1),
        lambda: ClosedLoop(math.nan, count=1),
        lambda: ClosedLoop(True, count=1),
        lambda: ClosedLoop("4", count=1),
        lambda: ClosedLoop(1),
        lambda: ClosedLoop(1, count=0),
        lambda: ClosedLoop(1, count=2.5),
        lambda: ClosedLoop(1, count=math.nan),
        lambda: ClosedLoop(1, duration=0),
        lambda: ClosedLoop(1, duration=math.inf),
        lambda: ClosedLoop(1, count=1, think=-1),
        lambda: ClosedLoop(1, count=1, backoff=math.nan),
        lambda: ClosedLoop(1, count=1, think=math.inf),
        lambda: ClosedLoop(1, count=1, seed="x"),
        lambda: ClosedLoop(1, count=1, seed=-1),
        lambda: Uniform(2, 1),
        lambda: Uniform(-1, 1),
        lambda: Uniform(math.nan, 1),
        lambda: Uniform(0, math.inf),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_when_built(build):
    """Each bad value is a UsageError where it is made, not a surprise while it runs."""
    with pytest.raises(UsageError):
        build()


def test_whole_numbers_of_numpy_are_whole_numbers():
    """Counts that come out of numpy work as Python's own."""
    load = ClosedLoop(np.int64(3), count=np.int32(5))
    assert (load.clients, load.count) == (3, 5)


def test_an_endless_rate_may_end_in_silence():
    """A rate that falls to 0 and stays there sends what it had, and needs a duration since it never ends."""
    rate = Rate(((0.0, 10.0), (4.0, 0.0)), is_unbounded=True)
    assert total(even(rate), 100) == 20
    with pytest.raises(UsageError):
        OpenLoop(even(rate))
