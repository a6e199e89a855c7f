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
from loadgen.aws.quotas import waves
from loadgen.errors import ConfigError, ExitStatus, LoadgenError
from loadgen.execution.endpoint_deployments import _Stand
from loadgen.execution.executor import Assignment, Team
from loadgen.execution.preflight import Precautions
from loadgen.execution.run_result import Cause
from loadgen.execution.spend_limit import Spending
from loadgen.interfaces import Account, Endpoint, Portable, Progress
from loadgen.measurement.cloudwatch_metrics import UNITS, Metrics
from loadgen.measurement.outcome import Column
from loadgen.measurement.run import Run
from loadgen.measurement.tally import Window
from loadgen.results.directory import Results
from loadgen.results.reader import read_run
from loadgen.results.serialization import to_plain
from loadgen.results.writer import Recording
from loadgen.scenario.scenario import Runnable
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step


class Sweep:
    """One scenario while it is carried out."""

    def __init__(
        self, scenario: Runnable, account: Account, progress: Progress, stop: asyncio.Event, precautions: Precautions
    ) -> None:
        self.scenario = scenario
        self.account = account
        self.progress = progress
        self.stop = stop
        self.grace = precautions.grace
        self.causes: list[Cause] = []
        self.kept: dict[int, Run] = {}
        self.planned = 0
        self.partial = ""
        self.spending: Spending | None = None
        if precautions.max_spend is not None:
            if None in scenario.configs():
                raise ConfigError(
                    "--max-spend cannot be kept: what stands already has a price of its own", hint="leave it out"
                )
            region = account.identity.region
            self.spending = Spending(PriceBook.builtin(), region, limit=precautions.max_spend, on_limit=self._spent)

    def _spent(self) -> None:
        assert self.spending is not None  # noqa: S101 - it is what calls this
        words = f"{self.spending.usd:.4f} USD were spent, the limit is reached"
        self.progress.say(f"{words}: sending no more")
        self._break_off(ExitStatus.THRESHOLD, words)

    def _break_off(self, status: ExitStatus, words: str) -> None:
        """Execute no further step, and end the one in progress."""
        self.causes.append(Cause(status, words))
        self.partial = self.partial or words
        self.stop.set()

    def keep(self, finished: Mapping[int, Run]) -> None:
        """Take in the runs of steps that were finished before; what follows the first gap is executed anew."""
        self.kept = dict(finished)
        for run in self.kept.values():
            if self.spending is not None and run.step.config is not None:
                self.spending.add(run.step.config, run.samples)

    async def carry_out(self, results: Results, team: Team) -> None:
        """Send the plan its runs until it has no more steps."""
        self.results, self.team = results, team
        plan = self.scenario.plan()
        try:
            batch = next(plan, None)
            while batch is not None:
                runs = await self._batch(list(batch)) if not self.stop.is_set() else []
                if self.stop.is_set():
                    self.partial = self.partial or "stopped before its end"
                    return
                try:
                    batch = plan.send(runs)
                except StopIteration:
                    return
        finally:
            plan.close()

    async def _batch(self, steps: Sequence[Step]) -> list[Run]:
        """Execute steps; those of one configuration share an endpoint."""
        numbered = list(enumerate(steps, self.planned + 1))
        self.planned += len(numbered)
        runs = {number: self._kept(number, step) for number, step in numbered if number in self.kept}
        missing = [(number, step) for number, step in numbered if number not in runs]
        for wave in self._waves([step for _, step in missing]):
            stands = [_Stand(config, [(n, step) for n, step in missing if step.config == config]) for config in wave]
            for stand, metrics in zip(stands, await self._wave(stands), strict=True):
                for number, recording, run in stand.measured:
                    runs[number] = await asyncio.to_thread(_finished, recording, replace(run, metrics=metrics))
        return [run for _, run in sorted(runs.items())]

    def _kept(self, number: int, step: Step) -> Run:
        """Return the run of a step that was finished before.

        Raises:
            ConfigError: the plan has another step there now.
        """
        run = self.kept[number]
        if to_plain(run.step) != to_plain(step):
            raise ConfigError(
                f"step {number} of the plan is {step.name or step.config}, the saved one {run.step.name}",
                hint="start anew in another --out",
            )
        return run

    def _waves(self, steps: Sequence[Step]) -> Iterator[Sequence[ServerlessConfig | None]]:
        """Yield which configurations to deploy at once: what stands already goes alone, the rest fits the quotas."""
        configs = dict.fromkeys(step.config for step in steps)
        if None in configs:
            yield [None]
        yield from waves([config for config in configs if config is not None], self.account.quotas)

    async def _wave(self, stands: Sequence[_Stand]) -> list[Metrics]:
        """Deploy these endpoints at once, measure them, and return what CloudWatch says of each."""
        turn = asyncio.Semaphore(len(stands) if self.scenario.together else 1)
        async with asyncio.TaskGroup() as group:
            holding = [group.create_task(self._hold(stand)) for stand in stands]
            asked = [
                group.create_task(self._measure(stand, held, turn)) for stand, held in zip(stands, holding, strict=True)
            ]
        return [task.result() for task in asked]

    async def _hold(self, stand: _Stand) -> None:
        """Open an endpoint, keep it until it is released, and close it."""
        # Where workers send, each has connections of its own, and this process needs none to speak of.
        connections = max(step.load.connections for _, step in stand.steps) if self.team.is_here else 1
        if stand.config is not None:
            self.progress.say(f"deploying {stand.config}")
        opening = self.account.open(stand.config, connections=connections, timeout=self.scenario.timeout)
        try:
            async with opening as endpoint:
                stand.since = time.monotonic()
                stand.ready.set_result(endpoint)
                await stand.released.wait()
        except LoadgenError as error:
            if stand.ready.done():
                raise
            stand.ready.set_exception(error)
        finally:
            stand.ready.cancel()

    async def _measure(self, stand: _Stand, holding: "asyncio.Task[None]", turn: asyncio.Semaphore) -> Metrics:
        """Execute the steps of one endpoint when it is in service and its turn has come, then let it go."""
        await self._done_or_stopped(stand.ready)
        if not stand.ready.done():
            holding.cancel()
            return Metrics()
        error = stand.ready.exception()
        if isinstance(error, LoadgenError):
            self._not_deployed(stand, error)
            return Metrics()
        try:
            await self._take(turn)
            try:
                for number, step in stand.steps:
                    if not self.stop.is_set():
                        executed = await self._execute(number, step, stand, stand.ready.result())
                        stand.measured.append((number, *executed))
            finally:
                turn.release()
        finally:
            stand.released.set()
        return await self._metrics(stand)

    async def _take(self, turn: asyncio.Semaphore) -> None:
        """Wait for one's turn; once the run is stopped, nobody has to: whoever still drains keeps no other standing."""
        taking = asyncio.ensure_future(turn.acquire())
        try:
            await self._done_or_stopped(taking)
        finally:
            if not taking.done():
                taking.cancel()
                turn.release()  # the one that the caller gives back

    async def _done_or_stopped(self, future: "asyncio.Future[Any]") -> None:
        stopped = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait([future, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()

    async def _execute(self, number: int, step: Step, stand: _Stand, endpoint: Endpoint) -> tuple[Recording, Run]:
        """Execute one step against an endpoint that is in service."""
        await self._rest(stand.since + step.delay)
        facts: dict[str, Any] = {
            "started": time.time(),
            "endpoint": endpoint.name,
            "deployed_in": endpoint.deployed_in,
            "transport": endpoint.transport_name,
            "transport_note": endpoint.transport_note,
            "together": self.scenario.together,
        }
        recording = self.results.begin(number, step, facts)
        try:
            before = await self.account.ledger(endpoint.name)
            self.progress.begin(step)
            run = await self.team.execute(self._assignment(step, endpoint, recording))
            after = await self.account.ledger(endpoint.name)
        finally:
            await asyncio.to_thread(recording.close)
        if run.workers and all(worker.lost for worker in run.workers):
            self._break_off(ExitStatus.OS_RESOURCE, "every worker was lost")
        if before is not None and after is not None:
            facts["ledger"] = {name: count - before.get(name, 0) for name, count in after.items()}
        del facts["started"]  # the engine knows it better
        run = replace(run, **facts)
        recording.keep(run)
        self._count(recording)
        self.progress.end(step, run)
        return recording, run

    def _window(self, recording: Recording, window: Window) -> None:
        self.progress.window(recording.step, window)
        self._count(recording)

    def _count(self, recording: Recording) -> None:
        """Count what the step has cost so far, for whoever set a limit."""
        if self.spending is not None and recording.step.config is not None:
            self.spending.add(recording.step.config, recording.fresh())

    def _assignment(self, step: Step, endpoint: Endpoint, recording: Recording) -> Assignment:
        target = self.scenario.target
        return Assignment(
            step,
            endpoint,
            # Which targets other processes can call was asked when the crew was assembled.
            lambda: cast("Portable", target).elsewhere(self.account, endpoint.name),
            self.account.identity,
            self.scenario.requests,
            recording,
            seed=self.scenario.seed,
            timeout=self.scenario.timeout,
            grace=self.grace,
            on_window=lambda window: self._window(recording, window),
            stop=self.stop,
        )

    async def _rest(self, until: float) -> None:
        """Wait until an instant of the monotonic clock, or until the run is stopped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self.stop.wait()

    def _not_deployed(self, stand: _Stand, error: LoadgenError) -> None:
        """Keep a run that says why there is nothing to show; the rest of the sweep goes on."""
        self.causes.append(Cause(error.status, f"{stand.config}: {error}"))
        self.progress.say(f"not deployed: {stand.config}: {error}")
        for number, step in stand.steps:
            recording = self.results.begin(number, step, {"started": time.time()})
            recording.sink.close()
            run = Run(step, time.time(), 0.0, "not deployed", 0, failure=str(error))
            stand.measured.append((number, recording, run))
            self.progress.end(step, run)

    async def _metrics(self, stand: _Stand) -> Metrics:
        """Ask CloudWatch about an endpoint.

        CloudWatch tells minutes apart, no less: the steps of one endpoint share one answer over all of them.
        """
        runs = [run for _, _, run in stand.measured if run.endpoint]
        if not runs:
            return Metrics()
        asking = asyncio.ensure_future(
            self.account.metrics(
                runs[0].endpoint,
                start=runs[0].started,
                end=runs[-1].started + runs[-1].duration,
                # What was refused may or may not be counted there: it is not waited for.
                invocations=sum(run.count(Column.OK) + run.count(Column.FAILED) for run in runs),
            )
        )
        try:
            await self._done_or_stopped(asking)
            if asking.done():
                return replace(asking.result(), steps=len(runs))
            return Metrics(missing=dict.fromkeys(UNITS, "the run was stopped before CloudWatch had counted"))
        finally:
            asking.cancel()


def _finished(recording: Recording, run: Run) -> Run:
    """Keep a run, and return it as it will be read from now on."""
    recording.keep(run)
    return read_run(recording.directory)
