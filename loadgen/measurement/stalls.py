"""Stalls: the intervals in which the load generator stood still, so that it sent and read nothing.

A latency that ended in a stall includes a part of it. The intervals show which calls these are; the analysis works out
what the stalls changed in each figure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Seconds. A shorter delay of the event loop is a normal wake-up: 0.1 to 0.5 ms on an idle virtual machine.
SHORTEST_STALL = 0.001
# Intervals that a run keeps: 90 KB of JSON. The longest are kept; the others are counted.
INTERVALS_LIMIT = 4000


@dataclass(frozen=True, slots=True)
class Stalls:
    """The stalls of one run, in seconds from its start.

    Args:
        count: number of stalls of SHORTEST_STALL and more.
        total: seconds for which the event loop was late, over all stalls.
        longest: longest stall.
        intervals: (start, end) of each listed stall, ascending, not overlapping. The start is the last instant at which
            the event loop is known to have run.
        unlisted: number of stalls that are not in `intervals`; none of them is longer than a listed one.
        unlisted_total: their seconds.
        unlisted_longest: the longest of them.
    """

    count: int = 0
    total: float = 0.0
    longest: float = 0.0
    intervals: tuple[tuple[float, float], ...] = ()
    unlisted: int = 0
    unlisted_total: float = 0.0
    unlisted_longest: float = 0.0


class StallRecorder:
    """Records stalls of one event loop, in bounded memory. O(1) amortized per stall; nothing per request."""

    def __init__(self, limit: int = INTERVALS_LIMIT) -> None:
        self._limit = limit
        self._intervals: list[tuple[float, float]] = []
        self._count = self._unlisted = 0
        self._total = self._longest = 0.0
        self._unlisted_total = self._unlisted_longest = 0.0

    def add(self, start: float, end: float, lateness: float) -> None:
        """Record a stall.

        Args:
            start: last instant at which the loop is known to have run, in seconds from the start of the run.
            end: instant at which it ran again.
            lateness: seconds for which it is known to have been late, at most `end - start`.
        """
        if lateness < SHORTEST_STALL:
            return
        self._count += 1
        self._total += lateness
        self._longest = max(self._longest, lateness)
        self._intervals.append((start, end))
        if len(self._intervals) >= 2 * self._limit:
            self._shorten()

    def _shorten(self) -> None:
        kept, left_out = keep_longest(union_of(self._intervals), self._limit)
        self._intervals = list(kept)
        self._unlisted += len(left_out)
        self._unlisted_total += sum(end - start for start, end in left_out)
        self._unlisted_longest = max([self._unlisted_longest, *(end - start for start, end in left_out)])

    def snapshot(self) -> Stalls:
        """Return the stalls so far."""
        self._shorten()
        return Stalls(
            self._count,
            self._total,
            self._longest,
            tuple((round(start, 6), round(end, 6)) for start, end in self._intervals),
            self._unlisted,
            self._unlisted_total,
            self._unlisted_longest,
        )


def union_of(intervals: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the intervals in ascending order, with those that overlap joined.

    Intervals that only touch stay apart: the loop ran between them, and read what had arrived.

    Example:
        >>> union_of([(2.0, 3.0), (0.0, 1.0), (0.5, 1.5), (3.0, 4.0)])
        [(0.0, 1.5), (2.0, 3.0), (3.0, 4.0)]
    """
    joined: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def keep_longest(
    intervals: Sequence[tuple[float, float]], limit: int
) -> tuple[Sequence[tuple[float, float]], Sequence[tuple[float, float]]]:
    """Return the `limit` longest intervals in their order, and the others."""
    if len(intervals) <= limit:
        return intervals, ()
    by_length = sorted(range(len(intervals)), key=lambda i: intervals[i][0] - intervals[i][1])
    kept = set(by_length[:limit])
    return (
        [interval for i, interval in enumerate(intervals) if i in kept],
        [interval for i, interval in enumerate(intervals) if i not in kept],
    )


def merge_stalls(parts: Sequence[Stalls]) -> Stalls:
    """Return the stalls of several generators whose runs began at one instant.

    The counts are added. Seconds are those of the generator with the most of them, as for other statistics; the
    intervals are joined, since a merged sample does not tell which generator sent it.
    """
    if len(parts) == 1:
        return parts[0]
    kept, left_out = keep_longest(union_of(i for part in parts for i in part.intervals), INTERVALS_LIMIT)
    lengths = [end - start for start, end in left_out]
    return Stalls(
        sum(part.count for part in parts),
        max((part.total for part in parts), default=0.0),
        max((part.longest for part in parts), default=0.0),
        tuple(kept),
        sum(part.unlisted for part in parts) + len(left_out),
        max((part.unlisted_total for part in parts), default=0.0) + sum(lengths),
        max([0.0, *lengths, *(part.unlisted_longest for part in parts)]),
    )
