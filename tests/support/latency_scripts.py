"""Latency scripts: how long the oracle holds each request, and which latencies an open loop must then report.

Pure arithmetic. `due` maps the arrival of a request to the time of its response. `quantile` is the formula for the same
latencies with evenly spaced arrivals, with which a report is compared.
Times are float seconds from the first arrival.
"""

import heapq
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

# Steps of the golden ratio fill (0, 1) evenly: after n requests each share is right to within about 1/n, and slow
# requests are not periodic.
_GOLDEN = 0.6180339887498949


class Script(Protocol):
    """Decides when responses are due."""

    def due(self, arrived: float) -> float:
        """Return when the response to a request is due; called once for each request, in order."""
        ...

    def quantile(self, share: float, *, rate: float, duration: float) -> float:
        """Return the latency that this share of evenly spaced requests does not exceed."""
        ...


@dataclass(slots=True)
class Constant:
    """The same latency for every request."""

    latency: float = 0.02

    def due(self, arrived: float) -> float:
        """Return arrival plus latency."""
        return arrived + self.latency

    def quantile(self, share: float, *, rate: float, duration: float) -> float:
        """Return the latency."""
        return self.latency


@dataclass(slots=True)
class Mixture:
    """A few latencies in fixed shares; `edges` are the cumulative shares at which the next one begins."""

    latencies: tuple[float, ...] = (0.005, 0.02, 0.08, 0.3)
    edges: tuple[float, ...] = (0.70, 0.96, 0.997)
    count: int = field(default=0, repr=False)

    def due(self, arrived: float) -> float:
        """Return arrival plus the next latency."""
        self.count += 1
        share = self.count * _GOLDEN % 1.0
        return arrived + self.latencies[sum(share >= edge for edge in self.edges)]

    def quantile(self, share: float, *, rate: float, duration: float) -> float:
        """Return the latency whose share contains this one."""
        return self.latencies[sum(share > edge for edge in self.edges)]


@dataclass(slots=True)
class Stall:
    """Stop once: requests that arrive meanwhile wait for the end of the stall."""

    latency: float = 0.005
    at: float = 10.0
    stall_duration: float = 3.0

    def due(self, arrived: float) -> float:
        """Return arrival, or the end of the stall, plus latency."""
        is_held = self.at <= arrived < self.at + self.stall_duration
        return (self.at + self.stall_duration if is_held else arrived) + self.latency

    def quantile(self, share: float, *, rate: float, duration: float) -> float:
        """Return the latency of a share whose tail is spread evenly over the stall."""
        return self.latency + _tail_position(share, self.stall_duration / duration) * self.stall_duration


@dataclass(slots=True)
class PeriodicPause:
    """Stop periodically, as a garbage collector does."""

    latency: float = 0.005
    period: float = 1.0
    pause_duration: float = 0.1

    def due(self, arrived: float) -> float:
        """Return arrival, or the end of the pause, plus latency."""
        into = arrived % self.period
        return arrived + max(0.0, self.pause_duration - into) + self.latency

    def quantile(self, share: float, *, rate: float, duration: float) -> float:
        """Return the latency of a share whose tail is spread evenly over the pause."""
        return self.latency + _tail_position(share, self.pause_duration / self.period) * self.pause_duration


@dataclass(slots=True)
class SlowStart:
    """Start slow and become faster linearly."""

    latency: float = 0.005
    initial_latency: float = 0.4
    ramp_duration: float = 3.0

    def due(self, arrived: float) -> float:
        """Return arrival plus a latency that falls with time."""
        return (
            arrived + self.latency + (self.initial_latency - self.latency) * max(0.0, 1 - arrived / self.ramp_duration)
        )

    def quantile(self, share: float, *, rate: float, duration: float) -> float:
        """Return the latency of a share whose tail is spread evenly over the fall."""
        return self.latency + _tail_position(share, self.ramp_duration / duration) * (
            self.initial_latency - self.latency
        )


@dataclass(slots=True)
class FewSlow:
    """One request in every hundred is slow."""

    latency: float = 0.01
    slow_latency: float = 0.5
    period: int = 100
    count: int = field(default=0, repr=False)

    def due(self, arrived: float) -> float:
        """Return arrival plus one of two latencies."""
        self.count += 1
        return arrived + (self.slow_latency if self.count % self.period == 0 else self.latency)

    def quantile(self, share: float, *, rate: float, duration: float) -> float:
        """Return the slow latency for the last hundredth."""
        return self.slow_latency if share > 1 - 1 / self.period else self.latency


@dataclass(slots=True)
class Saturated:
    """Serve `slots` requests at once, each for the same time; others wait in a FIFO queue."""

    slots: int = 2
    latency: float = 0.02
    free: list[float] = field(default_factory=list, repr=False)

    def due(self, arrived: float) -> float:
        """Return when a slot will have served this request after all earlier ones."""
        start = arrived if len(self.free) < self.slots else max(arrived, heapq.heappop(self.free))
        heapq.heappush(self.free, start + self.latency)
        return start + self.latency

    def quantile(self, share: float, *, rate: float, duration: float) -> float:
        """Return the latency in a queue that grows by the arrivals that exceed the capacity."""
        return self.latency + share * duration * max(0.0, rate * self.latency / self.slots - 1)


def _tail_position(share: float, width: float) -> float:
    """Return how far into the last `width` of all requests a share lies: 0 before it, 1 at its end."""
    return max(0.0, (share - (1 - width)) / width)


SCRIPT_TYPES = {
    kind.__name__: kind for kind in (Constant, Mixture, Stall, PeriodicPause, SlowStart, FewSlow, Saturated)
}
_STATE_FIELDS = ("count", "free")


def to_json(script: Script) -> str:
    """Return the settings of a script as JSON, without its state."""
    values: Mapping[str, Any] = asdict(script)  # type: ignore[call-overload]
    return json.dumps({"kind": type(script).__name__} | {k: v for k, v in values.items() if k not in _STATE_FIELDS})


def from_json(text: str | bytes) -> Script:
    """Return the script that `to_json` wrote."""
    values = json.loads(text)
    kind: Any = SCRIPT_TYPES[values.pop("kind")]
    script: Script = kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
    return script
