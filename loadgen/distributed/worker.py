"""Hand: what a worker does. It gets ready, begins when told, records its shard, and says what it sees.

It decides nothing: when to begin, when to stop and what a loss means is the director's (crew.py). It sends nothing
before it was told to go, so that a worker that is started twice by mistake costs nothing.
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
    Badge,
    Batch,
    Dismissed,
    Ended,
    Erred,
    Failed,
    Go,
    Halt,
    Hired,
    Introduced,
    Named,
    Order,
    Ping,
    Pong,
    Ready,
    Seen,
)
from loadgen.engine import engine
from loadgen.engine.clock import PreciseClock
from loadgen.errors import ConfigError, InternalError, LoadgenError
from loadgen.execution.gc_freeze import set_aside
from loadgen.interfaces import Transport
from loadgen.measurement.outcome import Column
from loadgen.measurement.sample import Code, is_in
from loadgen.results.writer import SampleFile
from loadgen.workload.request import Reply, Request

COUNTER = struct.Struct("<Q")
Emit = Callable[[Any], None]


@dataclass(slots=True)
class _Work:
    """An order while it is carried out."""

    go: "asyncio.Future[float]"
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class Hand:
    """A worker.

    Args:
        emit: takes each message to the director; must return at once.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._requests: tuple[Request, ...] = ()
        self._works: dict[int, _Work] = {}

    async def serve(self, inbox: AsyncIterator[Any]) -> None:
        """Do what the messages say until they end or dismiss it; what is not done by then is cut short and kept."""
        async with asyncio.TaskGroup() as group:
            tasks = []
            async for message in inbox:
                match message:
                    case Hired():
                        self._requests = message.requests
                        self._emit(Introduced(Badge.own()))
                    case Order():
                        work = self._works[message.number] = _Work(asyncio.get_running_loop().create_future())
                        tasks.append(group.create_task(self._carry_out(message, work)))
                    case Go() if message.number in self._works and not self._works[message.number].go.done():
                        self._works[message.number].go.set_result(message.start)
                    case Halt() if message.number in self._works:
                        self._halt(self._works[message.number])
                    case Ping():
                        self._emit(Pong(message.mark, time.perf_counter()))
                    case Dismissed():
                        break
            for task in tasks:
                task.cancel()

    def _halt(self, work: _Work) -> None:
        work.stop.set()
        if not work.go.done():
            work.go.cancel()

    async def _carry_out(self, order: Order, work: _Work) -> None:
        try:
            await self._execute(order, work)
        except LoadgenError as error:
            self._emit(Failed(order.number, type(error).__name__, error.message, error.hint, error.details))
        except asyncio.CancelledError:
            # Halted before it was told to go, or dismissed: the second is a cancellation of this task.
            if not work.go.cancelled() or not work.stop.is_set():
                raise
        except Exception as error:  # noqa: BLE001 - it must be told over there; nobody reads a traceback here
            self._emit(Failed(order.number, InternalError.__name__, f"{type(error).__name__}: {error}", "", ()))
        finally:
            del self._works[order.number]

    async def _execute(self, order: Order, work: _Work) -> None:
        connections = order.step.load.connections
        async with order.target.account(run_id="worker") as account:
            here, there = account.identity, order.identity
            if (here.kind, here.account_id, here.region) != (there.kind, there.account_id, there.region):
                raise ConfigError(
                    f"this worker reaches {here.kind} {here.account_id} {here.region}, not {there.kind} "
                    f"{there.account_id} {there.region}",
                    hint="give it credentials of the same account",
                )
            async with account.open(None, connections=connections, timeout=order.timeout) as endpoint:
                self._emit(Ready(order.number))
                start = await work.go
                with _counted(endpoint.transport, order.counter) as transport:
                    await self._run(order, work, transport, start)

    async def _run(self, order: Order, work: _Work, transport: Transport, start: float) -> None:
        sink = _Sink(order, self._emit)
        clock = PreciseClock()
        try:
            late = max(0.0, clock.now() - start)
            with set_aside():
                run = await engine.run(
                    order.step,
                    transport,
                    self._requests,
                    seed=order.seed,
                    drain=order.drain,
                    grace=order.grace,
                    on_window=lambda window: self._emit(Seen(order.number, window)),
                    stop=work.stop,
                    sink=sink,
                    clock=clock,
                    start=start,
                )
        finally:
            clock.close()
            await asyncio.to_thread(sink.close)
        self._emit(
            Ended(
                order.number,
                run.started,
                run.duration,
                run.ended_by,
                run.scheduled,
                run.measured_from,
                run.tally,
                run.watch,
                late,
            )
        )


class _Sink:
    """Keeps samples in a file, or sends them; counts errors where the director has a limit to watch."""

    def __init__(self, order: Order, emit: Emit) -> None:
        self._number = order.number
        self._emit = emit
        self._file = SampleFile(Path(order.directory), order.part) if order.directory else None
        self._errors = 0
        self._answers = 0

    def samples(self, batch: NDArray[np.void]) -> None:
        if self._file is not None:
            self._file.samples(batch)
        else:
            self._emit(Batch(self._number, batch.tobytes()))
        self._answers += len(batch)
        fine = is_in(Column.OK, batch) | is_in(Column.UNFINISHED, batch)
        if errors := int(len(batch) - np.count_nonzero(fine)):
            self._errors += errors
            self._emit(Erred(self._number, self._errors, self._answers))

    def code(self, code: Code) -> None:
        if self._file is not None:
            self._file.code(code)
        else:
            self._emit(Named(self._number, code))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Counted:
    """A transport that counts what is handed to it where the count outlives this process."""

    def __init__(self, transport: Transport, memory: mmap.mmap) -> None:
        self._invoke = transport.invoke
        self._memory = memory
        self._sent = 0

    def invoke(self, request: Request) -> Coroutine[Any, Any, Reply]:
        """Hand the request on; not a coroutine itself, which would cost as much again."""
        self._sent += 1
        COUNTER.pack_into(self._memory, 0, self._sent)
        return self._invoke(request)


@contextmanager
def _counted(transport: Transport, path: str) -> Iterator[Transport]:
    if not path:
        yield transport
        return
    with Path(path).open("r+b") as file, mmap.mmap(file.fileno(), COUNTER.size) as memory:
        yield _Counted(transport, memory)
