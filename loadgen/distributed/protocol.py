"""Messages between the process that directs a run and its workers, and how they travel over a stream of bytes.

Pickled, since both ends are the same loadgen: a stream is read only from a process we started, or from a peer that
has shown the run's secret.
"""

import asyncio
import pickle
import platform
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from loadgen.interfaces import Identity, Target
from loadgen.measurement.generator_stats import Watch
from loadgen.measurement.sample import Code
from loadgen.measurement.tally import Tally, Window
from loadgen.workload.request import Request
from loadgen.workload.step import Step

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Badge:
    """What must be the same on both ends, so that what they record can be joined."""

    loadgen: str
    python: str

    @classmethod
    def own(cls) -> "Badge":
        """Return this process's."""
        return cls(version("loadgen"), ".".join(platform.python_version_tuple()[:2]))


# --- to a worker


@dataclass(frozen=True, slots=True)
class Hired:
    """The first message: who directs, and what will be sent."""

    badge: Badge
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """Get ready to carry out a shard of a step.

    Args:
        number: of the order; every answer to it carries it.
        step: the shard.
        target: the endpoint, as a place that stands.
        identity: where it must be.
        seed, timeout, drain, grace: as in the engine.
        directory: where to write samples; empty to send them instead.
        part: which file of samples.
        counter: a file of 8 bytes that says how many requests were handed on, readable whatever becomes of the worker.
    """

    number: int
    step: Step
    target: Target
    identity: Identity
    seed: int
    timeout: float
    drain: float
    grace: float
    directory: str
    part: str
    counter: str


@dataclass(frozen=True, slots=True)
class Go:
    """Begin at an instant of the worker's own clock. Without it nothing is sent; it is given once."""

    number: int
    start: float


@dataclass(frozen=True, slots=True)
class Halt:
    """Send no more."""

    number: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Tell the time."""

    mark: int


@dataclass(frozen=True, slots=True)
class Dismissed:
    """End."""


# --- from a worker


@dataclass(frozen=True, slots=True)
class Introduced:
    """Who answers."""

    badge: Badge


@dataclass(frozen=True, slots=True)
class Pong:
    """What the worker's clock showed."""

    mark: int
    now: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The endpoint is open; `Go` may come."""

    number: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A window was closed."""

    number: int
    window: Window


@dataclass(frozen=True, slots=True)
class Erred:
    """How many errors and answers there have been."""

    number: int
    errors: int
    answers: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples as bytes."""

    number: int
    samples: bytes


@dataclass(frozen=True, slots=True)
class Named:
    """An error that was seen for the first time."""

    number: int
    code: Code


@dataclass(frozen=True, slots=True)
class Ended:
    """The shard is done: what the engine returned, without the samples."""

    number: int
    started: float
    duration: float
    ended_by: str
    scheduled: int
    measured_from: float
    tally: Tally
    watch: Watch
    late: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The shard could not be carried out: a LoadgenError in parts."""

    number: int
    kind: str
    message: str
    hint: str
    details: tuple[str, ...]


async def received(reader: asyncio.StreamReader) -> AsyncIterator[Any]:
    """Yield messages from a stream of ours until it ends; what is cut short is no message."""
    while True:
        try:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            content = await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        yield pickle.loads(content)  # noqa: S301 - from a process we started, or a peer with the run's secret


def framed(message: Any) -> bytes:
    """Return a message as bytes for a stream.

    Raises:
        pickle.PicklingError, AttributeError, TypeError: it holds what cannot leave this process.
    """
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(content)) + content
