"""The choice of a memory size: scores by hand, probabilities against simulated models of a known truth."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest

from loadgen.analysis.elimination import eliminate
from loadgen.analysis.size_choice import OBJECTIVES, Objective, SizeSeries, choose_size, to_objective
from loadgen.emulator.behaviour.profile import PROFILES
from loadgen.errors import UsageError
from tests.support.simulated_models import KINDS, SIZES, simulate


def constant(memory_mb, cost, latency, calls=50):
    return SizeSeries(memory_mb, np.full(calls, cost), np.full(calls, latency))


def test_the_score_is_the_weighted_geometric_mean():
    """2 USD and 8 s score 4 with equal weights, and 2^0.25 x 8^0.75 with a weight of 0.25."""
    sizes = [constant(1024, 2.0, 8.0), constant(2048, 3.0, 5.0)]

    equal = choose_size(sizes, Objective())
    slow = choose_size(sizes, Objective(cost_weight=0.25))

    assert equal.scores[1024] == pytest.approx(4.0)
    assert slow.scores[1024] == pytest.approx(2**0.25 * 8**0.75)
    assert equal.memory_mb == 2048  # sqrt(3 x 5) is below 4
    assert equal.ratios[1024].value == pytest.approx(4 / math.sqrt(15))


@pytest.mark.parametrize("profile", ["mobilenet-v2", "huggingface", "xgboost"])
def test_the_choice_does_not_depend_on_the_losers(profile):
    """Every subset that contains the size chosen of all six chooses it too; a normalised sum did not in 12 of 31."""
    known = PROFILES[profile]
    latency = {size: known.latency_at(size) + known.overhead for size in SIZES}

    def chosen(sizes):
        return choose_size([constant(s, s * latency[s], latency[s]) for s in sizes], Objective()).memory_mb

    best = chosen(SIZES)
    subsets = [s for n in range(2, 7) for s in itertools.combinations(SIZES, n) if best in s]

    assert {subset: chosen(subset) for subset in subsets} == dict.fromkeys(subsets, best)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_stated_probability_is_not_too_high(kind, objective):
    """Over 12 benchmarks of 45 calls, answers are right at least as often as stated, less three standard errors."""
    goal = Objective(objective)
    benchmarks = [simulate(kind, 45, seed) for seed in range(12)]
    choices = [choose_size(one.series(), goal) for one in benchmarks]

    right = sum(b.is_right(c.memory_mb, goal.weight) for b, c in zip(benchmarks, choices, strict=True))
    stated = sum(c.probability for c in choices)

    deviation = math.sqrt(sum(c.probability * (1 - c.probability) for c in choices)) + 0.5
    assert right >= stated - 3 * deviation


def test_equal_sizes_are_called_equivalent():
    """Two sizes that cost the same are equivalent, and neither is stated to be the best."""
    found = choose_size(simulate("equal costs", 200, 1).series(), Objective("cost"))

    assert found.probability > 0.95
    assert set(found.equivalent) == set(SIZES) - {found.memory_mb}
    assert max(share for _, share in found.alternatives) < 0.9


def test_speed_does_not_take_ignorance_for_equality():
    """Of a heavy-tailed model with 20 calls, a size 2.9 times slower than the fastest is never recommended for speed.

    It was in 60 of 100 runs when overlapping intervals counted as equal.
    """
    choices = [choose_size(simulate("heavy tail", 20, seed).series(), Objective("speed")) for seed in range(30)]

    assert sum(choice.memory_mb == 1024 for choice in choices) <= 1
    assert all(choice.probability < 0.9 for choice in choices if choice.memory_mb == 1024)


def test_paired_calls_make_a_difference_certain():
    """Sizes 5 % apart, whose latency varies ten-fold with the payload, are told apart: the payload cancels."""
    rng = np.random.default_rng(5)
    payload = np.exp(rng.standard_normal(200))

    def size(memory_mb, latency, order):
        calls = latency * payload[order] * np.exp(0.02 * rng.standard_normal(200))
        return SizeSeries(memory_mb, calls, calls)

    same, other = np.arange(200), rng.permutation(200)
    paired = choose_size([size(1024, 1.0, same), size(2048, 1.05, same)], Objective("cost", margin=0.01))
    shuffled = choose_size([size(1024, 1.0, same), size(2048, 1.05, other)], Objective("cost", margin=0.01))

    def width(choice):
        other_size = 2048 if choice.memory_mb == 1024 else 1024
        return choice.ratios[other_size].high - choice.ratios[other_size].low

    assert paired.memory_mb == 1024
    assert paired.probability > 0.99
    assert width(paired) < width(shuffled) / 10


def test_a_size_that_was_called_less_often_is_compared_over_the_same_calls():
    """A size whose ten calls all had a quick payload does not seem quicker than the one that had slow ones too."""
    latency = np.where(np.arange(100) < 10, 0.1, 1.0)
    rng = np.random.default_rng(2)

    def noise(calls):
        return np.exp(0.02 * rng.standard_normal(calls))

    often = SizeSeries(2048, 2 * latency * noise(100), latency * noise(100))
    seldom = SizeSeries(1024, 2 * 1.5 * latency[:10] * noise(10), 1.5 * latency[:10] * noise(10))

    found = choose_size([often, seldom], Objective("cost"))

    assert seldom.cost.mean() < often.cost.mean() / 2  # which is not because it is cheaper
    assert found.memory_mb == 2048


@pytest.mark.parametrize("seed", range(5))
def test_more_calls_are_those_of_the_normal_approximation(seed):
    """Two sizes of independent calls: the probability is Phi(d sqrt(f) / e) for f times the calls, at difference d."""
    rng = np.random.default_rng(seed)
    first, second = (factor * np.exp(0.3 * rng.standard_normal(400)) for factor in (1.0, 1.02))
    error = math.hypot(*(x.std() / x.mean() / 20 for x in (first, second)))
    difference = abs(math.log(second.mean() / first.mean()))

    found = choose_size(
        [SizeSeries(1024, first, first), SizeSeries(2048, second, second)], Objective("cost", margin=0.0)
    )

    quantile = {0.95: 1.645, 0.99: 2.326}[found.target]
    factor = (quantile * error / difference) ** 2
    assert found.probability == pytest.approx(NormalDist().cdf(difference / error), abs=0.05)
    if found.more_calls:
        assert found.more_calls == pytest.approx(2 * 400 * (factor - 1), rel=0.4, abs=100)


@pytest.mark.parametrize("calls", [1, 4])
def test_few_calls_have_no_probability(calls):
    """With fewer than five calls a size is chosen, and nothing is said about how certain that is."""
    found = choose_size([constant(1024, 1.0, 1.0, calls), constant(2048, 2.0, 1.0, calls)], Objective("cost"))

    assert (found.memory_mb, found.probability, found.alternatives, found.more_calls) == (1024, None, (), None)
    assert found.cost[1024].low is None


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"name": "best"}, "balanced"),
        ({"latency": "p42"}, "p95"),
        ({"cost_weight": 1.5}, "0 (latency)"),
        ({"margin": 1.0}, "0.05"),
    ],
)
def test_an_invalid_objective_is_refused(values, hint):
    """An unknown name or statistic, or a number out of its range, is a usage error that says what is allowed."""
    with pytest.raises(UsageError) as caught:
        Objective(**values)

    assert hint in str(caught.value.hint)


def test_an_objective_can_be_given_by_its_name():
    """A name, or an Objective, is an objective; anything else is refused."""
    assert to_objective("speed") == Objective("speed")
    assert to_objective(Objective(latency="p95")).latency == "p95"
    with pytest.raises(UsageError):
        to_objective(3)


# --- elimination -----------------------------------------------------------------------------------------------------


def eliminated(kind, objective, calls, seed):
    """Return the sizes left and the calls made when sizes are dropped after each round of ten calls."""
    benchmark, active, made = simulate(kind, calls, seed), list(SIZES), 0
    for look, count in enumerate(range(10, calls + 1, 10), 1):
        made += 10 * len(active)
        series = benchmark.series(dict.fromkeys(active, count))
        found = eliminate(series, objective, confidence=0.95, look=look, eligible=active)
        active = [size for size in active if size not in found.dropped]
        if found.is_decided:
            break
    return benchmark, active, made


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("kind", ["published example", "two classes by payload", "common drift", "heavy tail"])
def test_the_best_size_is_not_eliminated(kind, objective):
    """Over 8 benchmarks with a look every ten calls, a size within the margin of the best is left in at least 7."""
    goal = Objective(objective)
    found = [eliminated(kind, goal, 40, seed) for seed in range(8)]

    assert sum(any(b.is_right(s, goal.weight) for s in left) for b, left, _ in found) >= 7


def test_the_published_example_is_decided_with_half_of_the_calls():
    """Six sizes that differ clearly need less than half of 45 calls each, and the choice is the same."""
    _, left, made = eliminated("published example", Objective(), 45, 3)

    assert 2048 in left
    assert made <= 6 * 45 / 2


def test_no_size_is_dropped_for_one_that_cannot_be_recommended():
    """A size that fails is faster, but the others are not dropped in its favour."""
    rng = np.random.default_rng(1)
    series = [
        SizeSeries(size, latency * np.exp(0.01 * rng.standard_normal(40)), np.full(40, latency))
        for size, latency in ((1024, 0.1), (2048, 1.0), (3072, 1.5))
    ]

    found = eliminate(series, Objective("cost"), confidence=0.95, look=1, eligible=[2048, 3072])

    assert 2048 not in found.dropped
    assert 3072 in found.dropped
    assert "2048 MB" in found.dropped[3072]


def test_few_calls_eliminate_nothing():
    """With fewer than five calls of a size nothing is decided."""
    found = eliminate(
        [constant(1024, 1.0, 1.0, 4), constant(2048, 9.0, 9.0, 4)],
        Objective(),
        confidence=0.95,
        look=1,
        eligible=[1024, 2048],
    )

    assert (found.dropped, found.is_decided) == ({}, False)
