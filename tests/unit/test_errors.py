"""Each error type has one exit status, and of several statuses the most expensive one counts."""

import itertools
import re
from pathlib import Path

import pytest

import loadgen
from loadgen.cli.explain import STATUS_MEANINGS
from loadgen.errors import ExitStatus, LoadgenError, worst_status

# Exit statuses are part of the public interface.
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
# 101 > 74 > 70 > 71 > 130, 143 > 107, 108 > 77, 78, 75, 69, 73, 65, 66 > 110 > 99 > 0: the most expensive first.
LEVELS = [[101], [74], [70], [71], [130, 143], [107, 108], [77, 78, 75, 69, 73, 65, 66], [110], [99], [0]]


def error_types(parent=LoadgenError):
    return [
        error_type
        for child in parent.__subclasses__()
        for error_type in (child, *error_types(child))
        if error_type.__module__ == "loadgen.errors"
    ]


def test_every_error_type_has_its_exit_status():
    """The exit statuses of the error types are those of the table, and each type has a docstring."""
    assert {error_type.__name__: int(error_type.status) for error_type in error_types()} == STATUSES
    assert all(error_type.__doc__ for error_type in error_types())


def test_no_exit_status_is_1():
    """No error and no end of a run chooses 1, which Python uses for an uncaught exception."""
    assert 1 not in set(ExitStatus)


@pytest.mark.parametrize(("above", "below"), list(itertools.combinations(range(len(LEVELS)), 2)))
def test_the_most_expensive_status_counts(above, below):
    """Of two statuses of different levels, worst_status returns the higher one, in either order."""
    for a, b in itertools.product(LEVELS[above], LEVELS[below]):
        assert worst_status([ExitStatus(a), ExitStatus(b)]) == worst_status([ExitStatus(b), ExitStatus(a)]) == a


def test_worst_status_accepts_every_status_and_none():
    """A single status is returned as it is, no status at all is OK, and an iterator is accepted."""
    assert all(worst_status([status]) is status for status in ExitStatus)
    assert worst_status([]) is ExitStatus.OK
    assert worst_status(iter([ExitStatus.THRESHOLD, ExitStatus.INVALID])) is ExitStatus.INVALID


def test_every_exit_status_has_a_meaning_and_an_action():
    """STATUS_MEANINGS has sentences for every status; only OK needs no action."""
    assert list(STATUS_MEANINGS) == list(ExitStatus)
    for status, (meaning, action) in STATUS_MEANINGS.items():
        assert meaning.endswith("."), status
        assert action.endswith(".") or (status is ExitStatus.OK and not action), status


def test_the_guide_has_the_sentences_of_explain():
    """The table of exit statuses in the guide has the rows of `explain`, apart from backticks."""
    page = (Path(loadgen.__file__).parent / "guide" / "04-slos-and-ci.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (.*?) \|(?: (.*?))? \|$", page.replace("`", ""), re.MULTILINE)
    assert rows == [(str(int(s)), s.name, meaning, action) for s, (meaning, action) in STATUS_MEANINGS.items()]


def test_the_text_of_an_error_is_message_and_hint():
    """str() joins message and hint; details are separate."""
    assert str(LoadgenError("no such file", hint="give another", details=["a", "b"])) == "no such file; give another"
    assert str(LoadgenError("no such file")) == "no such file"
    assert LoadgenError("x", details=["a", "b"]).details == ("a", "b")
