"""Rounds: the order of the steps, and how the blocks adapt to slow models."""

from collections import Counter
from itertools import permutations

import pytest

from loadgen.errors import UsageError
from loadgen.scenario.rounds import Rounds, round_order


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_steady_drift_falls_on_all_steps_alike(count):
    """Over each two rounds, the positions of every step have the same sum."""
    for pair in range(20):
        positions = Counter()
        for round_number in (2 * pair + 1, 2 * pair + 2):
            order = round_order(range(count), round_number, seed=5)
            assert sorted(order) == list(range(count))
            positions.update({step: position for position, step in enumerate(order)})
        assert set(positions.values()) == {count - 1}


def test_every_order_occurs():
    """Over 600 pairs of rounds each of the six orders of three steps begins a pair 60 to 140 times."""
    found = Counter(tuple(round_order(range(3), 2 * pair + 1, seed=1)) for pair in range(600))

    assert set(found) == set(permutations(range(3)))
    assert all(60 <= count <= 140 for count in found.values())


def test_the_order_is_a_function_of_the_seed():
    """The same seed gives the same orders, another seed others; the given order of the steps has no effect."""
    orders = [[round_order(range(6), n, seed) for n in range(1, 9)] for seed in (1, 1, 2)]

    assert orders[0] == orders[1] != orders[2]
    assert round_order([3, 1, 2], 1, 0) == round_order([1, 2, 3], 1, 0)


@pytest.mark.parametrize(
    ("calls", "duration", "expected"),
    [(0, 0.0, 20), (20, 29.0, 20), (20, 60.0, 10), (10, 30.0, 10), (10, 15.0, 20), (1, 600.0, 1), (3, 90.0, 1)],
    ids=["first", "in time", "twice too long", "stays", "faster again", "never none", "one call is too long"],
)
def test_blocks_shrink_for_slow_models(calls, duration, expected):
    """The next round has as many calls as fit 30 s at the pace of the last round, from 1 to 20."""
    assert Rounds((), block_size=20, max_duration=30.0).next_block_size(calls, duration) == expected


@pytest.mark.parametrize("options", [{"block_size": 0}, {"block_size": 2.5}, {"block_size": 1, "max_duration": 0}])
def test_values_out_of_range_are_refused(options):
    """A block without calls, a part of a call and a round without time are refused."""
    with pytest.raises(UsageError):
        Rounds((), **options)
