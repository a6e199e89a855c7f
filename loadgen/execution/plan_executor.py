"""Sweep: the steps of one plan, executed one after the other against the endpoints that they need.

A batch deploys in parallel, in waves that fit the account's quotas, and measures one endpoint at a time, so that no
configuration disturbs another. Every endpoint that was opened is closed on the way out.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

from loadgen.analysis.prices import PriceBook
from loadgen.aws.quotas import deployment_waves
from loadgen.errors import ConfigError, ExitStatus, LoadgenError
from loadgen.execution.endpoint_deployments import _EndpointLease
from loadgen.execution.executor import StepTask, WorkerPool
from loadgen.execution.preflight import RunPolicy
from loadgen.execution.scenario_result import ExitCause
from loadgen.execution.spend_limit import SpendLimit
from loadgen.interfaces import Account, Endpoint, Progress, RemoteTarget
from loadgen.measurement.cloudwatch_metrics import UNITS, CloudWatchMetrics
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Window
from loadgen.results.directory import ResultsDirectory
from loadgen.results.reader import read_run
from loadgen.results.serialization import to_json
from loadgen.results.writer import RunWriter
from loadgen.scenario.scenario import ScenarioProtocol
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step


class PlanExecutor:
    """One scenario while it is carried out."""

    def __init__(
        self, scenario: ScenarioProtocol, account: Account, progress: Progress, stop: asyncio.Event, policy: RunPolicy
    ) -> None:
        self.scenario = scenario
        self.account = account
        self.progress = progress
        self.stop = stop
        self.grace = policy.grace
        self.causes: list[ExitCause] = []
        self.completed_runs: dict[int, Run] = {}
        self.planned_steps = 0
        self.incomplete_reason = ""
        self.spend_limit: SpendLimit | None = None
        if policy.max_spend is not None:
            if None in scenario.configs():
                raise ConfigError(
                    "--max-spend cannot be kept: what stands already has a price of its own", hint="leave it out"
                )
            region = account.identity.region
            self.spend_limit = SpendLimit(
                PriceBook.builtin(), region, limit=policy.max_spend, on_exceeded=self._on_spend_limit
            )

    def _on_spend_limit(self) -> None:
        assert self.spend_limit is not None  # noqa: S101 - it is what calls this
        reason = f"{self.spend_limit.spent_usd:.4f} USD were spent, the limit is reached"
        self.progress.log(f"{reason}: sending no more")
        self._abort(ExitStatus.THRESHOLD, reason)

    def _abort(self, status: ExitStatus, reason: str) -> None:
        """Execute no further step, and end the one in progress."""
        self.causes.append(ExitCause(status, reason))
        self.incomplete_reason = self.incomplete_reason or reason
        self.stop.set()

    def restore(self, completed: Mapping[int, Run]) -> None:
        """Take in the runs of steps that were finished before; what follows the first gap is executed anew."""
        self.completed_runs = dict(completed)
        for run in self.completed_runs.values():
            if self.spend_limit is not None and run.step.config is not None:
                self.spend_limit.add_samples(run.step.config, run.samples)

    async def execute_plan(self, results: ResultsDirectory, pool: WorkerPool) -> None:
        """Send the plan its runs until it has no more steps."""
        self.results, self.pool = results, pool
        plan = self.scenario.plan()
        try:
            batch = next(plan, None)
            while batch is not None:
                runs = await self._run_batch(list(batch)) if not self.stop.is_set() else []
                if self.stop.is_set():
                    self.incomplete_reason = self.incomplete_reason or "stopped before its end"
                    return
                try:
                    batch = plan.send(runs)
                except StopIteration:
                    return
        finally:
            plan.close()

    async def _run_batch(self, steps: Sequence[Step]) -> list[Run]:
        """Execute steps; those of one configuration share an endpoint."""
        numbered = list(enumerate(steps, self.planned_steps + 1))
        self.planned_steps += len(numbered)
        runs = {number: self._completed_run(number, step) for number, step in numbered if number in self.completed_runs}
        missing = [(number, step) for number, step in numbered if number not in runs]
        for wave in self._deployment_waves([step for _, step in missing]):
            leases = [
                _EndpointLease(config, [(n, step) for n, step in missing if step.config == config]) for config in wave
            ]
            for lease, metrics in zip(leases, await self._run_wave(leases), strict=True):
                for number, run_writer, run in lease.measured:
                    runs[number] = await asyncio.to_thread(_save_and_reload, run_writer, replace(run, metrics=metrics))
        return [run for _, run in sorted(runs.items())]

    def _completed_run(self, number: int, step: Step) -> Run:
        """Return the run of a step that was finished before.

        Raises:
            ConfigError: the plan has another step there now.
        """
        run = self.completed_runs[number]
        if to_json(run.step) != to_json(step):
            raise ConfigError(
                f"step {number} of the plan is {step.name or step.config}, the saved one {run.step.name}",
                hint="start anew in another --out",
            )
        return run

    def _deployment_waves(self, steps: Sequence[Step]) -> Iterator[Sequence[ServerlessConfig | None]]:
        """Yield which configurations to deploy at once: what stands already goes alone, the rest fits the quotas."""
        configs = dict.fromkeys(step.config for step in steps)
        if None in configs:
            yield [None]
        yield from deployment_waves([config for config in configs if config is not None], self.account.quotas)

    async def _run_wave(self, leases: Sequence[_EndpointLease]) -> list[CloudWatchMetrics]:
        """Deploy these endpoints at once, measure them, and return what CloudWatch says of each."""
        semaphore = asyncio.Semaphore(len(leases) if self.scenario.together else 1)
        async with asyncio.TaskGroup() as group:
            deployments = [group.create_task(self._keep_deployed(stand)) for stand in leases]
            measurements = [
                group.create_task(self._measure(stand, held, semaphore))
                for stand, held in zip(leases, deployments, strict=True)
            ]
        return [task.result() for task in measurements]

    async def _keep_deployed(self, lease: _EndpointLease) -> None:
        """Open an endpoint, keep it until it is released, and close it."""
        # Where workers send, each has connections of its own, and this process needs none to speak of.
        connections = max(step.load.connections for _, step in lease.steps) if self.pool.is_local else 1
        if lease.config is not None:
            self.progress.log(f"deploying {lease.config}")
        endpoint_context = self.account.open(lease.config, connections=connections, timeout=self.scenario.timeout)
        try:
            async with endpoint_context as endpoint:
                lease.ready_at = time.monotonic()
                lease.ready.set_result(endpoint)
                await lease.released.wait()
        except LoadgenError as error:
            if lease.ready.done():
                raise
            lease.ready.set_exception(error)
        finally:
            lease.ready.cancel()

    async def _measure(
        self, lease: _EndpointLease, deployment: "asyncio.Task[None]", semaphore: asyncio.Semaphore
    ) -> CloudWatchMetrics:
        """Execute the steps of one endpoint when it is in service and its turn has come, then let it go."""
        await self._wait_or_stop(lease.ready)
        if not lease.ready.done():
            deployment.cancel()
            return CloudWatchMetrics()
        error = lease.ready.exception()
        if isinstance(error, LoadgenError):
            self._save_failed_deployment(lease, error)
            return CloudWatchMetrics()
        try:
            await self._acquire(semaphore)
            try:
                for number, step in lease.steps:
                    if not self.stop.is_set():
                        executed = await self._run_step(number, step, lease, lease.ready.result())
                        lease.measured.append((number, *executed))
            finally:
                semaphore.release()
        finally:
            lease.released.set()
        return await self._read_metrics(lease)

    async def _acquire(self, semaphore: asyncio.Semaphore) -> None:
        """Wait for one's turn; once the run is stopped, nobody has to: whoever still drains keeps no other standing."""
        acquisition = asyncio.ensure_future(semaphore.acquire())
        try:
            await self._wait_or_stop(acquisition)
        finally:
            if not acquisition.done():
                acquisition.cancel()
                semaphore.release()  # the one that the caller gives back

    async def _wait_or_stop(self, future: "asyncio.Future[Any]") -> None:
        stop_task = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait([future, stop_task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop_task.cancel()

    async def _run_step(
        self, number: int, step: Step, lease: _EndpointLease, endpoint: Endpoint
    ) -> tuple[RunWriter, Run]:
        """Execute one step against an endpoint that is in service."""
        await self._sleep_until(lease.ready_at + step.delay)
        run_fields: dict[str, Any] = {
            "started": time.time(),
            "endpoint": endpoint.name,
            "deploy_duration": endpoint.deploy_duration,
            "transport": endpoint.transport_name,
            "transport_note": endpoint.transport_note,
            "together": self.scenario.together,
        }
        run_writer = self.results.create_run(number, step, run_fields)
        try:
            before = await self.account.server_counts(endpoint.name)
            self.progress.step_started(step)
            run = await self.pool.run_step(self._step_task(step, endpoint, run_writer))
            after = await self.account.server_counts(endpoint.name)
        finally:
            await asyncio.to_thread(run_writer.close)
        if run.workers and all(worker.lost_reason for worker in run.workers):
            self._abort(ExitStatus.OS_RESOURCE, "every worker was lost")
        if before is not None and after is not None:
            run_fields["server_counts"] = {name: count - before.get(name, 0) for name, count in after.items()}
        del run_fields["started"]  # the engine knows it better
        run = replace(run, **run_fields)
        run_writer.write_metadata(run)
        self._add_spend(run_writer)
        self.progress.step_finished(step, run)
        return run_writer, run

    def _on_window(self, run_writer: RunWriter, window: Window) -> None:
        self.progress.window_closed(run_writer.step, window)
        self._add_spend(run_writer)

    def _add_spend(self, run_writer: RunWriter) -> None:
        """Count what the step has cost so far, for whoever set a limit."""
        if self.spend_limit is not None and run_writer.step.config is not None:
            self.spend_limit.add_samples(run_writer.step.config, run_writer.read_new_samples())

    def _step_task(self, step: Step, endpoint: Endpoint, run_writer: RunWriter) -> StepTask:
        target = self.scenario.target
        return StepTask(
            step,
            endpoint,
            # Which targets other processes can call was asked when the crew was assembled.
            lambda: cast("RemoteTarget", target).for_workers(self.account, endpoint.name),
            self.account.identity,
            self.scenario.requests,
            run_writer,
            seed=self.scenario.seed,
            timeout=self.scenario.timeout,
            grace=self.grace,
            on_window=lambda window: self._on_window(run_writer, window),
            stop=self.stop,
        )

    async def _sleep_until(self, deadline: float) -> None:
        """Wait until an instant of the monotonic clock, or until the run is stopped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self.stop.wait()

    def _save_failed_deployment(self, lease: _EndpointLease, error: LoadgenError) -> None:
        """Keep a run that says why there is nothing to show; the rest of the sweep goes on."""
        self.causes.append(ExitCause(error.status, f"{lease.config}: {error}"))
        self.progress.log(f"not deployed: {lease.config}: {error}")
        for number, step in lease.steps:
            run_writer = self.results.create_run(number, step, {"started": time.time()})
            run_writer.sink.close()
            run = Run(step, time.time(), 0.0, "not deployed", 0, failure=str(error))
            lease.measured.append((number, run_writer, run))
            self.progress.step_finished(step, run)

    async def _read_metrics(self, lease: _EndpointLease) -> CloudWatchMetrics:
        """Ask CloudWatch about an endpoint.

        CloudWatch tells minutes apart, no less: the steps of one endpoint share one answer over all of them.
        """
        runs = [run for _, _, run in lease.measured if run.endpoint]
        if not runs:
            return CloudWatchMetrics()
        read_task = asyncio.ensure_future(
            self.account.metrics(
                runs[0].endpoint,
                start=runs[0].started,
                end=runs[-1].started + runs[-1].duration,
                # What was refused may or may not be counted there: it is not waited for.
                invocations=sum(run.count(OutcomeCategory.OK) + run.count(OutcomeCategory.FAILED) for run in runs),
            )
        )
        try:
            await self._wait_or_stop(read_task)
            if read_task.done():
                return replace(read_task.result(), step_count=len(runs))
            return CloudWatchMetrics(
                unavailable=dict.fromkeys(UNITS, "the run was stopped before CloudWatch had counted")
            )
        finally:
            read_task.cancel()


def _save_and_reload(run_writer: RunWriter, run: Run) -> Run:
    """Keep a run, and return it as it will be read from now on."""
    run_writer.write_metadata(run)
    return read_run(run_writer.directory)
