"""Decisions about a limit: below, above, or undecided."""

import numpy as np
import pytest

from loadgen.statistics.decision import Decision, decide, decide_share
from loadgen.statistics.interval import Interval


@pytest.mark.parametrize(
    ("low", "high", "limit", "expected"),
    [
        (1.0, 2.0, 2.0, Decision.BELOW),
        (1.0, 2.0, 1.5, Decision.UNDECIDED),
        (1.0, 2.0, 1.0, Decision.UNDECIDED),
        (1.0, 2.0, 0.9, Decision.ABOVE),
        (None, None, 0.9, Decision.UNDECIDED),
    ],
)
def test_only_a_whole_interval_decides(low, high, limit, expected):
    """A limit inside of the interval, or no interval, decides nothing."""
    assert decide(Interval(1.4, low, high, 10, 10.0), limit) is expected


@pytest.mark.parametrize(("share", "count"), [(0.05, 20), (0.05, 45), (0.005, 1000), (0.005, 5000)])
def test_a_failure_share_is_seldom_decided_wrongly(share, count):
    """5 % failures pass a limit of 1 % in at most 3 % of runs, and 0.5 % break it in at most 3 %: few calls are undecided."""
    wrong = Decision.BELOW if share > 0.01 else Decision.ABOVE
    random = np.random.default_rng(count)

    found = [decide_share(int(random.binomial(count, share)), count, 0.01) for _ in range(400)]

    assert found.count(wrong) <= 12
    assert count > 45 or Decision.UNDECIDED in found


def test_no_calls_decide_nothing():
    """Without a call the share is undecided."""
    assert decide_share(0, 0, 0.01) is Decision.UNDECIDED
