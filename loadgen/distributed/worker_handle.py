"""Crew: who carries a step out once its endpoint is open. One process alone, or several workers with a shard each.

This is the one place where the two differ: deploying, collecting and removing is always the process that directs.
How workers are started and reached is processes.py's, dask.py's and instances.py's; what a worker does is hand.py's.
"""

import asyncio
import itertools
import pickle
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from loadgen.distributed.protocol import Hello, HelloReply, Ping, Pong, Shutdown, VersionInfo
from loadgen.engine import engine
from loadgen.errors import ConfigError, ResourceError, UnavailableError
from loadgen.interfaces import Target
from loadgen.workload.request import Request

_HANDSHAKE_TIMEOUT = 120.0  # seconds until every worker has answered: an interpreter on a busy machine, or a far one
_CLOCK_SYNC_ROUNDS = 9  # the fastest of them bounds a clock best


class WorkerConnection(Protocol):
    """The way to one worker.

    `name` says which it is; `shares_filesystem` and `shares_clock` whether it runs on this machine.
    """

    name: str
    shares_filesystem: bool
    shares_clock: bool
    duplicate_starts: int

    def send(self, message: Any) -> None:
        """Send a message; to a worker that is gone it is lost. Returns at once."""
        ...

    def messages(self) -> AsyncIterator[Any]:
        """Yield what the worker says, until it is gone."""
        ...

    async def exit_reason(self) -> str:
        """Say in a few words why it is gone, once its messages have ended."""
        ...

    def abort(self) -> None:
        """End a worker that is silent."""
        ...


@dataclass(slots=True)
class WorkerHandle:
    """One worker as the director knows it.

    Args:
        connection: the way to it.
        clock_offset: what its clock shows when ours shows 0.
        clock_uncertainty: seconds by which `clock_offset` may be wrong.
        lost_reason: why it is gone; empty while it is not.
        handlers: takes its messages, by the number of an order.
        last_seen: when it said anything last, on our clock.
    """

    connection: WorkerConnection
    clock_offset: float = 0.0
    clock_uncertainty: float = 0.0
    lost_reason: str = ""
    handlers: dict[int, Callable[["WorkerHandle", Any], None]] = field(default_factory=dict)
    last_seen: float = 0.0
    version_info: VersionInfo | None = None
    ping_sequence: Iterator[int] = field(default_factory=itertools.count)
    pongs: dict[int, float] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def dispatch_messages(self) -> None:
        """Pass its messages on until it is gone; then tell every order that still counts on it."""
        async for message in self.connection.messages():
            self.last_seen = time.perf_counter()
            if isinstance(message, HelloReply):
                self.version_info = message.version_info
                self.changed.set()
            elif isinstance(message, Pong):
                self.pongs[message.sequence] = message.worker_time
                self.changed.set()
            elif message.number in self.handlers:
                self.handlers[message.number](self, message)
        self.lost_reason = self.lost_reason or await self.connection.exit_reason()
        self.changed.set()
        for take in list(self.handlers.values()):
            take(self, None)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until it has said what makes the condition true, or is gone."""
        while not condition() and not self.lost_reason:
            self.changed.clear()
            await self.changed.wait()

    async def sync_clock(self) -> None:
        """Measure its clock against ours: the answer to a ping was read between its sending and its arrival.

        Measured again and again, so that a clock that runs at another rate shows: the bound covers all of them.
        """
        if self.connection.shares_clock:
            return
        best = (float("inf"), 0.0)
        for sequence in itertools.islice(self.ping_sequence, _CLOCK_SYNC_ROUNDS):
            sent_at = time.perf_counter()
            self.connection.send(Ping(sequence))
            await self.wait_until(lambda mark=sequence: mark in self.pongs)  # type: ignore[misc]  # mypy has no type for it
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
    """Give workers their requests, see that they are what we are, and dismiss them on the way out.

    Raises:
        ConfigError: one runs another version.
        ResourceError: one did not start.
    """
    workers = [WorkerHandle(link) for link in connections]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(mate.dispatch_messages()) for mate in workers]
            try:
                for worker in workers:
                    worker.connection.send(Hello(VersionInfo.current(), tuple(requests)))
                await _await_handshakes(workers)
                log(f"{len(workers)} workers: {', '.join(mate.connection.name for mate in workers)}")
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
                await worker.wait_until(lambda mate=worker: mate.version_info is not None)  # type: ignore[misc]  # as above
                await worker.sync_clock()
    except TimeoutError as error:
        unanswered = [mate.connection.name for mate in workers if mate.version_info is None]
        raise UnavailableError(f"no answer from {', '.join(unanswered)} for {_HANDSHAKE_TIMEOUT:g} s") from error
    for worker in workers:
        if worker.lost_reason:
            raise ResourceError(
                f"{worker.connection.name} {worker.lost_reason} before it began", hint="ask for fewer workers"
            )
        if worker.version_info != VersionInfo.current():
            raise ConfigError(
                f"{worker.connection.name} has {worker.version_info}; this process has {VersionInfo.current()}",
                hint="install the same versions on both: what they record cannot be joined otherwise",
            )


def check_supports_workers(target: Target) -> None:
    """Refuse a target whose endpoints only this process can call.

    Raises:
        ConfigError: it cannot be described for another process, or not be sent there.
    """
    if not callable(getattr(target, "for_workers", None)):
        raise ConfigError(
            f"{type(target).__name__} can be called by one process only",
            hint="leave --workers out, or give the target a method for_workers(account, endpoint)",
        )
    try:
        pickle.dumps(target)
    except Exception as error:  # whatever pickle's hooks of foreign types raise
        raise ConfigError(
            f"{type(target).__name__} cannot be sent to another process: {error}",
            hint="define it in a module of its own, beside the scenario file",
        ) from error
