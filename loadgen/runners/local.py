"""Carries a scenario out from this process: deploys, has a crew measure, collects, removes.

A batch deploys in parallel, in waves that fit the account's quotas, and measures one endpoint at a time, so that no
configuration disturbs another. Whatever happens, every endpoint that was opened is closed on the way out.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

from loadgen import engine
from loadgen.aws.quotas import waves
from loadgen.errors import ExitStatus, LoadgenError
from loadgen.manifest import Manifest
from loadgen.metric import UNITS, Metrics
from loadgen.outcome import Column
from loadgen.record import Window
from loadgen.results import Recording, Results, prepare
from loadgen.runners.crew import Alone, Assignment, Crew, Team
from loadgen.runs import Run
from loadgen.scenario import Runnable
from loadgen.step import Step
from loadgen.target import Account, Endpoint, Identity, Leftover, Portable, ServerlessConfig

GRACE = 10.0  # seconds that requests in flight are given after an interrupt


class Progress(Protocol):
    """Is told what happens while it happens; must return at once."""

    def say(self, text: str) -> None:
        """A sentence for whoever watches."""
        ...

    def begin(self, step: Step) -> None:
        """A step starts to send."""
        ...

    def window(self, step: Step, window: Window) -> None:
        """A second of a step has passed."""
        ...

    def end(self, step: Step, run: Run) -> None:
        """A step has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a scenario.

    Args:
        results: where everything is kept.
        runs: in the order of execution, read back from there.
        statuses: what went wrong on the way, beside what the runs themselves say.
        leftovers: what may still exist, with the command that removes it.
        is_partial: True when it was stopped before its end.
    """

    results: Results
    runs: tuple[Run, ...]
    statuses: tuple[ExitStatus, ...]
    leftovers: tuple[Leftover, ...]
    is_partial: bool


async def carry_out(
    scenario: Runnable,
    out: Path,
    *,
    run_id: str,
    describe: Callable[[Identity], Manifest],
    progress: Progress,
    stop: asyncio.Event,
    crew: Crew | None = None,
) -> Finished:
    """Execute a scenario's plan against its target and save every run under `out`.

    Args:
        scenario: what to do.
        out: the output directory; must not hold a run.
        run_id: tags and names what is created.
        describe: makes the manifest once it is known where it runs.
        progress: is told what happens.
        stop: set it to end early: nothing more is sent, endpoints are removed, what was measured is kept.
        crew: who sends the requests; None for this process alone.

    Raises:
        LoadgenError: it could not start, or could not be kept.
    """
    prepare(out)
    async with scenario.target.account(run_id=run_id) as account:
        progress.say(f"{account.identity.kind} {account.identity.detail}".strip())
        await account.check(scenario.configs())
        results = Results.create(out, describe(account.identity))
        try:
            async with (crew or Alone()).assembled(scenario.target, scenario.requests, progress.say) as team:
                sweep = _Sweep(scenario, account, results, progress, stop, team)
                await sweep.carry_out()
        except BaseExceptionGroup as group:
            raise engine.cause(group) from group
        finally:
            leftovers = tuple(account.leftovers())
            for line in leftovers:
                progress.say(f"left behind: {line}")
    if leftovers:
        sweep.statuses.append(ExitStatus.LEFTOVERS)
    return Finished(sweep.results, sweep.results.runs(), tuple(sweep.statuses), leftovers, stop.is_set())


@dataclass(slots=True)
class _Stand:
    """An endpoint from its deployment to its removal."""

    config: ServerlessConfig | None
    steps: Sequence[tuple[int, Step]]  # with their numbers in the plan
    ready: "asyncio.Future[Endpoint]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    released: asyncio.Event = field(default_factory=asyncio.Event)
    since: float = 0.0
    measured: list[tuple[int, Recording, Run]] = field(default_factory=list)


class _Sweep:
    """One scenario while it is carried out."""

    def __init__(
        self,
        scenario: Runnable,
        account: Account,
        results: Results,
        progress: Progress,
        stop: asyncio.Event,
        team: Team,
    ) -> None:
        self.scenario = scenario
        self.account = account
        self.results = results
        self.progress = progress
        self.stop = stop
        self.team = team
        self.statuses: list[ExitStatus] = []
        self.planned = 0
        self.is_deserted = False  # every worker was lost: there is nobody to send more

    def is_over(self) -> bool:
        """Tell whether no further step can be executed, or is wanted."""
        return self.stop.is_set() or self.is_deserted

    async def carry_out(self) -> None:
        """Send the plan its runs until it has no more steps."""
        plan = self.scenario.plan()
        try:
            batch = next(plan, None)
            while batch is not None and not self.is_over():
                runs = await self._batch(list(batch))
                if self.is_over():
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
        runs: dict[int, Run] = {}
        for wave in self._waves(steps):
            stands = [_Stand(config, [(n, step) for n, step in numbered if step.config == config]) for config in wave]
            for stand, metrics in zip(stands, await self._wave(stands), strict=True):
                for number, recording, run in stand.measured:
                    runs[number] = await asyncio.to_thread(recording.finish, replace(run, metrics=metrics))
        return [run for _, run in sorted(runs.items())]

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
        connections = max(step.load.connections for _, step in stand.steps)
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
            async with turn:
                for number, step in stand.steps:
                    if not self.is_over():
                        executed = await self._execute(number, step, stand, stand.ready.result())
                        stand.measured.append((number, *executed))
        finally:
            stand.released.set()
        return await self._metrics(stand)

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
            self.is_deserted = True
            self.statuses.append(ExitStatus.OS_RESOURCE)
        if before is not None and after is not None:
            facts["ledger"] = {name: count - before.get(name, 0) for name, count in after.items()}
        del facts["started"]  # the engine knows it better
        run = replace(run, **facts)
        recording.keep(run)
        self.progress.end(step, run)
        return recording, run

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
            grace=GRACE,
            on_window=lambda window: self.progress.window(step, window),
            stop=self.stop,
        )

    async def _rest(self, until: float) -> None:
        """Wait until an instant of the monotonic clock, or until the run is stopped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self.stop.wait()

    def _not_deployed(self, stand: _Stand, error: LoadgenError) -> None:
        """Keep a run that says why there is nothing to show; the rest of the sweep goes on."""
        self.statuses.append(error.status)
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
