"""Errors: each kind has one exit status, and the one that costs most is told."""

import itertools

import pytest

from loadgen.errors import ExitStatus, LoadgenError, worst_status

# The table that the documentation gives users and scripts.
STATUSES = {
    "UsageError": 2,
    "DataError": 65,
    "InputError": 66,
    "UnavailableError": 69,
    "InternalError": 70,
    "ResourceError": 71,
    "OutputError": 73,
    "WriteError": 74,
    "QuotaError": 75,
    "AuthError": 77,
    "ConfigError": 78,
    "ResourceLeakError": 101,
    "ScriptError": 107,
    "ScriptExitError": 108,
    "InterruptedRunError": 130,
}
# 101 > 74 > 70 > 71 > 130, 143 > 107, 108 > 77, 78, 75, 69, 73, 65, 66 > 110 > 99 > 0: what costs most comes first.
LEVELS = [[101], [74], [70], [71], [130, 143], [107, 108], [77, 78, 75, 69, 73, 65, 66], [110], [99], [0]]


def kinds(of=LoadgenError):
    return [
        kind
        for direct in of.__subclasses__()
        for kind in (direct, *kinds(direct))
        if kind.__module__ == "loadgen.errors"
    ]


def test_every_kind_of_error_has_its_status():
    """The statuses are those of the table, one for each kind, and each kind says what it means."""
    assert {kind.__name__: int(kind.status) for kind in kinds()} == STATUSES
    assert all(kind.__doc__ for kind in kinds())


def test_no_status_is_the_interpreter_s_own():
    """1 is what a bug exits with: nothing of ours does."""
    assert 1 not in set(ExitStatus)


@pytest.mark.parametrize(("above", "below"), list(itertools.combinations(range(len(LEVELS)), 2)))
def test_what_costs_most_is_told(above, below):
    """Of any two causes of different weight the heavier one is the exit status, in either order."""
    for a, b in itertools.product(LEVELS[above], LEVELS[below]):
        assert worst_status([ExitStatus(a), ExitStatus(b)]) == worst_status([ExitStatus(b), ExitStatus(a)]) == a


def test_every_status_has_a_weight():
    """Each can be told alone, and nothing went wrong when there is none."""
    assert all(worst_status([status]) is status for status in ExitStatus)
    assert worst_status([]) is ExitStatus.OK
    assert worst_status(iter([ExitStatus.THRESHOLD, ExitStatus.INVALID])) is ExitStatus.INVALID


def test_an_error_is_a_sentence_and_what_to_do():
    """Its text joins message and hint; details are kept apart."""
    assert str(LoadgenError("no such file", hint="give another", details=["a", "b"])) == "no such file; give another"
    assert str(LoadgenError("no such file")) == "no such file"
    assert LoadgenError("x", details=["a", "b"]).details == ("a", "b")
