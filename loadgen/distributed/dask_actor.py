"""The Dask worker's side: an actor that starts load-generating processes and relays their messages.

An actor, since Dask runs its constructor once more at most, and never after its worker was lost: its key then fails
("Worker holding Actor was lost", distributed/scheduler.py, `_transition_memory_released`). The constructor starts
nothing, and a process sends no request before `Start`, so that a further actor of the same run is harmless; the first
one counts it. Each call of `receive` waits until there is a message: nothing is polled.

Messages are numbered in both directions, so that a call that Dask repeats delivers no message twice. They pass as
bytes: only the ends unpickle them. The processes share the machine's clock, so that the actor answers pings for them.
"""

import asyncio
import pickle
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from loadgen.distributed.local_processes import ProcessConnection, start_process
from loadgen.distributed.protocol import Pong

_RECEIVE_TIMEOUT = 5.0  # seconds after which `receive` returns without a message
_ORPHAN_TIMEOUT = 60.0  # seconds without `receive` after which the processes end: the coordinator is gone
_MAX_BATCH = 1000  # messages in one response; the others follow with the next

# The number of actors that Dask has started in this process, by run.
_STARTS: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class DaskNode:
    """What the coordinator needs to know of a Dask worker: its name, and its threads, by default one for each core."""

    name: str
    threads: int


def describe_node(dask_worker: Any) -> DaskNode:
    """Describe the Dask worker that runs this function; called by `Client.run`, which passes the Dask worker.

    The name is the one that it was started with; the address if it has none, or a number, which LocalCluster gives.
    """
    name = dask_worker.name if isinstance(dask_worker.name, str) else dask_worker.address
    return DaskNode(name, dask_worker.state.nthreads)


class Outgoing(NamedTuple):
    """A message to one process: its pickle, the number of a ping, which the actor answers, or None to kill it."""

    process: int
    content: bytes | int | None


class Incoming(NamedTuple):
    """A message of one process, as its pickle, or the reason why the process is gone."""

    process: int
    content: bytes | str


class ProcessesActor:
    """The load-generating processes on one Dask worker. Its methods run in the Dask worker's event loop.

    Args:
        run_key: identifies the run and this worker in it.
    """

    def __init__(self, run_key: str) -> None:
        _STARTS[run_key] += 1
        self._run_key = run_key
        self._relay: _Relay | None = None

    async def start(self, processes: int) -> list[str]:
        """Start the processes and return their names.

        Raises:
            ResourceError: a process could not be started.
        """
        relay = self._relay = _Relay()
        try:
            return await relay.start(processes)
        except BaseException:
            await relay.stop()
            raise

    async def deliver(self, first_sequence: int, messages: "list[Outgoing]") -> None:
        """Pass messages on to the processes; those that an earlier call has delivered are skipped."""
        if self._relay is not None:
            self._relay.deliver(first_sequence, messages)

    async def receive(self, received_count: int) -> "tuple[int, list[Incoming]]":
        """Wait for messages of the processes, and drop those that the coordinator has received.

        Args:
            received_count: number of messages that the coordinator has received.

        Returns:
            How many actors Dask has started for this run and worker, and the messages that follow.
        """
        messages = await self._relay.receive(received_count) if self._relay is not None else []
        return _STARTS[self._run_key], messages

    async def stop(self) -> None:
        """End the processes."""
        _STARTS.pop(self._run_key, None)
        if self._relay is not None:
            await self._relay.stop()

    def __del__(self) -> None:
        # Dask drops the actor when its client, the coordinator, is gone. The event loop may be closed by then; the
        # processes end with the Dask worker's.
        if self._relay is not None:
            with suppress(RuntimeError):
                self._relay.stop_soon()


class _Relay:
    """The processes and their messages; a part of its own, so that its tasks do not keep the actor alive."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stack = AsyncExitStack()
        self._connections: list[ProcessConnection] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._delivered_count = 0
        self._pending: list[Incoming] = []
        self._acknowledged = 0  # messages that the coordinator has received; they are dropped
        self._has_pending = asyncio.Event()
        self._orphan_timer = self._loop.call_later(_ORPHAN_TIMEOUT, self.stop_soon)

    async def start(self, processes: int) -> list[str]:
        for number in range(processes):
            connection = await self._stack.enter_async_context(start_process(number + 1))
            self._connections.append(connection)
            self._tasks.append(self._loop.create_task(self._read(number, connection)))
        return [connection.name for connection in self._connections]

    async def _read(self, number: int, connection: ProcessConnection) -> None:
        async for content in connection.frames():
            self._append(Incoming(number, content))
        self._append(Incoming(number, await connection.exit_reason()))

    def _append(self, message: Incoming) -> None:
        self._pending.append(message)
        self._has_pending.set()

    def deliver(self, first_sequence: int, messages: list[Outgoing]) -> None:
        for process, content in messages[max(0, self._delivered_count - first_sequence) :]:
            self._delivered_count += 1
            if isinstance(content, int):
                self._append(Incoming(process, pickle.dumps(Pong(content, time.perf_counter()))))
            elif content is None:
                self._connections[process].abort()
            else:
                self._connections[process].send_frame(content)

    async def receive(self, received_count: int) -> list[Incoming]:
        self._orphan_timer.cancel()
        del self._pending[: received_count - self._acknowledged]
        self._acknowledged = received_count
        if not self._pending:
            self._has_pending.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_RECEIVE_TIMEOUT):
                    await self._has_pending.wait()
        self._orphan_timer.cancel()  # of a call that was waiting at the same time
        self._orphan_timer = self._loop.call_later(_ORPHAN_TIMEOUT, self.stop_soon)
        return self._pending[:_MAX_BATCH]

    def stop_soon(self) -> None:
        """End the processes, from any thread, without waiting for them."""
        asyncio.run_coroutine_threadsafe(self.stop(), self._loop)

    async def stop(self) -> None:
        self._orphan_timer.cancel()
        for task in self._tasks:
            task.cancel()
        await self._stack.aclose()
        self._has_pending.set()  # end a `receive` that waits
