"""Tallies and windows against sums in pure Python."""

import math
from collections import Counter

import numpy as np

from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.sample import SAMPLE
from loadgen.measurement.tally import Tally, Window


def test_recording_no_samples_changes_nothing():
    """An empty array of samples adds no counts."""
    tally = Tally()
    tally.record_samples(np.empty(0, SAMPLE), with_response=True)
    assert (tally.total, tally.counts) == (0, Counter())


def test_a_window_counts_by_category():
    """A window's count of a category is the sum of its outcomes."""
    window = Window(0, 0.0, 1.0, {Outcome.OK: 3, Outcome.RESET: 2, Outcome.MODEL_ERROR: 1, Outcome.DROPPED: 4})
    assert {column: window.count(column) for column in OutcomeCategory} == {
        OutcomeCategory.OK: 3,
        OutcomeCategory.THROTTLED: 0,
        OutcomeCategory.FAILED: 3,
        OutcomeCategory.UNFINISHED: 4,
    }
    assert math.isclose(window.length, 1.0)
