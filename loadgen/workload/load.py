"""The load models: OpenLoop and ClosedLoop, as values.

An open loop sends on schedule, independent of the target. A closed loop has clients that wait for each reply before
they send again. The engine (engine/load_drivers.py) runs them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from loadgen.errors import UsageError
from loadgen.validation import to_int, validate_duration
from loadgen.workload.arrivals import Arrivals, compose_shard


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Send on schedule, independent of the target: the load of many independent users.

    Args:
        arrivals: the schedule.
        duration: seconds after which no more requests are sent; None for the duration of the arrivals.
        max_in_flight: maximum number of requests without a reply. An arrival beyond it is recorded as dropped and never
            sent late. It also bounds the memory and the connections of this machine.

    Raises:
        UsageError: neither the arrivals nor the duration is bounded, or a value is out of range.
    """

    arrivals: Arrivals
    duration: float | None = None
    max_in_flight: int = 1000

    def __post_init__(self) -> None:
        if not isinstance(self.arrivals, Arrivals):
            raise UsageError(
                f"arrivals are of type {type(self.arrivals).__name__}", hint="use even(...), poisson(...) or trace(...)"
            )
        if self.duration is not None:
            validate_duration(self.duration)
        elif math.isinf(self.arrivals.duration):
            raise UsageError("open loop without end: the rate is unbounded", hint="set a duration in seconds")
        object.__setattr__(self, "max_in_flight", to_int(self.max_in_flight, "max_in_flight", 1))

    def __iter__(self) -> Iterator[tuple[int, float]]:
        for seq, due in self.arrivals:
            if self.duration is not None and due >= self.duration:
                return
            yield seq, due

    @property
    def connections(self) -> int:
        """Maximum number of requests in flight."""
        return self.max_in_flight

    def shard(self, index: int, count: int) -> Self:
        """Return the index-th of `count` shards, with its arrivals and its share of `max_in_flight`."""
        arrivals = self.arrivals.shard(index, count)
        return replace(self, arrivals=arrivals, max_in_flight=max(1, len(range(index, self.max_in_flight, count))))


@dataclass(frozen=True, slots=True)
class Uniform:
    """A random pause, uniformly distributed between two bounds.

    Args:
        low: shortest pause, in seconds.
        high: longest pause, in seconds.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.high and math.isfinite(self.high)):
            raise UsageError(
                f"pause is between {self.low!r} and {self.high!r} seconds", hint="must be 0 <= low <= high, and finite"
            )


Pause = float | Uniform


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """Run clients that each send a request, wait for the reply, pause and repeat: a fixed number of callers.

    Args:
        clients: number of concurrent clients.
        count: total number of requests, shared by the clients; None for no limit.
        duration: seconds after which no more requests are sent; None for no limit.
        think: seconds that a client pauses after a successful reply.
        backoff: seconds that a client pauses after a throttled or failed request. With 0 a throttled client sends again
            at once, and the throttled share then measures this machine's speed instead of the endpoint.
        seed: seed of random pauses.
        part: (index, count) of the shard.
        ramp_up: seconds over which the clients start, evenly spread; 0 to start all of them at once, which with think
            times is a burst that does not occur again.

    Raises:
        UsageError: neither `count` nor `duration` is set, or a value is out of range.
    """

    clients: int
    count: int | None = None
    duration: float | None = None
    think: Pause = 0.0
    backoff: Pause = 0.1
    seed: int = 0
    part: tuple[int, int] = (0, 1)
    ramp_up: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "clients", to_int(self.clients, "clients", 1))
        object.__setattr__(self, "seed", to_int(self.seed, "seed", 0))
        compose_shard((0, 1), *self.part)
        if self.count is None and self.duration is None:
            raise UsageError("closed loop without end", hint="set a count of requests or a duration in seconds")
        if self.count is not None:
            object.__setattr__(self, "count", to_int(self.count, "count", 1))
        if self.duration is not None:
            validate_duration(self.duration)
        if not 0 <= self.ramp_up < math.inf:
            raise UsageError(f"ramp_up is {self.ramp_up!r} seconds", hint="must be finite and at least 0")
        for pause in (self.think, self.backoff):
            if not isinstance(pause, Uniform) and not (math.isfinite(pause) and pause >= 0):
                raise UsageError(f"pause is {pause!r} seconds", hint="must be finite and at least 0")

    @property
    def connections(self) -> int:
        """Maximum number of requests in flight."""
        return self.clients

    def shard(self, index: int, count: int) -> Self | None:
        """Return the index-th of `count` shards, or None when it would have no client or no request.

        Clients and requests are divided exactly.
        """
        compose_shard(self.part, index, count)  # validates index and count
        # Use only as many shards as can have a client and a request: one without a client would not send its requests.
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
