"""The executor: which processes execute a step once its endpoint is open."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from loadgen.engine import engine
from loadgen.execution.gc_freeze import gc_frozen
from loadgen.interfaces import Endpoint, Identity, Target
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Window
from loadgen.results.writer import RunWriter
from loadgen.workload.request import Request
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class StepTask:
    """A step whose endpoint is open.

    Args:
        step: what to execute.
        endpoint: open in this process.
        worker_target: describes the same endpoint for another process.
        identity: where it is.
        requests: what to choose from.
        run_writer: where the samples go.
        seed: of the choice of payloads.
        timeout: seconds that one request may take.
        grace: seconds for requests in flight after a stop.
        on_window: takes each closed window.
        stop: ends the load early.
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
    """Workers that are ready to work; `is_local` when this process is the only one."""

    is_local: bool

    async def run_step(self, task: StepTask) -> Run:
        """Execute one step, and return what happened; the samples are in its recording.

        Raises:
            LoadgenError: it could not be executed or kept.
        """
        ...


class Executor(Protocol):
    """How many processes carry a step out, and where: a value, until it is assembled."""

    def start(
        self, target: Target, requests: Sequence[Request], log: Callable[[str], None]
    ) -> AbstractAsyncContextManager[WorkerPool]:
        """Start the workers, and end them on the way out.

        Args:
            target: whose endpoints will be called.
            requests: what will be sent.
            log: takes a sentence for whoever watches.

        Raises:
            LoadgenError: they could not be started, or cannot work together.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """This process does all of it, on its own event loop."""

    @asynccontextmanager
    async def start(
        self,
        target: Target,  # noqa: ARG002 - nobody else has to reach it
        requests: Sequence[Request],  # noqa: ARG002 - each assignment names them
        log: Callable[[str], None],  # noqa: ARG002 - there is nothing to say
    ) -> AsyncIterator[WorkerPool]:
        """Return at once: nothing has to be started."""
        yield _LocalPool()


class _LocalPool:
    is_local = True

    async def run_step(self, task: StepTask) -> Run:
        recording = task.run_writer
        try:
            with gc_frozen():
                return await engine.run(
                    task.step,
                    task.endpoint.transport,
                    task.requests,
                    seed=task.seed,
                    drain=task.timeout,
                    grace=task.grace,
                    on_window=task.on_window,
                    stop=task.stop,
                    sink=recording.sink,
                )
        finally:
            await asyncio.to_thread(recording.close)
