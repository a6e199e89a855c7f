"""Worker handles: the coordinator's view of its workers, and the connection to each of them.

Each environment implements `WorkerConnection`: local processes and Dask workers.
"""

import asyncio
import itertools
import pickle
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from loadgen.distributed.protocol import Hello, HelloReply, Ping, Pong, Shutdown, VersionInfo
from loadgen.engine import engine
from loadgen.errors import ConfigError, ResourceError, UnavailableError
from loadgen.interfaces import Target
from loadgen.workload.request import Request

_HANDSHAKE_TIMEOUT = 120.0  # seconds for all workers to reply; an interpreter starts slowly on a busy machine
_CLOCK_SYNC_ROUNDS = 9  # the fastest round bounds the clock offset best


class WorkerConnection(Protocol):
    """A connection to one worker.

    `name` identifies the worker, `shares_filesystem` and `shares_clock` are True when it runs on this machine, and
    `duplicate_starts` counts the further attempts to start it.
    """

    name: str
    shares_filesystem: bool
    shares_clock: bool
    duplicate_starts: int

    def send(self, message: Any) -> None:
        """Send a message, without waiting; a message to a worker that is gone is dropped."""
        ...

    def messages(self) -> AsyncIterator[Any]:
        """Yield the worker's messages until it is gone."""
        ...

    async def exit_reason(self) -> str:
        """Return a phrase that follows "the worker", such as "closed its connection", once its messages have ended."""
        ...

    def abort(self) -> None:
        """Close the connection to a worker that does not respond; a local one is killed."""
        ...


@dataclass(slots=True)
class WorkerHandle:
    """One worker as the coordinator sees it.

    Args:
        connection: the connection to it.
        clock_offset: seconds; the worker's clock minus the coordinator's.
        clock_uncertainty: seconds by which `clock_offset` may be wrong.
        lost_reason: why the worker is gone; empty while it is connected.
        handlers: by step id, receives the worker's messages about the step, and None when the worker is gone.
        last_seen: the time of the last message, on the coordinator's clock.
        version_info: the worker's versions; None before its handshake.
    """

    connection: WorkerConnection
    clock_offset: float = 0.0
    clock_uncertainty: float = 0.0
    lost_reason: str = ""
    handlers: dict[int, Callable[[Any], None]] = field(default_factory=dict)
    last_seen: float = 0.0
    version_info: VersionInfo | None = None
    ping_sequence: Iterator[int] = field(default_factory=itertools.count)
    pongs: dict[int, float] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def dispatch_messages(self) -> None:
        """Dispatch the worker's messages until it is gone; then send None to the handlers that are left."""
        async for message in self.connection.messages():
            self.last_seen = time.perf_counter()
            if isinstance(message, HelloReply):
                self.version_info = message.version_info
                self.changed.set()
            elif isinstance(message, Pong):
                self.pongs[message.sequence] = message.worker_time
                self.changed.set()
            elif message.step_id in self.handlers:
                self.handlers[message.step_id](message)
        self.lost_reason = self.lost_reason or await self.connection.exit_reason()
        self.changed.set()
        for handler in list(self.handlers.values()):
            handler(None)

    def has_replied(self) -> bool:
        """Return whether the worker has completed its handshake."""
        return self.version_info is not None

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a message of the worker has made the condition true, or the worker is gone."""
        while not condition() and not self.lost_reason:
            self.changed.clear()
            await self.changed.wait()

    async def sync_clock(self) -> None:
        """Measure the worker's clock: it was read between the sending of a ping and the arrival of its pong.

        Called before and after each step; the uncertainty covers the drift between the calls.
        """
        if self.connection.shares_clock:
            return
        best = (float("inf"), 0.0)
        for sequence in itertools.islice(self.ping_sequence, _CLOCK_SYNC_ROUNDS):
            sent_at = time.perf_counter()
            self.connection.send(Ping(sequence))
            await self.wait_until(partial(self.pongs.__contains__, sequence))
            if self.lost_reason:
                return
            received_at = time.perf_counter()
            best = min(best, ((received_at - sent_at) / 2, self.pongs.pop(sequence) - (sent_at + received_at) / 2))
        bound, offset = best
        drift = abs(offset - self.clock_offset) if self.clock_uncertainty else 0.0
        self.clock_offset, self.clock_uncertainty = offset, max(self.clock_uncertainty, bound, drift)


@asynccontextmanager
async def open_workers(
    connections: Sequence[WorkerConnection], requests: Sequence[Request], log: Callable[[str], None]
) -> AsyncIterator[Sequence[WorkerHandle]]:
    """Shake hands with workers and send them the requests; shut them down when the context exits.

    Raises:
        ConfigError: a worker runs another version.
        ResourceError: a worker ended before its handshake.
        UnavailableError: a worker did not reply in time.
    """
    workers = [WorkerHandle(connection) for connection in connections]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(worker.dispatch_messages()) for worker in workers]
            try:
                for worker in workers:
                    worker.connection.send(Hello(VersionInfo.current(), tuple(requests)))
                await _await_handshakes(workers)
                log(f"{len(workers)} workers: {', '.join(worker.connection.name for worker in workers)}")
                yield workers
            finally:
                for worker in workers:
                    worker.connection.send(Shutdown())
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as group_error:
        raise engine.first_exception(group_error) from group_error


async def _await_handshakes(workers: Sequence[WorkerHandle]) -> None:
    try:
        async with asyncio.timeout(_HANDSHAKE_TIMEOUT):
            for worker in workers:
                await worker.wait_until(worker.has_replied)
                await worker.sync_clock()
    except TimeoutError as error:
        silent = [worker.connection.name for worker in workers if not worker.has_replied()]
        raise UnavailableError(f"no reply from {', '.join(silent)} within {_HANDSHAKE_TIMEOUT:g} s") from error
    for worker in workers:
        if worker.lost_reason:
            raise ResourceError(
                f"{worker.connection.name} {worker.lost_reason} before its first step", hint="use fewer workers"
            )
        if worker.version_info != VersionInfo.current():
            raise ConfigError(
                f"{worker.connection.name} runs {worker.version_info}, this process runs {VersionInfo.current()}",
                hint="install the same versions on both; samples of different versions cannot be merged",
            )


def check_supports_workers(target: Target) -> None:
    """Check that other processes can call the endpoints of a target.

    Raises:
        ConfigError: the target has no method `for_workers`, or cannot be pickled.
    """
    if not callable(getattr(target, "for_workers", None)):
        raise ConfigError(
            f"{type(target).__name__} supports one process only",
            hint="leave out --workers, or give the target a method for_workers(account, endpoint)",
        )
    try:
        pickle.dumps(target)
    except Exception as error:  # the pickle hooks of foreign types may raise anything
        raise ConfigError(
            f"{type(target).__name__} cannot be pickled for another process: {error}",
            hint="define it in a module of its own, beside the scenario file",
        ) from error
