"""What load to offer: the open and the closed loop. Pure values.

An open loop sends on schedule, whatever the target does. A closed loop has clients that wait for each answer before
they ask again. Carrying a load out is engine.py's.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from loadgen.errors import UsageError
from loadgen.validation import validate_duration, validate_int
from loadgen.workload.arrivals import Arrivals, compose_shard


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
            validate_duration(self.duration)
        elif math.isinf(self.arrivals.duration):
            raise UsageError("an open loop at an endless rate", hint="give it a duration in seconds")
        validate_int(self.max_in_flight, 1, "max_in_flight")

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
        validate_int(self.clients, 1, "clients")
        validate_int(self.seed, 0, "seed")
        compose_shard((0, 1), *self.part)
        if self.count is None and self.duration is None:
            raise UsageError("a closed loop without end", hint="give it a count of requests or a duration in seconds")
        if self.count is not None:
            validate_int(self.count, 1, "count")
        if self.duration is not None:
            validate_duration(self.duration)
        for pause in (self.think, self.backoff):
            if not isinstance(pause, Uniform) and not (math.isfinite(pause) and pause >= 0):
                raise UsageError(f"a pause of {pause!r} seconds", hint="0 or more")

    @property
    def connections(self) -> int:
        """The most requests in flight at once."""
        return self.clients

    def shard(self, index: int, count: int) -> Self | None:
        """Return the index-th of `count` shards, clients and requests divided exactly; None when none fall to it."""
        compose_shard(self.part, index, count)  # refuses what is no shard
        # As many shards as can have a client and a request each: one without a client would never send its requests.
        used = min(count, self.clients, count if self.count is None else self.count)
        if index >= used:
            return None
        return replace(
            self,
            clients=len(range(index, self.clients, used)),
            count=None if self.count is None else len(range(index, self.count, used)),
            seed=self.seed + index,
            part=compose_shard(self.part, index, used),
        )


Load = OpenLoop | ClosedLoop
