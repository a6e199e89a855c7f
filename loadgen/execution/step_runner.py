"""StepRunner: one step against an endpoint in service, with its files, server-side counts, progress and cost."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import ExitStatus
from loadgen.execution.executor import StepTask, WorkerPool
from loadgen.execution.spend_limit import SpendLimit
from loadgen.interfaces import Account, Endpoint, Progress, RemoteTarget, account_of_step
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Window
from loadgen.results.directory import ResultsDirectory
from loadgen.results.writer import RunWriter
from loadgen.scenario.scenario import ScenarioProtocol
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class StartedStep:
    """A step whose run directory exists.

    Args:
        task: what its execution needs.
        run_fields: fields of its run that were known before the first request.
        server_counts: server-side counts of its endpoint before the first request; None if the target has none.
    """

    task: StepTask
    run_fields: Mapping[str, Any]
    server_counts: Mapping[str, int] | None


class StepRunner:
    """Executes the steps of one scenario, one piece each, or starts and completes those that are measured in rounds.

    Args:
        scenario: the scenario.
        account: where its endpoints are.
        results: where the runs are saved.
        progress: receives what happens.
        stop: ends the step in progress when it is set.
        grace: seconds for requests in flight after a stop.
        spend_limit: the limit that the steps' cost is added to; None for no limit.
        abort: ends the plan, with an exit status and a reason.
    """

    def __init__(
        self,
        scenario: ScenarioProtocol,
        account: Account,
        results: ResultsDirectory,
        progress: Progress,
        stop: asyncio.Event,
        *,
        grace: float,
        spend_limit: SpendLimit | None,
        abort: Callable[[ExitStatus, str], None],
    ) -> None:
        self._scenario = scenario
        self._account = account
        self._results = results
        self._progress = progress
        self._stop = stop
        self._grace = grace
        self._spend_limit = spend_limit
        self._abort = abort

    async def run_step(self, number: int, step: Step, endpoint: Endpoint, pool: WorkerPool) -> tuple[RunWriter, Run]:
        """Execute one step in one piece."""
        started = await self.start(number, step, endpoint)
        run_writer = started.task.run_writer
        try:
            run = await pool.run_step(started.task)
            return run_writer, await self.complete(started, run)
        finally:
            await asyncio.to_thread(run_writer.close)

    async def start(self, number: int, step: Step, endpoint: Endpoint) -> StartedStep:
        """Create the run directory of a step that is about to be executed."""
        run_fields: dict[str, Any] = {
            "started": time.time(),
            "endpoint": endpoint.name,
            "deploy_duration": endpoint.deploy_duration,
            "transport": endpoint.transport_name,
            "transport_note": endpoint.transport_note,
            "region": self._account.identity.region,
            "together": self._scenario.together,
        }
        run_writer = self._results.create_run(number, step, run_fields)
        before = await account_of_step(self._account, step).server_counts(endpoint.name)
        self._progress.step_started(step)
        del run_fields["started"]  # the engine's own instant is more exact
        return StartedStep(self._task(step, endpoint, run_writer), run_fields, before)

    async def complete(self, started: StartedStep, run: Run) -> Run:
        """Save the run of a step that was executed, and return it with all its fields."""
        run_writer = started.task.run_writer
        account = account_of_step(self._account, started.task.step)
        after = await account.server_counts(started.task.endpoint.name)
        await asyncio.to_thread(run_writer.close)
        if run.workers and all(worker.lost_reason for worker in run.workers):
            self._abort(ExitStatus.OS_RESOURCE, "every worker was lost")
        run = replace(run, **started.run_fields)
        if (before := started.server_counts) is not None and after is not None:
            run = replace(run, server_counts={name: count - before.get(name, 0) for name, count in after.items()})
        run_writer.write_metadata(run)
        self.add_new_spend(run_writer)
        self._progress.step_finished(run.step, run)
        return run

    def save_failed_deployment(self, number: int, step: Step, failure: str) -> tuple[RunWriter, Run]:
        """Save a run with the failure of a step whose endpoint was not deployed."""
        run_writer = self._results.create_run(number, step, {"started": time.time()})
        run_writer.sink.close()
        run = Run(step, time.time(), 0.0, "not deployed", 0, failure=failure)
        self._progress.step_finished(step, run)
        return run_writer, run

    def _task(self, step: Step, endpoint: Endpoint, run_writer: RunWriter) -> StepTask:
        target = self._scenario.target
        return StepTask(
            step,
            endpoint,
            # The executor has checked at its start that the target supports workers.
            lambda: cast("RemoteTarget", target).for_workers(self._account, endpoint.name),
            self._account.identity,
            self._scenario.requests,
            run_writer,
            seed=self._scenario.seed,
            timeout=self._scenario.timeout,
            grace=self._grace,
            on_window=lambda window: self._on_window(run_writer, window),
            stop=self._stop,
        )

    def _on_window(self, run_writer: RunWriter, window: Window) -> None:
        self._progress.window_closed(run_writer.step, window)
        self.add_new_spend(run_writer)

    def add_new_spend(self, run_writer: RunWriter) -> None:
        """Add the cost of the requests since the previous call, and abort when that reaches the spend limit."""
        if self._spend_limit is not None:
            self.add_spend(run_writer.step, run_writer.read_new_samples())

    def add_spend(self, step: Step, samples: NDArray[np.void]) -> None:
        """Add the cost of samples, dtype SAMPLE, and abort when that reaches the spend limit."""
        limit = self._spend_limit
        if limit is not None and step.config is not None and limit.add_samples(step.config, samples):
            reason = f"spend limit reached: {limit.spent_usd:.4f} USD spent, limit {limit.limit_usd:g} USD"
            self._progress.log(f"{reason}; sending no more requests")
            self._abort(ExitStatus.THRESHOLD, reason)
