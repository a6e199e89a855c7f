"""Executors: which processes execute a step once its endpoint is open. This process is the simplest one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from loadgen.engine import engine
from loadgen.execution.gc_freeze import gc_frozen
from loadgen.interfaces import Endpoint, Identity, Target
from loadgen.measurement.block import Block
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Window
from loadgen.results.writer import RunWriter
from loadgen.workload.request import Request
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class StepTask:
    """A step and everything that its execution needs.

    Args:
        step: the configuration and the load.
        endpoint: the open endpoint.
        worker_target: returns a target for the same endpoint that another process can open.
        identity: the account of the endpoint.
        requests: the payloads to choose from.
        run_writer: writes the samples.
        seed: seed of the payload sequence.
        timeout: seconds that one request may take.
        grace: seconds for requests in flight after a stop.
        on_window: called with each closed window.
        stop: set to end the load early.
    """

    step: Step
    endpoint: Endpoint
    worker_target: Callable[[], Target]
    identity: Identity
    requests: Sequence[Request]
    run_writer: RunWriter
    seed: int
    timeout: float
    grace: float
    on_window: Callable[[Window], None]
    stop: asyncio.Event


class WorkerPool(Protocol):
    """Started workers; `is_local` is True when this process is the only one."""

    is_local: bool

    async def run_step(self, task: StepTask) -> Run:
        """Execute one step and return its run, without the samples, which the task's run writer has.

        Raises:
            LoadgenError: the step could not be executed, or its samples not be written.
        """
        ...


class BlockRun(Protocol):
    """A step that is executed in blocks. `engine.LoadRun` is one.

    Attributes:
        stop_reason: why the load ended, as in Run; empty while there is more to send.
        blocks: the blocks sent so far, with their counts.
    """

    stop_reason: str
    blocks: list[Block]

    async def send(self, *, block_size: int, round_number: int, on_block: Callable[[Block], None]) -> None:
        """Send the next block and wait for its replies; `on_block` is called when it starts."""
        ...

    def end(self, reason: str) -> None:
        """End the load between two blocks."""
        ...

    def finish(self) -> Run:
        """Return the run, without the samples, which the task's run writer has."""
        ...


@runtime_checkable
class BlockPool(WorkerPool, Protocol):
    """Started workers that can execute several steps in turns, a block of each at a time."""

    def open_run(self, task: StepTask) -> AbstractAsyncContextManager[BlockRun]:
        """Open a step that is executed in blocks; its run writer is closed when the context exits."""
        ...


class Executor(Protocol):
    """Describes which processes execute steps; does no I/O until `start`."""

    def start(
        self, target: Target, requests: Sequence[Request], log: Callable[[str], None]
    ) -> AbstractAsyncContextManager[WorkerPool]:
        """Start the workers, and stop them when the context exits.

        Args:
            target: the target whose endpoints the workers call.
            requests: the payloads.
            log: receives progress messages.

        Raises:
            LoadgenError: the workers could not be started, or do not fit each other.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Sends every request from this process, on the running event loop."""

    @asynccontextmanager
    async def start(
        self,
        target: Target,  # noqa: ARG002 - the protocol's; each task holds the open endpoint
        requests: Sequence[Request],  # noqa: ARG002 - as above
        log: Callable[[str], None],  # noqa: ARG002 - as above
    ) -> AsyncIterator[WorkerPool]:
        """Return at once: there is nothing to start."""
        yield _LocalPool()


class _LocalPool:
    is_local = True

    async def run_step(self, task: StepTask) -> Run:
        async with self.open_run(task) as load_run:
            await load_run.send()
            return load_run.finish()

    @asynccontextmanager
    async def open_run(self, task: StepTask) -> AsyncIterator[engine.LoadRun]:
        try:
            with gc_frozen():
                async with engine.open_run(
                    task.step,
                    task.endpoint.transport,
                    task.requests,
                    seed=task.seed,
                    drain=task.timeout,
                    grace=task.grace,
                    on_window=task.on_window,
                    stop=task.stop,
                    sink=task.run_writer.sink,
                ) as load_run:
                    yield load_run
        finally:
            await asyncio.to_thread(task.run_writer.close)
