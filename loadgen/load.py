"""What load to offer: rates, arrivals, and the open and the closed loop. Pure values: the schedule is data.

An open loop knows before its first request when every one of them should be sent, and any shard of it sends exactly
what the whole would have. A closed loop has clients that wait for each answer before they ask again.

Carrying a load out is engine.py's.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import UsageError

_CHUNK = 8192  # arrivals computed at a time: flat memory, and numpy's cost spread thin


def check_whole(value: object, least: int, what: str) -> None:
    """Refuse what is not a whole number of at least `least`: 1.5 clients, a seed of "x".

    Raises:
        UsageError: with what is allowed.
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise UsageError(f"{what} {value!r}", hint=f"a whole number, at least {least}")


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second as a function of time: straight lines between knots, jumps allowed.

    Args:
        knots: (seconds from start, requests per second), times ascending from 0. Two knots at one time are a jump.
            The rate holds its last value for ever when `is_endless`, else it ends with the last knot.

    Raises:
        UsageError: a rate is negative or not finite, or the times do not ascend from 0.
    """

    knots: tuple[tuple[float, float], ...]
    is_endless: bool = False

    def __post_init__(self) -> None:
        times = [t for t, _ in self.knots]
        if not times or times[0] != 0 or any(b < a for a, b in pairwise(times)):
            raise UsageError(f"rate with knots at {times}", hint="times must start at 0 and ascend")
        if any(not (math.isfinite(t) and math.isfinite(r) and r >= 0) for t, r in self.knots):
            raise UsageError(f"rate {self.knots}", hint="rates and times must be finite, rates not below 0")
        if max(r for _, r in self.knots) == 0:
            raise UsageError("a rate of 0 throughout sends nothing", hint="give a rate above 0")

    @property
    def duration(self) -> float:
        """Seconds until the rate ends; infinite when it is endless."""
        return math.inf if self.is_endless else self.knots[-1][0]

    def at(self, t: float) -> float:
        """Return the rate at t seconds, in requests per second; 0 outside the rate's duration."""
        if t < 0 or t > self.duration:
            return 0.0
        after = bisect_right(self.knots, t, key=lambda knot: knot[0])
        t0, r0 = self.knots[after - 1]
        if after == len(self.knots):
            return r0
        t1, r1 = self.knots[after]
        return r0 + (r1 - r0) * (t - t0) / (t1 - t0)

    def hits(self, t: float) -> float:
        """Return how many requests are due before t seconds: the integral of `at` from 0 to t."""
        t = min(max(t, 0.0), self.duration)
        total = 0.0
        for (t0, r0), (t1, r1) in pairwise(self.knots):
            if t <= t0:
                return total
            end = min(t, t1)
            share = (end - t0) / (t1 - t0) if t1 > t0 else 0.0
            total += (end - t0) * (r0 + (r0 + (r1 - r0) * share)) / 2
        return total + max(0.0, t - self.knots[-1][0]) * self.knots[-1][1]

    def when(self, hits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the seconds at which each of these many requests is due: the inverse of `hits`, in closed form.

        Args:
            hits: cumulative requests, ascending, shape (n,).

        Returns:
            Seconds, shape (n,); infinite beyond what the rate ever reaches.
        """
        due = np.full(hits.shape, math.inf)
        begun = 0.0
        for (t0, r0), (t1, r1) in pairwise(self.knots):
            area = (t1 - t0) * (r0 + r1) / 2
            # The last instant belongs to the next segment, so that an arrival at a knot is counted once.
            inside = (hits >= begun) & (hits < begun + area)
            due[inside] = t0 + _solve(hits[inside] - begun, r0, (r1 - r0) / (t1 - t0) if t1 > t0 else 0.0)
            begun += area
        if self.is_endless and self.knots[-1][1] > 0:
            beyond = hits >= begun
            due[beyond] = self.knots[-1][0] + (hits[beyond] - begun) / self.knots[-1][1]
        return due


def _solve(area: NDArray[np.float64], rate: float, slope: float) -> NDArray[np.float64]:
    """Return x with rate * x + slope * x^2 / 2 = area; the form of the root that does not cancel for a small slope."""
    if slope == 0:
        return area / rate
    root = np.sqrt(np.maximum(rate * rate + 2 * slope * area, 0.0))
    divisor = rate + root
    # area 0 at a rate that starts from 0 is due at once, not 0 / 0.
    return np.divide(2 * area, divisor, out=np.zeros_like(area), where=divisor > 0)


def constant(rate: float) -> Rate:
    """Return a rate that never changes and never ends.

    Example:
        >>> constant(50).hits(10)
        500.0
    """
    return Rate(((0.0, rate),), is_endless=True)


def ramp(start: float, end: float, over: float) -> Rate:
    """Return a rate that goes from `start` to `end` requests per second over these seconds, and ends there.

    Example:
        >>> ramp(0, 100, over=60).hits(60)
        3000.0
    """
    return Rate(((0.0, start), (_seconds(over), end)))


def stages(*steps: tuple[float, float], start: float = 0.0) -> Rate:
    """Return a rate that reaches each stage's requests per second in a straight line over its seconds.

    Args:
        steps: (seconds, requests per second); a stage at the rate of the one before it holds that rate, one of 0
            seconds jumps.
        start: the rate at the beginning.

    Example:
        >>> stages((10, 20), (60, 20), (0, 80), (5, 80)).duration
        75.0
    """
    knots = [(0.0, start)]
    for seconds, rate in steps:
        knots.append((knots[-1][0] + _seconds(seconds, zero=True), rate))
    return Rate(tuple(knots))


def _seconds(value: float, *, zero: bool = False) -> float:
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise UsageError(f"a duration of {value!r} seconds", hint="durations must be finite and above 0")
    return float(value)


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
            check_whole(self.seed, 0, "seed")
        if not all(a <= b < math.inf for a, b in pairwise((0.0, *self.instants))):
            raise UsageError("a trace whose instants do not ascend from 0 on", hint="trace(...) sorts them")
        _part((0, 1), *self.part)

    def shard(self, index: int, count: int) -> Self:
        """Return the index-th of `count` shards; together they are exactly the whole."""
        return replace(self, part=_part(self.part, index, count))

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
            due = self.rate.when(hits)
            ended = int(np.searchsorted(due, math.inf))
            yield first, due[:ended]
            if ended < _CHUNK:
                return
            first += _CHUNK


def _part(part: tuple[int, int], index: int, count: int) -> tuple[int, int]:
    """Return the shard of a shard: every `count`-th of what (which, of how many) already names."""
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


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Send on schedule, whatever the target does: what a service with many independent users sees.

    Args:
        arrivals: when to send.
        duration: seconds after which nothing more is sent; None for the arrivals' own.
        max_in_flight: requests that may be unanswered at once. What would exceed it is counted as dropped, never
            sent late; it also bounds this machine's memory and connections.

    Raises:
        UsageError: neither the arrivals nor the duration ever end.
    """

    arrivals: Arrivals
    duration: float | None = None
    max_in_flight: int = 1000

    def __post_init__(self) -> None:
        if not isinstance(self.arrivals, Arrivals):
            raise UsageError(f"arrivals of type {type(self.arrivals).__name__}", hint="give even(...) or poisson(...)")
        if self.duration is not None:
            _seconds(self.duration)
        elif math.isinf(self.arrivals.duration):
            raise UsageError("an open loop at an endless rate", hint="give it a duration in seconds")
        check_whole(self.max_in_flight, 1, "max_in_flight")

    def __iter__(self) -> Iterator[tuple[int, float]]:
        for seq, due in self.arrivals:
            if self.duration is not None and due >= self.duration:
                return
            yield seq, due

    @property
    def connections(self) -> int:
        """The most requests in flight at once."""
        return self.max_in_flight

    def shard(self, index: int, count: int) -> Self:
        """Return the index-th of `count` shards: its arrivals, and its share of `max_in_flight`."""
        arrivals = self.arrivals.shard(index, count)
        return replace(self, arrivals=arrivals, max_in_flight=max(1, len(range(index, self.max_in_flight, count))))


@dataclass(frozen=True, slots=True)
class Uniform:
    """A pause drawn evenly between two bounds, in seconds."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.high and math.isfinite(self.high)):
            raise UsageError(f"a pause between {self.low!r} and {self.high!r} seconds")


Pause = float | Uniform


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """Let clients call, wait for the answer, and call again: what a fixed number of workers does to a service.

    Args:
        clients: how many call at once.
        count: requests in all, shared by the clients; None for no bound.
        duration: seconds after which nothing more is sent; None for no bound.
        think: seconds a client pauses after each answer.
        backoff: seconds a client pauses instead after a refusal or a failure. Without it a refused client calls again
            at once, and the share of throttles measures this machine's speed, not the endpoint.
        seed: of pauses that are drawn.

    Raises:
        UsageError: there is no bound, or a number is out of its range.
    """

    clients: int
    count: int | None = None
    duration: float | None = None
    think: Pause = 0.0
    backoff: Pause = 0.1
    seed: int = 0
    part: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        check_whole(self.clients, 1, "clients")
        check_whole(self.seed, 0, "seed")
        _part((0, 1), *self.part)
        if self.count is None and self.duration is None:
            raise UsageError("a closed loop without end", hint="give it a count of requests or a duration in seconds")
        if self.count is not None:
            check_whole(self.count, 1, "count")
        if self.duration is not None:
            _seconds(self.duration)
        for pause in (self.think, self.backoff):
            if not isinstance(pause, Uniform) and not (math.isfinite(pause) and pause >= 0):
                raise UsageError(f"a pause of {pause!r} seconds", hint="0 or more")

    @property
    def connections(self) -> int:
        """The most requests in flight at once."""
        return self.clients

    def shard(self, index: int, count: int) -> Self | None:
        """Return the index-th of `count` shards, clients and requests divided exactly; None when none fall to it."""
        _part(self.part, index, count)  # refuses what is no shard
        # As many shards as can have a client and a request each: one without a client would never send its requests.
        used = min(count, self.clients, count if self.count is None else self.count)
        if index >= used:
            return None
        return replace(
            self,
            clients=len(range(index, self.clients, used)),
            count=None if self.count is None else len(range(index, self.count, used)),
            seed=self.seed + index,
            part=_part(self.part, index, used),
        )


Load = OpenLoop | ClosedLoop
