"""The plan executor: a plan's batches in waves that fit the account's quotas, and the order of measuring.

The endpoints of a wave are deployed in parallel and measured one at a time, so that no configuration disturbs another.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from loadgen.aws.quotas import deployment_waves, smaller_waves
from loadgen.errors import ConfigError, ExitStatus, LoadgenError, QuotaError, ScriptError
from loadgen.execution.endpoint_deployments import EndpointLease
from loadgen.execution.executor import StepTask, WorkerPool
from loadgen.execution.scenario_result import ExitCause
from loadgen.execution.spend_limit import SpendLimit
from loadgen.execution.stop_event import acquire_or_stop, sleep_until, wait_or_stop
from loadgen.interfaces import Account, Endpoint, Progress, RemoteTarget
from loadgen.measurement.cloudwatch_metrics import UNITS, CloudWatchMetrics
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Window
from loadgen.results.directory import ResultsDirectory
from loadgen.results.reader import read_run
from loadgen.results.serialization import to_json
from loadgen.results.writer import RunWriter
from loadgen.scenario.scenario import Plan, ScenarioProtocol
from loadgen.scenario.user_code import describe, script_error
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _EndpointSteps:
    """The steps of one wave that share an endpoint, and their runs as they complete."""

    config: ServerlessConfig | None
    steps: Sequence[tuple[int, Step]]  # with their numbers in the plan
    measured: list[tuple[int, RunWriter, Run]] = field(default_factory=list)
    refusals: list[QuotaError] = field(default_factory=list)  # by a quota, while other endpoints of the wave existed


class PlanExecutor:
    """Executes the plan of one scenario in an account that has passed the preflight checks.

    Args:
        scenario: whose plan to execute.
        account: where endpoints are opened.
        results: where the runs are saved.
        progress: receives what happens.
        stop: ends the step in progress and the plan when it is set; the executor sets it too, when it aborts.
        grace: seconds for requests in flight after a stop.
        spend_limit: ends the plan when it is reached; None for no limit.
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
    ) -> None:
        self.causes: list[ExitCause] = []
        self.planned_steps = 0
        self.incomplete_reason = ""
        self._scenario = scenario
        self._account = account
        self._results = results
        self._progress = progress
        self._stop = stop
        self._grace = grace
        self._spend_limit = spend_limit
        self._completed_runs: Mapping[int, Run] = {}

    def restore(self, completed_runs: Mapping[int, Run]) -> None:
        """Take over the runs of steps that an earlier process completed, by their numbers; they are not repeated."""
        self._completed_runs = completed_runs
        if self._spend_limit is not None:
            for run in completed_runs.values():
                self._add_spend(self._spend_limit, run.step, run.samples)

    async def execute_plan(self, pool: WorkerPool) -> None:
        """Execute the plan's batches, and send the plan their runs, until it ends or is stopped.

        Args:
            pool: executes the steps.
        """
        plan: Any = _call_user_code(self._scenario.plan)
        if not isinstance(plan, Generator):
            hint = "write it as a generator: yield [Step(...)]"
            raise ScriptError(f"plan() returned a {type(plan).__name__}", hint=hint)
        try:
            batch = _next_batch(plan, None)
            while batch is not None:
                runs = await self._run_batch(batch, pool) if not self._stop.is_set() else []
                if self._stop.is_set():
                    self.incomplete_reason = self.incomplete_reason or "stopped before its end"
                    return
                batch = _next_batch(plan, runs)
        finally:
            _call_user_code(plan.close)

    def stop(self) -> None:
        """Execute no further step, and end the one in progress."""
        self._stop.set()

    def _abort(self, status: ExitStatus, reason: str) -> None:
        """Execute no further step, and end the one in progress."""
        self.causes.append(ExitCause(status, reason))
        self.incomplete_reason = self.incomplete_reason or reason
        self._stop.set()

    # -- batches and waves -------------------------------------------------------------------------------------------

    async def _run_batch(self, steps: Sequence[Step], pool: WorkerPool) -> list[Run]:
        """Execute steps; those of one configuration share an endpoint."""
        numbered = list(enumerate(steps, self.planned_steps + 1))
        self.planned_steps += len(numbered)
        runs = {n: self._completed_run(n, step) for n, step in numbered if n in self._completed_runs}
        missing = [(n, step) for n, step in numbered if n not in runs]
        waves = deque(self._deployment_waves([step for _, step in missing]))
        while waves:
            configs = waves.popleft()
            wave = [_EndpointSteps(config, [(n, s) for n, s in missing if s.config == config]) for config in configs]
            for endpoint_steps, metrics in zip(wave, await self._run_wave(wave, pool), strict=True):
                for number, run_writer, run in endpoint_steps.measured:
                    runs[number] = await asyncio.to_thread(_save_and_reload, run_writer, replace(run, metrics=metrics))
            waves.extendleft(reversed(self._retry_waves(wave)))
        return [run for _, run in sorted(runs.items())]

    def _completed_run(self, number: int, step: Step) -> Run:
        """Return the saved run of a step.

        Raises:
            ConfigError: the plan now has another step of that number.
        """
        run = self._completed_runs[number]
        if to_json(run.step) != to_json(step):
            raise ConfigError(
                f"step {number} of the plan is {step.name or step.config}, the saved one is {run.step.name}",
                hint="start a new run with another --out",
            )
        return run

    def _deployment_waves(self, steps: Sequence[Step]) -> Iterator[Sequence[ServerlessConfig | None]]:
        """Yield the configurations to deploy at once: an existing endpoint alone, the others as the quotas allow."""
        configs = dict.fromkeys(step.config for step in steps)
        if None in configs:
            yield [None]
        yield from deployment_waves([config for config in configs if config is not None], self._account.quotas)

    def _retry_waves(self, wave: Sequence[_EndpointSteps]) -> list[list[ServerlessConfig]]:
        """Return smaller waves of what a quota refused while the wave's other endpoints existed, which are now gone."""
        refused = [steps.config for steps in wave if steps.refusals and steps.config is not None]
        if not refused or self._stop.is_set():
            return []
        waves = smaller_waves(refused, len(wave) - len(refused))
        self._progress.log(
            f"a quota refused {len(refused)} of {len(wave)} endpoints; the others are deleted: trying again with "
            f"{len(waves[0])} at a time"
        )
        return waves

    async def _run_wave(self, wave: Sequence[_EndpointSteps], pool: WorkerPool) -> list[CloudWatchMetrics]:
        """Deploy the endpoints of a wave in parallel, measure them, and return the CloudWatch metrics of each."""
        semaphore = asyncio.Semaphore(len(wave) if self._scenario.together else 1)
        async with asyncio.TaskGroup() as group:
            leases = [self._deploy(group, endpoint_steps, pool) for endpoint_steps in wave]
            measurements = [
                group.create_task(self._measure(endpoint_steps, lease, semaphore, pool, is_alone=len(wave) == 1))
                for endpoint_steps, lease in zip(wave, leases, strict=True)
            ]
        return [task.result() for task in measurements]

    def _deploy(self, group: asyncio.TaskGroup, endpoint_steps: _EndpointSteps, pool: WorkerPool) -> EndpointLease:
        # Workers open connections of their own; this process then needs one at most.
        connections = max(step.load.connections for _, step in endpoint_steps.steps) if pool.is_local else 1
        return EndpointLease(
            group,
            self._account,
            endpoint_steps.config,
            connections=connections,
            timeout=self._scenario.timeout,
            log=self._progress.log,
        )

    async def _measure(
        self,
        endpoint_steps: _EndpointSteps,
        lease: EndpointLease,
        semaphore: asyncio.Semaphore,
        pool: WorkerPool,
        *,
        is_alone: bool,
    ) -> CloudWatchMetrics:
        """Execute the steps of one endpoint when it is in service and its turn has come, then release it."""
        try:
            endpoint = await lease.wait_in_service(self._stop)
        except LoadgenError as error:
            if isinstance(error, QuotaError) and not is_alone:
                endpoint_steps.refusals.append(error)
                self._progress.log(f"not deployed yet: {endpoint_steps.config}: {error}")
            else:
                self._save_failed_deployment(endpoint_steps, error)
            return CloudWatchMetrics()
        if endpoint is None:
            return CloudWatchMetrics()
        try:
            async with acquire_or_stop(semaphore, self._stop):
                for number, step in endpoint_steps.steps:
                    if not self._stop.is_set():
                        await sleep_until(lease.in_service_at + step.delay, self._stop)
                        endpoint_steps.measured.append((number, *await self._run_step(number, step, endpoint, pool)))
        finally:
            lease.release()
        return await self._read_metrics([run for _, _, run in endpoint_steps.measured])

    def _save_failed_deployment(self, endpoint_steps: _EndpointSteps, error: LoadgenError) -> None:
        """Save a run with the failure for each step of an endpoint that was not deployed; the plan goes on."""
        self.causes.append(ExitCause(error.status, f"{endpoint_steps.config}: {error}"))
        self._progress.log(f"not deployed: {endpoint_steps.config}: {error}")
        for number, step in endpoint_steps.steps:
            run_writer = self._results.create_run(number, step, {"started": time.time()})
            run_writer.sink.close()
            run = Run(step, time.time(), 0.0, "not deployed", 0, failure=str(error))
            endpoint_steps.measured.append((number, run_writer, run))
            self._progress.step_finished(step, run)

    async def _read_metrics(self, runs: Sequence[Run]) -> CloudWatchMetrics:
        """Read the CloudWatch metrics of one endpoint over all of its runs.

        CloudWatch resolves one minute at best, so that the runs of one endpoint cannot be separated.
        """
        if not runs:
            return CloudWatchMetrics()
        read_task = asyncio.ensure_future(
            self._account.metrics(
                runs[0].endpoint,
                start=runs[0].started,
                end=runs[-1].started + runs[-1].duration,
                # CloudWatch may or may not count throttled calls: the reader does not wait for these.
                invocations=sum(run.count(OutcomeCategory.OK) + run.count(OutcomeCategory.FAILED) for run in runs),
            )
        )
        try:
            await wait_or_stop(read_task, self._stop)
            if read_task.done():
                return replace(read_task.result(), step_count=len(runs))
            return CloudWatchMetrics(
                unavailable=dict.fromkeys(UNITS, "the run was stopped before CloudWatch had counted")
            )
        finally:
            read_task.cancel()

    # -- one step ----------------------------------------------------------------------------------------------------

    async def _run_step(self, number: int, step: Step, endpoint: Endpoint, pool: WorkerPool) -> tuple[RunWriter, Run]:
        """Execute one step against an endpoint that is in service."""
        run_fields: dict[str, Any] = {
            "started": time.time(),
            "endpoint": endpoint.name,
            "deploy_duration": endpoint.deploy_duration,
            "transport": endpoint.transport_name,
            "transport_note": endpoint.transport_note,
            "together": self._scenario.together,
        }
        run_writer = self._results.create_run(number, step, run_fields)
        try:
            before = await self._account.server_counts(endpoint.name)
            self._progress.step_started(step)
            run = await pool.run_step(self._step_task(step, endpoint, run_writer))
        finally:
            await asyncio.to_thread(run_writer.close)
        if run.workers and all(worker.lost_reason for worker in run.workers):
            self._abort(ExitStatus.OS_RESOURCE, "every worker was lost")
        del run_fields["started"]  # the engine's own instant is more exact
        run = replace(run, **run_fields)
        run_writer.write_metadata(run)  # before the next call, which fails if the emulator has ended
        after = await self._account.server_counts(endpoint.name)
        if before is not None and after is not None:
            counts = {name: count - before.get(name, 0) for name, count in after.items()}
            run = replace(run, server_counts=counts)
            run_writer.write_metadata(run)
        self._add_new_spend(run_writer)
        self._progress.step_finished(step, run)
        return run_writer, run

    def _step_task(self, step: Step, endpoint: Endpoint, run_writer: RunWriter) -> StepTask:
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
        self._add_new_spend(run_writer)

    def _add_new_spend(self, run_writer: RunWriter) -> None:
        if self._spend_limit is not None:
            self._add_spend(self._spend_limit, run_writer.step, run_writer.read_new_samples())

    def _add_spend(self, limit: SpendLimit, step: Step, samples: NDArray[np.void]) -> None:
        """Add the cost of samples to a spend limit, and abort when that reaches it."""
        if step.config is not None and limit.add_samples(step.config, samples):
            reason = f"spend limit reached: {limit.spent_usd:.4f} USD spent, limit {limit.limit_usd:g} USD"
            self._progress.log(f"{reason}; sending no more requests")
            self._abort(ExitStatus.THRESHOLD, reason)


def _call_user_code(function: Callable[[], _T]) -> _T:
    """Call a function of the scenario.

    Raises:
        ScriptError: it raised an exception that is not derived from Exception, other than an interrupt.
    """
    try:
        return function()
    except (Exception, KeyboardInterrupt, asyncio.CancelledError):
        raise
    except BaseException as error:
        raise script_error(error) or ScriptError(describe(error)) from error


def _next_batch(plan: Plan, runs: Sequence[Run] | None) -> list[Step] | None:
    """Return the next batch of a plan; None at its end.

    Raises:
        ScriptError: the plan yielded something else than steps.
    """
    try:
        batch = _call_user_code(lambda: plan.send(runs))  # type: ignore[arg-type]  # None starts a generator
    except StopIteration:
        return None
    steps: list[Any] = list(batch) if isinstance(batch, Iterable) else []
    wrong: list[Any] = [step for step in steps if not isinstance(step, Step)]
    if wrong or not isinstance(batch, Iterable):
        given = type(wrong[0] if wrong else batch).__name__
        raise ScriptError(f"plan() yielded a {given}", hint="yield a list of Step values")
    return steps


def _save_and_reload(run_writer: RunWriter, run: Run) -> Run:
    """Save a run, and return it as later readers will read it."""
    run_writer.write_metadata(run)
    return read_run(run_writer.directory)
