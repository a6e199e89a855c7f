"""Arrivals: the schedule of an open loop, known before the first request is sent.

The shards of a schedule together send exactly the requests of the whole, at the same instants.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import UsageError
from loadgen.validation import is_number, to_int
from loadgen.workload.rate import Rate
from loadgen.workload.timestamps import to_instants

_CHUNK = 8192  # arrivals computed at a time: bounds memory, and amortizes numpy's overhead for each call


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The instants at which an open loop sends its requests. Each iteration yields the same instants.

    Built by `even`, `poisson` and `trace`. Iterating yields (seq, seconds from the start), ascending. `seq` numbers
    the requests of the whole schedule, so the numbers of a shard have gaps.

    Args:
        rate: requests per second; None for a trace.
        seed: seed of a Poisson process; None for evenly spaced arrivals.
        instants: the instants of a trace, ascending, in seconds from its start.
        part: (index, count) of the shard.

    Raises:
        UsageError: the seed is not an integer of at least 0, the instants are not ascending from 0, or the shard does
            not exist.
    """

    rate: Rate | None = None
    seed: int | None = None
    instants: tuple[float, ...] = ()
    part: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        if self.seed is not None:
            object.__setattr__(self, "seed", to_int(self.seed, "seed", 0))
        if not all(a <= b < math.inf for a, b in pairwise((0.0, *self.instants))):
            raise UsageError("trace instants are not ascending from 0", hint="trace(...) sorts them")
        compose_shard((0, 1), *self.part)

    def shard(self, index: int, count: int) -> Self:
        """Return the index-th of `count` shards, which together are exactly the whole."""
        return replace(self, part=compose_shard(self.part, index, count))

    @property
    def duration(self) -> float:
        """Seconds until the schedule ends; infinite for an unbounded rate."""
        if self.rate is None:
            return self.instants[-1] if self.instants else 0.0
        return self.rate.duration

    @property
    def peak_rate(self) -> float:
        """The largest number of requests that this shard sends in one second, on average over a Poisson process."""
        if self.rate is not None:
            return max(rate for _, rate in self.rate.knots) / self.part[1]
        instants = np.array(self.instants, dtype=np.float64)
        within = np.searchsorted(instants, instants + 1.0) - np.arange(len(instants))
        return float(within.max(initial=0)) / self.part[1]

    def __iter__(self) -> Iterator[tuple[int, float]]:
        index, count = self.part
        for first, chunk in self._chunks():
            skip = (index - first) % count
            seqs = range(first + skip, first + len(chunk), count)
            yield from zip(seqs, chunk[skip::count].tolist(), strict=True)

    def _chunks(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield (seq of the first arrival, instants) for each chunk of the whole schedule."""
        if self.rate is None:
            yield 0, np.array(self.instants, dtype=np.float64)
            return
        first, reached = 0, 0.0
        random = None if self.seed is None else np.random.default_rng(self.seed)
        while True:
            if random is None:
                counts = np.arange(first, first + _CHUNK, dtype=np.float64)
            else:
                # A Poisson process of any rate is a process of rate 1, mapped by the inverse of the rate's integral.
                counts = reached + np.cumsum(random.standard_exponential(_CHUNK))
                reached = float(counts[-1])
            due = self.rate.inverse_cumulative(counts)
            ended = int(np.searchsorted(due, math.inf))
            yield first, due[:ended]
            if ended < _CHUNK:
                return
            first += _CHUNK


def compose_shard(part: tuple[int, int], index: int, count: int) -> tuple[int, int]:
    """Return the index-th of `count` shards of a shard, as (index, count) of the whole.

    Raises:
        UsageError: `index` is not in 0..count-1.
    """
    if not 0 <= index < count:
        raise UsageError(f"shard index is {index} with {count} shards", hint=f"must be 0 to {count - 1}")
    part_index, part_count = part
    return part_index + index * part_count, part_count * count


def even(rate: Rate) -> Arrivals:
    """Return evenly spaced arrivals: the n-th is due when the integral of the rate reaches n."""
    return Arrivals(rate)


def poisson(rate: Rate, seed: int) -> Arrivals:
    """Return arrivals of a Poisson process: independent users, with random bursts that the seed determines."""
    return Arrivals(rate, seed=seed)


def trace(instants: Iterable[Any], *, start: Any = None, end: Any = None, speed: float = 1.0) -> Arrivals:
    """Return arrivals that replay recorded instants; the earliest one, or `start` if it is given, becomes 0.

    Args:
        instants: seconds on any clock, ISO 8601 texts, or datetimes and timedeltas of Python, numpy or pandas, in any
            order. Times without an offset are UTC.
        start: omit instants before this one; as one of `instants`.
        end: omit instants at or after this one.
        speed: factor of the replay speed; 2 replays in half the time.

    Raises:
        UsageError: no instants are left, a value is not a time, not finite, or 1e11 seconds or more, or the speed is
            not finite and above 0.
    """
    if not (is_number(speed) and math.isfinite(speed) and speed > 0):
        raise UsageError(f"speed is {speed!r}", hint="must be finite and above 0")
    kept = np.sort(to_instants(instants, "the trace"))
    low = -math.inf if start is None else float(to_instants([start], "start")[0])
    high = math.inf if end is None else float(to_instants([end], "end")[0])
    kept = kept[(kept >= low) & (kept < high)]
    if not kept.size:
        raise UsageError("the trace has no instants between start and end")
    origin = kept[0] if start is None else low
    return Arrivals(instants=tuple(((kept - origin) / speed).tolist()))
