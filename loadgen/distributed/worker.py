"""The worker: opens the endpoint, executes one shard of a step, and reports to the coordinator.

The coordinator decides when to start, when to stop, and what to do about a lost worker. A worker sends no request
before `Start`, so that a worker that is started twice by mistake is harmless.
"""

import asyncio
import mmap
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadgen.distributed.protocol import (
    ErrorCodeDefined,
    ErrorCounts,
    Hello,
    HelloReply,
    Ping,
    Pong,
    PrepareShard,
    Ready,
    SampleBatch,
    ShardCompleted,
    ShardFailed,
    Shutdown,
    Start,
    Stop,
    VersionInfo,
    WindowClosed,
)
from loadgen.engine import engine
from loadgen.engine.clock import PreciseClock
from loadgen.errors import ConfigError, InternalError, LoadgenError
from loadgen.execution.gc_freeze import gc_frozen
from loadgen.interfaces import PreconnectingTransport, Transport
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.sample import ErrorCode, in_category
from loadgen.results.writer import SampleWriter
from loadgen.workload.request import Reply, Request

SENT_COUNTER = struct.Struct("<Q")  # the content of `PrepareShard.counter_file`
SendMessage = Callable[[Any], None]


@dataclass(slots=True)
class _ShardTask:
    """A shard during its execution."""

    start_at: "asyncio.Future[float]"
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class Worker:
    """A worker process's end of the protocol.

    Args:
        send: sends a message to the coordinator; must return at once.
    """

    def __init__(self, send: SendMessage) -> None:
        self._send = send
        self._requests: tuple[Request, ...] = ()
        self._tasks: dict[int, _ShardTask] = {}

    async def run(self, inbox: AsyncIterator[Any]) -> None:
        """Handle messages until they end or `Shutdown` comes; then cancel the shards in progress."""
        async with asyncio.TaskGroup() as group:
            tasks = []
            async for message in inbox:
                match message:
                    case Hello():
                        self._requests = message.requests
                        self._send(HelloReply(VersionInfo.current()))
                    case PrepareShard():
                        shard_task = _ShardTask(asyncio.get_running_loop().create_future())
                        self._tasks[message.step_id] = shard_task
                        tasks.append(group.create_task(self._run_shard(message, shard_task)))
                    case Start() if message.step_id in self._tasks and not self._tasks[message.step_id].start_at.done():
                        self._tasks[message.step_id].start_at.set_result(message.start_at)
                    case Stop() if message.step_id in self._tasks:
                        self._stop(self._tasks[message.step_id])
                    case Ping():
                        self._send(Pong(message.sequence, time.perf_counter()))
                    case Shutdown():
                        break
            for task in tasks:
                task.cancel()

    def _stop(self, task: _ShardTask) -> None:
        task.stop.set()
        if not task.start_at.done():
            task.start_at.cancel()

    async def _run_shard(self, shard: PrepareShard, task: _ShardTask) -> None:
        try:
            await self._open_endpoint_and_run(shard, task)
        except LoadgenError as error:
            self._send(ShardFailed(shard.step_id, type(error).__name__, error.message, error.hint, error.details))
        except asyncio.CancelledError:
            # `Stop` before `Start` ends the shard without an error; `Shutdown` cancels this task.
            if not task.start_at.cancelled() or not task.stop.is_set():
                raise
        except Exception as error:  # noqa: BLE001 - the coordinator reports it; a worker has no terminal
            self._send(ShardFailed(shard.step_id, InternalError.__name__, f"{type(error).__name__}: {error}", "", ()))
        finally:
            del self._tasks[shard.step_id]

    async def _open_endpoint_and_run(self, shard: PrepareShard, task: _ShardTask) -> None:
        connections = shard.step.load.connections
        async with shard.target.account(run_id="worker") as account:
            actual, expected = account.identity, shard.identity
            if (actual.kind, actual.account_id, actual.region) != (expected.kind, expected.account_id, expected.region):
                raise ConfigError(
                    f"the worker's credentials belong to {actual.kind} {actual.account_id} {actual.region}, expected "
                    f"{expected.kind} {expected.account_id} {expected.region}",
                    hint="give the worker credentials of the same account and region",
                )
            async with account.open(None, connections=connections, timeout=shard.timeout) as endpoint:
                if isinstance(endpoint.transport, PreconnectingTransport):
                    await endpoint.transport.open_connections(shard.step.load.initial_connections)
                self._send(Ready(shard.step_id))
                start = await task.start_at
                with _counting_transport(endpoint.transport, shard.counter_file) as transport:
                    await self._run_engine(shard, task, transport, start)

    async def _run_engine(self, shard: PrepareShard, task: _ShardTask, transport: Transport, start: float) -> None:
        sink = _ShardSink(shard, self._send)
        clock = PreciseClock()
        try:
            start_delay = max(0.0, clock.now() - start)
            with gc_frozen():
                run = await engine.run(
                    shard.step,
                    transport,
                    self._requests,
                    seed=shard.seed,
                    drain=shard.drain,
                    grace=shard.grace,
                    on_window=lambda window: self._send(WindowClosed(shard.step_id, window)),
                    stop=task.stop,
                    sink=sink,
                    clock=clock,
                    start=start,
                )
        finally:
            clock.close()
            await asyncio.to_thread(sink.close)
        self._send(
            ShardCompleted(
                shard.step_id,
                run.started,
                run.duration,
                run.stop_reason,
                run.scheduled,
                run.measurement_start,
                run.tally,
                run.generator_stats,
                start_delay,
            )
        )


class _ShardSink:
    """Writes the samples of a shard to a file, or sends them to the coordinator; counts errors for the error limit."""

    def __init__(self, shard: PrepareShard, send: SendMessage) -> None:
        self._step_id = shard.step_id
        self._send = send
        self._file = SampleWriter(Path(shard.directory), shard.file_suffix) if shard.directory else None
        self._errors = 0
        self._completed = 0

    def write_samples(self, batch: NDArray[np.void]) -> None:
        if self._file is not None:
            self._file.write_samples(batch)
        else:
            self._send(SampleBatch(self._step_id, batch.tobytes()))
        self._completed += len(batch)
        not_errors = in_category(OutcomeCategory.OK, batch) | in_category(OutcomeCategory.UNFINISHED, batch)
        if errors := int(len(batch) - np.count_nonzero(not_errors)):
            self._errors += errors
            self._send(ErrorCounts(self._step_id, self._errors, self._completed))

    def write_error_code(self, error_code: ErrorCode) -> None:
        if self._file is not None:
            self._file.write_error_code(error_code)
        else:
            self._send(ErrorCodeDefined(self._step_id, error_code))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _CountingTransport:
    """A transport that counts its requests in a memory-mapped file, which outlives the process."""

    def __init__(self, transport: Transport, counter: mmap.mmap) -> None:
        self._invoke = transport.invoke
        self._counter = counter
        self._sent = 0

    def invoke(self, request: Request) -> Coroutine[Any, Any, Reply]:
        """Count and pass on the request. Not a coroutine function, which would double the cost of the call."""
        self._sent += 1
        SENT_COUNTER.pack_into(self._counter, 0, self._sent)
        return self._invoke(request)


@contextmanager
def _counting_transport(transport: Transport, counter_file: str) -> Iterator[Transport]:
    if not counter_file:
        yield transport
        return
    with Path(counter_file).open("r+b") as file, mmap.mmap(file.fileno(), SENT_COUNTER.size) as memory:
        yield _CountingTransport(transport, memory)
