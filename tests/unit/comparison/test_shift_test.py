"""Tests of a shift: p-values and intervals against enumeration, and what no test can tell."""

import itertools

import numpy as np
import pytest

from loadgen.comparison.shift_test import flip_pairs, holm, permute_blocks


def enumerated_flips(differences, shift):
    """Return the one-sided p-values (greater, less) of a shift by enumerating every pattern of signs."""
    moved = np.asarray(differences) - shift
    means = [np.mean(moved * signs) for signs in itertools.product((1, -1), repeat=len(moved))]
    observed = moved.mean()
    return np.mean(np.array(means) >= observed - 1e-12), np.mean(np.array(means) <= observed + 1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_p_value_of_pairs_is_that_of_all_patterns(seed):
    """With 10 pairs the p-value is twice the smaller share of the 1,024 patterns that are as extreme."""
    differences = np.random.default_rng(seed).normal(0.4, 1, 10)

    assert flip_pairs(differences).p_value == pytest.approx(min(1, 2 * min(enumerated_flips(differences, 0))))


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_of_pairs_inverts_the_test(seed):
    """A shift just inside the 95 % interval is not rejected at 2.5 % on either side, one just outside is."""
    differences = np.random.default_rng(seed).normal(1, 1, 10)
    low, high = flip_pairs(differences).interval(0.95)

    assert enumerated_flips(differences, low + 1e-6)[0] > 0.025 >= enumerated_flips(differences, low - 1e-6)[0]
    assert enumerated_flips(differences, high - 1e-6)[1] > 0.025 >= enumerated_flips(differences, high + 1e-6)[1]


def test_the_estimate_of_pairs_is_the_median_of_walsh_averages():
    """One pair that is far off moves the estimate of Hodges and Lehmann little: (0, 1, 2, 3, 100) gives 2."""
    # The Walsh averages are 0, .5, 1, 1, 1.5, 1.5, 2, 2, 2.5, 3, 50, 50.5, 51, 51.5, 100: the 8th of 15 is 2.
    assert flip_pairs(np.array([0.0, 1.0, 2.0, 3.0, 100.0])).estimate == 2.0


def test_five_pairs_have_no_interval():
    """5 pairs have 32 patterns: none is outside of 95 %, so there is no interval; 6 pairs have one."""
    values = np.arange(6.0)

    assert flip_pairs(values[:5]).interval(0.95) is None
    assert flip_pairs(values).interval(0.95) == (0.0, 5.0)


def test_the_p_value_of_blocks_is_near_that_of_all_permutations():
    """5 blocks against 5: the p-value from drawn labels is within 0.02 of that of all 252 labels."""
    random = np.random.default_rng(3)
    base, new = random.normal(0, 1, 5), random.normal(1.2, 1, 5)
    both = np.concatenate([base, new])
    shifts = []
    for chosen in itertools.combinations(range(10), 5):
        rest = [i for i in range(10) if i not in chosen]
        shifts.append(both[list(chosen)].mean() - both[rest].mean())
    observed = new.mean() - base.mean()
    exact = 2 * np.mean(np.array(shifts) >= observed - 1e-12)

    assert permute_blocks(base, new).p_value == pytest.approx(exact, abs=0.02)


def test_a_shift_moves_the_interval_and_nothing_else():
    """Adding 0.3 to every block of NEW moves the estimate and both ends by 0.3."""
    random = np.random.default_rng(5)
    base, new = random.normal(0, 1, 12), random.normal(0, 1, 12)
    before, after = permute_blocks(base, new), permute_blocks(base, new + 0.3)

    moved = np.subtract(after.interval(0.95), before.interval(0.95))
    assert after.estimate - before.estimate == pytest.approx(0.3)
    assert moved == pytest.approx([0.3, 0.3])


def test_equal_blocks_are_no_evidence():
    """Blocks without any variation and without a difference have the p-value 1."""
    assert permute_blocks(np.zeros(10), np.zeros(10)).p_value == 1
    assert flip_pairs(np.zeros(16)).p_value == 1


def test_a_clear_shift_has_a_p_value_below_that_of_the_patterns_drawn():
    """A shift of 20 standard deviations between 20 blocks is told among thousands of comparisons: p < 1e-9."""
    values = np.random.default_rng(1).normal(0, 1, 20)

    assert permute_blocks(values, values[::-1] + 20).p_value < 1e-9
    assert flip_pairs(values + 20).p_value < 1e-9


@pytest.mark.parametrize(
    ("given", "corrected"),
    [([0.01], [0.01]), ([0.02, 0.02], [0.04, 0.04]), ([0.5, 0.001, 0.4], [0.8, 0.003, 0.8]), ([], [])],
)
def test_holm(given, corrected):
    """The smallest p-value is multiplied by their number, the next by one less, and so on; none falls below another."""
    assert holm(np.array(given)).tolist() == pytest.approx(corrected)
