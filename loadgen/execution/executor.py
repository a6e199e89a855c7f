"""The executor: which processes execute a step once its endpoint is open."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from loadgen.engine import engine
from loadgen.execution.gc_freeze import set_aside
from loadgen.interfaces import Endpoint, Identity, Target
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Window
from loadgen.results.writer import Recording
from loadgen.workload.request import Request
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class Assignment:
    """A step whose endpoint is open.

    Args:
        step: what to execute.
        endpoint: open in this process.
        elsewhere: describes the same endpoint for another process.
        identity: where it is.
        requests: what to choose from.
        recording: where the samples go.
        seed: of the choice of payloads.
        timeout: seconds that one request may take.
        grace: seconds for requests in flight after a stop.
        on_window: takes each closed window.
        stop: ends the load early.
    """

    step: Step
    endpoint: Endpoint
    elsewhere: Callable[[], Target]
    identity: Identity
    requests: Sequence[Request]
    recording: Recording
    seed: int
    timeout: float
    grace: float
    on_window: Callable[[Window], None]
    stop: asyncio.Event


class Team(Protocol):
    """Workers that are ready to work; `is_here` when this process is the only one."""

    is_here: bool

    async def execute(self, assignment: Assignment) -> Run:
        """Execute one step, and return what happened; the samples are in its recording.

        Raises:
            LoadgenError: it could not be executed or kept.
        """
        ...


class Crew(Protocol):
    """How many processes carry a step out, and where: a value, until it is assembled."""

    def assembled(
        self, target: Target, requests: Sequence[Request], say: Callable[[str], None]
    ) -> AbstractAsyncContextManager[Team]:
        """Start the workers, and end them on the way out.

        Args:
            target: whose endpoints will be called.
            requests: what will be sent.
            say: takes a sentence for whoever watches.

        Raises:
            LoadgenError: they could not be started, or cannot work together.
        """
        ...


@dataclass(frozen=True, slots=True)
class Alone:
    """This process does all of it, on its own event loop."""

    @asynccontextmanager
    async def assembled(
        self,
        target: Target,  # noqa: ARG002 - nobody else has to reach it
        requests: Sequence[Request],  # noqa: ARG002 - each assignment names them
        say: Callable[[str], None],  # noqa: ARG002 - there is nothing to say
    ) -> AsyncIterator[Team]:
        """Return at once: nothing has to be started."""
        yield _Alone()


class _Alone:
    is_here = True

    async def execute(self, assignment: Assignment) -> Run:
        recording = assignment.recording
        try:
            with set_aside():
                return await engine.run(
                    assignment.step,
                    assignment.endpoint.transport,
                    assignment.requests,
                    seed=assignment.seed,
                    drain=assignment.timeout,
                    grace=assignment.grace,
                    on_window=assignment.on_window,
                    stop=assignment.stop,
                    sink=recording.sink,
                )
        finally:
            await asyncio.to_thread(recording.close)
