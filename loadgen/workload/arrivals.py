"""Arrivals: the instants at which an open loop should send. The schedule is data, known before the first request.

Any shard of it sends exactly what the whole would have.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import UsageError
from loadgen.validation import validate_int
from loadgen.workload.rate import Rate

_CHUNK = 8192  # arrivals computed at a time: flat memory, and numpy's cost spread thin


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The instants at which an open loop should send; iterable again and again, each time the same.

    Built by `even`, `poisson` and `trace`. Iterating yields (seq, seconds from start), ascending; `seq` counts the
    whole schedule, so a shard's numbers have gaps.

    Args:
        rate: requests per second; None for a trace.
        seed: of the Poisson process; None for an even one.
        instants: of a trace, ascending seconds from its start.
        part: (which, of how many).

    Raises:
        UsageError: the seed is no whole number, the instants do not ascend from 0 on, or there is no such part.
    """

    rate: Rate | None = None
    seed: int | None = None
    instants: tuple[float, ...] = ()
    part: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        if self.seed is not None:
            validate_int(self.seed, 0, "seed")
        if not all(a <= b < math.inf for a, b in pairwise((0.0, *self.instants))):
            raise UsageError("a trace whose instants do not ascend from 0 on", hint="trace(...) sorts them")
        compose_shard((0, 1), *self.part)

    def shard(self, index: int, count: int) -> Self:
        """Return the index-th of `count` shards; together they are exactly the whole."""
        return replace(self, part=compose_shard(self.part, index, count))

    @property
    def duration(self) -> float:
        """Seconds until the schedule ends; infinite for an endless rate."""
        if self.rate is None:
            return self.instants[-1] if self.instants else 0.0
        return self.rate.duration

    def __iter__(self) -> Iterator[tuple[int, float]]:
        index, count = self.part
        for first, chunk in self._chunks():
            skip = (index - first) % count
            seqs = range(first + skip, first + len(chunk), count)
            yield from zip(seqs, chunk[skip::count].tolist(), strict=True)

    def _chunks(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield (seq of its first, instants) for the whole schedule."""
        if self.rate is None:
            yield 0, np.array(self.instants, dtype=np.float64)
            return
        first, reached = 0, 0.0
        random = None if self.seed is None else np.random.default_rng(self.seed)
        while True:
            if random is None:
                hits = np.arange(first, first + _CHUNK, dtype=np.float64)
            else:
                # A Poisson process of any rate is one of rate 1 seen through the inverse of its integral.
                hits = reached + np.cumsum(random.standard_exponential(_CHUNK))
                reached = float(hits[-1])
            due = self.rate.inverse_cumulative(hits)
            ended = int(np.searchsorted(due, math.inf))
            yield first, due[:ended]
            if ended < _CHUNK:
                return
            first += _CHUNK


def compose_shard(part: tuple[int, int], index: int, count: int) -> tuple[int, int]:
    """Return the shard of a shard: every `count`-th of what (which, of how many) already names.

    Raises:
        UsageError: there is no such shard.
    """
    if not 0 <= index < count:
        raise UsageError(f"shard {index} of {count}", hint="shards are numbered from 0")
    which, of = part
    return which + index * of, of * count


def even(rate: Rate) -> Arrivals:
    """Return arrivals at equal spacing of work: the n-th is due when the rate has summed up to n."""
    return Arrivals(rate)


def poisson(rate: Rate, seed: int) -> Arrivals:
    """Return arrivals of a Poisson process of this rate: independent users, bursts included. The seed decides them."""
    return Arrivals(rate, seed=seed)


def trace(
    instants: Sequence[float], *, start: float | None = None, end: float | None = None, speed: float = 1.0
) -> Arrivals:
    """Return arrivals replayed from recorded instants, the first of them at 0.

    Args:
        instants: seconds on any clock, in any order.
        start: leave out what came before this instant.
        end: leave out what came at or after this instant.
        speed: 2 replays in half the time.

    Raises:
        UsageError: nothing is left to replay, or an instant or the speed is not finite.
    """
    if not (math.isfinite(speed) and speed > 0):
        raise UsageError(f"a speed of {speed!r}", hint="give a factor above 0")
    kept = np.sort(np.array(list(instants), dtype=np.float64))
    if not np.isfinite(kept).all():
        raise UsageError("a trace holds an instant that is not finite")
    low = -math.inf if start is None else start
    kept = kept[(kept >= low) & (kept < (math.inf if end is None else end))]
    if not kept.size:
        raise UsageError("the trace has no instants in this window")
    origin = kept[0] if start is None else start
    return Arrivals(instants=tuple(((kept - origin) / speed).tolist()))
