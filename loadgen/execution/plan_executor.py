"""The plan executor: a plan's batches in waves that fit the account's quotas, and the order of measuring.

The endpoints of a wave are deployed in parallel and called one at a time, so that no configuration disturbs another:
each step in one piece, or in rounds of short blocks (rounds_runner.py).
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loadgen.aws.quotas import deployment_waves
from loadgen.errors import ConfigError, ExitStatus, LoadgenError, QuotaError
from loadgen.execution.endpoint_deployments import EndpointLease
from loadgen.execution.executor import BlockPool, WorkerPool
from loadgen.execution.rounds_runner import DeployedStep, RoundsRunner
from loadgen.execution.scenario_result import ExitCause
from loadgen.execution.spend_limit import SpendLimit
from loadgen.execution.step_runner import StepRunner
from loadgen.execution.stop_event import acquire_or_stop, sleep_until, wait_or_stop
from loadgen.interfaces import Account, Endpoint, Progress, account_of_step
from loadgen.measurement.cloudwatch_metrics import UNITS, CloudWatchMetrics
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.results.directory import ResultsDirectory
from loadgen.results.reader import read_run
from loadgen.results.serialization import to_json
from loadgen.results.writer import RunWriter
from loadgen.scenario.rounds import Rounds
from loadgen.scenario.scenario import ScenarioProtocol
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class _EndpointSteps:
    """The steps of one wave that share an endpoint, and their runs as they complete."""

    config: ServerlessConfig | None
    steps: Sequence[tuple[int, Step]]  # with their numbers in the plan
    measured: list[tuple[int, RunWriter, Run]] = field(default_factory=list)


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
        self._progress = progress
        self._stop = stop
        self._completed_runs: Mapping[int, Run] = {}
        self._step_runner = StepRunner(
            scenario, account, results, progress, stop, grace=grace, spend_limit=spend_limit, abort=self._abort
        )

    def restore(self, completed_runs: Mapping[int, Run]) -> None:
        """Take over the runs of steps that an earlier process completed, by their numbers; they are not repeated."""
        self._completed_runs = completed_runs
        for run in completed_runs.values():
            self._step_runner.add_spend(run.step, run.samples)

    async def execute_plan(self, pool: WorkerPool) -> None:
        """Execute the plan's batches, and send the plan their runs, until it ends or is stopped.

        Args:
            pool: executes the steps.
        """
        plan = self._scenario.plan()
        try:
            batch = next(plan, None)
            while batch is not None:
                runs = await self._run_batch(batch, pool) if not self._stop.is_set() else []
                if self._stop.is_set():
                    self.incomplete_reason = self.incomplete_reason or "stopped before its end"
                    return
                try:
                    batch = plan.send(runs)
                except StopIteration:
                    return
        finally:
            plan.close()

    def _abort(self, status: ExitStatus, reason: str) -> None:
        """Execute no further step, and end the one in progress."""
        self.causes.append(ExitCause(status, reason))
        self.incomplete_reason = self.incomplete_reason or reason
        self._stop.set()

    # -- batches and waves -------------------------------------------------------------------------------------------

    async def _run_batch(self, batch: Sequence[Step] | Rounds, pool: WorkerPool) -> list[Run]:
        """Execute steps; those of one configuration share an endpoint."""
        steps, rounds = (batch.steps, batch) if isinstance(batch, Rounds) else (batch, None)
        numbered = list(enumerate(steps, self.planned_steps + 1))
        self.planned_steps += len(numbered)
        runs = {n: self._completed_run(n, step) for n, step in numbered if n in self._completed_runs}
        missing = [(n, step) for n, step in numbered if n not in runs]
        waves = list(self._deployment_waves([step for _, step in missing]))
        if rounds is not None and rounds.is_one_wave and len(waves) > 1:
            raise QuotaError(
                f"{len(missing)} steps must be measured side by side, the quotas split them into {len(waves)} waves",
                hint="use a smaller MaxConcurrency, or request an increase in Service Quotas",
                details=(f"source: {self._account.quotas.source}",),
            )
        for endpoints in waves:
            wave = [
                _EndpointSteps(config, [(n, s) for n, s in missing if (s.config, s.variant) == (config, variant)])
                for config, variant in endpoints
            ]
            metrics_of_wave = await self._run_wave(wave, pool, rounds, runs)
            for endpoint_steps, metrics in zip(wave, metrics_of_wave, strict=True):
                for number, run_writer, run in endpoint_steps.measured:
                    runs[number] = await asyncio.to_thread(_save_and_reload, run_writer, replace(run, metrics=metrics))
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

    def _deployment_waves(self, steps: Sequence[Step]) -> Iterator[Sequence[tuple[ServerlessConfig | None, str]]]:
        """Yield configuration and variant of the endpoints to open at once.

        Existing endpoints are not opened together with others, which are deployed as the quotas allow.
        """
        endpoints = list(dict.fromkeys((step.config, step.variant) for step in steps))
        if existing := [(config, variant) for config, variant in endpoints if config is None]:
            yield existing
        deployed = [(config, variant) for config, variant in endpoints if config is not None]
        for configs in deployment_waves([config for config, _ in deployed], self._account.quotas):
            wave = []
            for config in configs:
                wave.append(next(endpoint for endpoint in deployed if endpoint[0] == config))
                deployed.remove(wave[-1])
            yield wave

    async def _run_wave(
        self, wave: Sequence[_EndpointSteps], pool: WorkerPool, rounds: Rounds | None, completed_runs: Mapping[int, Run]
    ) -> list[CloudWatchMetrics]:
        """Deploy the endpoints of a wave in parallel, measure them, and return the CloudWatch metrics of each.

        Args:
            wave: the endpoints and their steps.
            pool: executes the steps.
            rounds: how to measure them in rounds; None to measure each step in one piece.
            completed_runs: the runs of the batch that earlier waves, or an earlier process, completed.
        """
        if rounds is not None and not self._scenario.together:
            if isinstance(pool, BlockPool):
                return await self._run_wave_in_rounds(wave, pool, rounds, completed_runs)
            self._progress.log("several workers: steps are measured one after the other, not in rounds")
        semaphore = asyncio.Semaphore(len(wave) if self._scenario.together else 1)
        async with asyncio.TaskGroup() as group:
            leases = [self._deploy(group, endpoint_steps, pool) for endpoint_steps in wave]
            measurements = [
                group.create_task(self._measure(endpoint_steps, lease, semaphore, pool))
                for endpoint_steps, lease in zip(wave, leases, strict=True)
            ]
        return [task.result() for task in measurements]

    async def _run_wave_in_rounds(
        self, wave: Sequence[_EndpointSteps], pool: BlockPool, rounds: Rounds, completed_runs: Mapping[int, Run]
    ) -> list[CloudWatchMetrics]:
        """Deploy the endpoints of a wave, and measure their steps in rounds once all of them are in service."""
        async with asyncio.TaskGroup() as group:
            leases = [self._deploy(group, endpoint_steps, pool) for endpoint_steps in wave]
            try:
                deployed: list[DeployedStep] = []
                for endpoint_steps, lease in zip(wave, leases, strict=True):
                    endpoint = await self._wait_in_service(endpoint_steps, lease)
                    if endpoint is not None:
                        deployed += [
                            DeployedStep(number, step, endpoint, lease.in_service_at + step.delay)
                            for number, step in endpoint_steps.steps
                        ]
                runner = RoundsRunner(
                    rounds,
                    deployed,
                    completed_runs,
                    step_runner=self._step_runner,
                    pool=pool,
                    progress=self._progress,
                    stop=self._stop,
                )
                measured = {number: (number, run_writer, run) for number, run_writer, run in await runner.run()}
            finally:
                for lease in leases:
                    lease.release()
            for endpoint_steps in wave:
                endpoint_steps.measured.extend(measured[n] for n, _ in endpoint_steps.steps if n in measured)
            reads = [group.create_task(self._read_metrics([run for *_, run in e.measured])) for e in wave]
        return [read.result() for read in reads]

    def _deploy(self, group: asyncio.TaskGroup, endpoint_steps: _EndpointSteps, pool: WorkerPool) -> EndpointLease:
        # Workers open connections of their own; this process then needs one at most.
        connections = max(step.load.connections for _, step in endpoint_steps.steps) if pool.is_local else 1
        return EndpointLease(
            group,
            account_of_step(self._account, endpoint_steps.steps[0][1]),
            endpoint_steps.config,
            connections=connections,
            timeout=self._scenario.timeout,
            log=self._progress.log,
        )

    async def _measure(
        self, endpoint_steps: _EndpointSteps, lease: EndpointLease, semaphore: asyncio.Semaphore, pool: WorkerPool
    ) -> CloudWatchMetrics:
        """Execute the steps of one endpoint when it is in service and its turn has come, then release it."""
        endpoint = await self._wait_in_service(endpoint_steps, lease)
        if endpoint is None:
            return CloudWatchMetrics()
        try:
            async with acquire_or_stop(semaphore, self._stop):
                for number, step in endpoint_steps.steps:
                    if not self._stop.is_set():
                        await sleep_until(lease.in_service_at + step.delay, self._stop)
                        run_writer, run = await self._step_runner.run_step(number, step, endpoint, pool)
                        endpoint_steps.measured.append((number, run_writer, run))
        finally:
            lease.release()
        return await self._read_metrics([run for _, _, run in endpoint_steps.measured])

    async def _wait_in_service(self, endpoint_steps: _EndpointSteps, lease: EndpointLease) -> Endpoint | None:
        """Return the endpoint; None after a stop, and if it was not deployed: then its steps get a run that says so."""
        try:
            return await lease.wait_in_service(self._stop)
        except LoadgenError as error:
            self.causes.append(ExitCause(error.status, f"{endpoint_steps.config}: {error}"))
            self._progress.log(f"not deployed: {endpoint_steps.config}: {error}")
            for number, step in endpoint_steps.steps:
                run_writer, run = self._step_runner.save_failed_deployment(number, step, str(error))
                endpoint_steps.measured.append((number, run_writer, run))
            return None

    async def _read_metrics(self, runs: Sequence[Run]) -> CloudWatchMetrics:
        """Read the CloudWatch metrics of one endpoint over all of its runs.

        CloudWatch resolves one minute at best, so that the runs of one endpoint cannot be separated.
        """
        if not runs or not runs[0].endpoint:
            return CloudWatchMetrics()
        read_task = asyncio.ensure_future(
            account_of_step(self._account, runs[0].step).metrics(
                runs[0].endpoint,
                start=min(run.started for run in runs),
                end=max(run.ended for run in runs),
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


def _save_and_reload(run_writer: RunWriter, run: Run) -> Run:
    """Save a run, and return it as later readers will read it."""
    run_writer.write_metadata(run)
    return read_run(run_writer.directory)
