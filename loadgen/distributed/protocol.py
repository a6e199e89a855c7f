"""The protocol: the messages between the coordinator of a run and its workers.

Messages are pickled, since both ends run the same version of loadgen, which the handshake checks.
"""

import platform
from dataclasses import dataclass
from importlib.metadata import version

from loadgen.interfaces import Identity, Target
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.sample import ErrorCode
from loadgen.measurement.tally import Tally, Window
from loadgen.workload.request import Request
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """The versions that must be equal on both ends, so that their samples can be merged."""

    loadgen: str
    python: str

    @classmethod
    def current(cls) -> "VersionInfo":
        """Return the versions of this process."""
        return cls(version("loadgen"), ".".join(platform.python_version_tuple()[:2]))

    def __str__(self) -> str:
        return f"loadgen {self.loadgen} on Python {self.python}"


# --- to a worker


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message: the coordinator's versions, and the payloads of the run."""

    version_info: VersionInfo
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class PrepareShard:
    """Open the endpoint and wait for `Start`.

    Args:
        step_id: identifies the step in all further messages.
        step: the shard.
        target: the existing endpoint.
        identity: the account in which the endpoint must be.
        seed: as in the engine.
        timeout: as in the engine.
        drain: as in the engine.
        grace: as in the engine.
        directory: the run's directory, to write samples there; empty to send them as messages.
        file_suffix: suffix of the sample file's name.
        counter_file: path of an 8-byte file that receives the number of requests sent; empty for none. The coordinator
            reads it when the worker is lost.
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
    """Start the load at an instant of the worker's clock. A worker sends no request before it receives this."""

    step_id: int
    start_at: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the load."""

    step_id: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask for the worker's clock."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Exit."""


# --- from a worker


@dataclass(frozen=True, slots=True)
class HelloReply:
    """Reply to `Hello`: the worker's versions."""

    version_info: VersionInfo


@dataclass(frozen=True, slots=True)
class Pong:
    """Reply to `Ping`: the worker's clock, in seconds."""

    sequence: int
    worker_time: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The endpoint is open."""

    step_id: int


@dataclass(frozen=True, slots=True)
class WindowClosed:
    """A window of the shard is complete. Also the heartbeat: one is sent each second."""

    step_id: int
    window: Window


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """The numbers of errors and of completed requests so far, for the step's error limit."""

    step_id: int
    errors: int
    completed: int


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Samples, as the bytes of an array of dtype SAMPLE."""

    step_id: int
    samples: bytes


@dataclass(frozen=True, slots=True)
class ErrorCodeDefined:
    """A new entry of the shard's table of error codes."""

    step_id: int
    error_code: ErrorCode


@dataclass(frozen=True, slots=True)
class ShardCompleted:
    """The load has ended: the run as the engine returned it, without the samples."""

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
    """The shard failed: the parts of a LoadgenError."""

    step_id: int
    error_type: str
    message: str
    hint: str
    details: tuple[str, ...]
