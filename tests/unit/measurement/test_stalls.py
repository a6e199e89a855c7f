"""Stalls: recorded in bounded memory, joined where they overlap, and merged over workers."""

import pytest

from loadgen.measurement.stalls import SHORTEST_STALL, StallRecorder, Stalls, merge_stalls, union_of


def test_a_delay_below_one_millisecond_is_not_a_stall():
    """Only delays of SHORTEST_STALL and more are recorded."""
    recorder = StallRecorder()
    recorder.add(1.0, 1.0009, 0.0009)
    recorder.add(2.0, 2.005, SHORTEST_STALL)

    assert recorder.snapshot() == Stalls(1, SHORTEST_STALL, SHORTEST_STALL, ((2.0, 2.005),))


def test_a_garbage_collection_within_a_late_tick_is_one_interval():
    """Overlapping intervals are joined; ones that touch stay apart, because the loop ran between them."""
    assert union_of([(0.0, 1.0), (0.2, 0.6), (1.0, 2.0)]) == [(0.0, 1.0), (1.0, 2.0)]


def test_only_the_longest_intervals_are_listed_and_the_others_are_counted():
    """Of 100,000 stalls the longest are listed, in the order of time; count, total and longest stay exact."""
    recorder = StallRecorder(limit=10)
    lengths = [0.002 + 0.001 * (number % 7 == 0) * (number < 70) for number in range(100_000)]
    for number, length in enumerate(lengths):
        recorder.add(float(number), number + length, length)
    found = recorder.snapshot()

    assert [round(start) for start, _ in found.intervals] == [0, 7, 14, 21, 28, 35, 42, 49, 56, 63]
    assert (found.count, found.unlisted) == (100_000, 99_990)
    assert found.total == pytest.approx(sum(lengths))
    assert found.unlisted_total == pytest.approx(99_990 * 0.002)
    assert (found.longest, found.unlisted_longest) == pytest.approx((0.003, 0.002))


def test_stalls_of_workers_are_joined():
    """Counts are added, intervals joined; seconds are those of the worst worker."""
    first = Stalls(2, 0.3, 0.2, ((1.0, 1.2), (5.0, 5.1)), 1, 0.01, 0.01)
    second = Stalls(1, 0.1, 0.1, ((1.1, 1.4),))

    assert merge_stalls([first, second]) == Stalls(3, 0.3, 0.2, ((1.0, 1.4), (5.0, 5.1)), 1, 0.01, 0.01)
    assert merge_stalls([]) == Stalls()
    assert merge_stalls([first]) is first
