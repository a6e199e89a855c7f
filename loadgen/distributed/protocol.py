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
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.sample import ErrorCode
from loadgen.measurement.tally import Tally, Window
from loadgen.workload.request import Request
from loadgen.workload.step import Step

_LENGTH_PREFIX = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """What must be the same on both ends, so that what they record can be joined."""

    loadgen: str
    python: str

    @classmethod
    def current(cls) -> "VersionInfo":
        """Return this process's."""
        return cls(version("loadgen"), ".".join(platform.python_version_tuple()[:2]))


# --- to a worker


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message: who directs, and what will be sent."""

    version_info: VersionInfo
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class PrepareShard:
    """Get ready to carry out a shard of a step.

    Args:
        step_id: of the order; every answer to it carries it.
        step: the shard.
        target: the endpoint, as a place that stands.
        identity: where it must be.
        seed, timeout, drain, grace: as in the engine.
        directory: where to write samples; empty to send them instead.
        file_suffix: which file of samples.
        counter_file: a file of 8 bytes that says how many requests were handed on, readable whatever becomes of the worker.
    """

    step_id: int
    step: Step
    target: Target
    identity: Identity
    seed: int
    timeout: float
    drain: float
    grace: float
    directory: str
    file_suffix: str
    counter_file: str


@dataclass(frozen=True, slots=True)
class Start:
    """Begin at an instant of the worker's own clock. Without it nothing is sent; it is given once."""

    step_id: int
    start_at: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Send no more."""

    step_id: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Tell the time."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Shutdown:
    """End."""


# --- from a worker


@dataclass(frozen=True, slots=True)
class HelloReply:
    """Who answers."""

    version_info: VersionInfo


@dataclass(frozen=True, slots=True)
class Pong:
    """What the worker's clock showed."""

    sequence: int
    worker_time: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The endpoint is open; `Start` may come."""

    step_id: int


@dataclass(frozen=True, slots=True)
class WindowClosed:
    """A window was closed."""

    step_id: int
    window: Window


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """How many errors and answers there have been."""

    step_id: int
    errors: int
    completed: int


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Samples as bytes."""

    step_id: int
    samples: bytes


@dataclass(frozen=True, slots=True)
class ErrorCodeDefined:
    """An error that was seen for the first time."""

    step_id: int
    error_code: ErrorCode


@dataclass(frozen=True, slots=True)
class ShardCompleted:
    """The shard is done: what the engine returned, without the samples."""

    step_id: int
    started: float
    duration: float
    stop_reason: str
    scheduled: int
    measurement_start: float
    tally: Tally
    generator_stats: GeneratorStats
    start_delay: float


@dataclass(frozen=True, slots=True)
class ShardFailed:
    """The shard could not be carried out: a LoadgenError in parts."""

    step_id: int
    error_type: str
    message: str
    hint: str
    details: tuple[str, ...]


async def read_messages(reader: asyncio.StreamReader) -> AsyncIterator[Any]:
    """Yield messages from a stream of ours until it ends; what is cut short is no message."""
    while True:
        try:
            (length,) = _LENGTH_PREFIX.unpack(await reader.readexactly(_LENGTH_PREFIX.size))
            content = await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        yield pickle.loads(content)  # noqa: S301 - from a process we started, or a peer with the run's secret


def encode_message(message: Any) -> bytes:
    """Return a message as bytes for a stream.

    Raises:
        pickle.PicklingError, AttributeError, TypeError: it holds what cannot leave this process.
    """
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH_PREFIX.pack(len(content)) + content
