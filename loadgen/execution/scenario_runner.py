"""Carries a scenario out from this process: checks, keeps a journal, executes, and says what became of it.

Nothing is created before everything that can be known beforehand was found to be in order; the steps themselves are
sweep.py's.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from loadgen.aws.deployment.journal import NAME, Journaled, read_journal
from loadgen.aws.deployment.run_registry import kept
from loadgen.engine import engine
from loadgen.errors import ConfigError, DataError, ExitStatus, LoadgenError, WriteError
from loadgen.execution.executor import Alone, Crew
from loadgen.execution.plan_executor import Sweep
from loadgen.execution.preflight import Precautions, check_same, foreseen, unless
from loadgen.execution.run_identity import Circumstances
from loadgen.execution.run_result import Cause, Finished
from loadgen.interfaces import Account, Identity, Progress
from loadgen.results.directory import Results, occupied
from loadgen.results.manifest import Manifest
from loadgen.scenario.loader import LoadedScenario
from loadgen.scenario.scenario import Runnable


async def run_scenario(
    loaded: LoadedScenario,
    out: Path | None,
    *,
    command: str,
    progress: Progress,
    stop: asyncio.Event,
    crew: Crew | None = None,
    precautions: Precautions | None = None,
    reached: Callable[[Account, str], None] | None = None,
    run_id: str = "",
) -> Finished | None:
    """Run a scenario and keep everything under `out`, or under a new directory in ./results.

    Returns:
        What became of it; None after a dry run.

    Raises:
        LoadgenError: it could not start; nothing was created.
    """
    about = Circumstances.of(loaded, command=command, run_id=run_id)
    allowed = precautions or Precautions()
    directory = out or about.default_out(Path("results"))
    if allowed.is_resumed:
        about = replace(about, run_id=_resumable(directory).manifest.run_id)
    return await execute_scenario(
        loaded.scenario,
        directory,
        run_id=about.run_id,
        describe=about.manifest,
        progress=progress,
        stop=stop,
        crew=crew,
        precautions=allowed,
        reached=reached,
    )


def _resumable(directory: Path) -> Results:
    try:
        return Results.open(directory)
    except DataError as error:
        raise ConfigError(f"{directory} cannot be resumed: {error.message}", hint=error.hint) from error


_NONE = Precautions()


async def execute_scenario(
    scenario: Runnable,
    out: Path,
    *,
    run_id: str,
    describe: Callable[[Identity], Manifest],
    progress: Progress,
    stop: asyncio.Event,
    crew: Crew | None = None,
    precautions: Precautions = _NONE,
    reached: Callable[[Account, str], None] | None = None,
) -> Finished | None:
    """Execute a scenario's plan against its target and save every run under `out`.

    Args:
        scenario: what to do.
        out: the output directory; must not hold a run, unless it is resumed.
        run_id: tags and names what is created.
        describe: makes the manifest once it is known where it runs.
        progress: is told what happens.
        stop: set it to end early: nothing more is sent, endpoints are removed, what was measured is kept.
        crew: who sends the requests; None for this process alone.
        precautions: what it is allowed.
        reached: is given the account and the run's id before anything is created, for whoever must leave at once and
            say what may remain.

    Returns:
        What became of it; None after a dry run.

    Raises:
        LoadgenError: it could not start; nothing was created. What happens later is in `Finished.failure`.
    """
    async with AsyncExitStack() as stack:
        note = stack.enter_context(occupied(out, is_resumed=precautions.is_resumed))
        async with unless(stop):
            account = await stack.enter_async_context(scenario.target.account(run_id=run_id))
            progress.say(f"{account.identity.kind} {account.identity.detail}".strip())
            precautions.check_account(account.identity)
            await account.check(scenario.configs())
        foresight = foreseen(scenario, account)
        for line in (*filter(None, [note]), *foresight.lines()):
            progress.say(line)
        foresight.refuse_enormous(precautions.max_endpoints)
        sweep = Sweep(scenario, account, progress, stop, precautions)
        if precautions.is_dry:
            return None
        manifest = describe(account.identity)
        if precautions.is_resumed:
            results = Results.open(out)
            check_same(results.manifest, manifest, out)
        else:
            results = Results.create(out, manifest)
        if reached is not None:
            reached(account, run_id)
        return await _finish(sweep, results, account, crew or Alone(), precautions)
    raise AssertionError  # the stack swallows nothing


async def _finish(sweep: Sweep, results: Results, account: Account, crew: Crew, precautions: Precautions) -> Finished:
    """Carry a sweep out in an account that was found fit, whatever happens, and say what became of it."""
    failure: BaseException | None = None
    scenario, say = sweep.scenario, sweep.progress.say
    try:
        with _journaled(account, results, precautions.state, say):
            if precautions.is_resumed:
                await _pick_up(sweep, results, account)
            async with crew.assembled(scenario.target, scenario.requests, say) as team:
                await sweep.carry_out(results, team)
    except BaseExceptionGroup as group:
        failure = engine.cause(group)
    except Exception as error:  # noqa: BLE001 - whatever it was: what may be left behind is told beside it
        failure = error
    leftovers = tuple(account.leftovers())
    for leftover in leftovers:
        say(f"left behind: {leftover}")
    if failure is not None and (not isinstance(failure, Exception) or not (sweep.planned or leftovers)):
        raise failure
    causes = list(sweep.causes)
    if failure is not None:
        causes.append(Cause(_status_of(failure), str(failure) or type(failure).__name__))
    if leftovers:
        causes.append(Cause(ExitStatus.LEFTOVERS, f"{len(leftovers)} things may still exist"))
    partial = sweep.partial or (str(failure) if failure is not None else "")
    try:
        runs = results.runs()
    except LoadgenError as error:  # what may be left behind must be told all the same
        runs = ()
        causes.append(Cause(error.status, str(error)))
    return Finished(results, runs, tuple(causes), leftovers, partial, failure)


def _status_of(failure: BaseException) -> ExitStatus:
    if isinstance(failure, MemoryError):
        return ExitStatus.OS_RESOURCE
    return failure.status if isinstance(failure, LoadgenError) else ExitStatus.INTERNAL


@contextmanager
def _journaled(account: Account, results: Results, state: Path | None, say: Callable[[str], None]) -> Iterator[None]:
    if not isinstance(account, Journaled):
        yield
        return
    with kept(account, results.path, run_id=results.manifest.run_id, state=state, say=say) as journal:
        yield
    if journal.trouble:
        raise WriteError(journal.trouble)


async def _pick_up(sweep: Sweep, results: Results, account: Account) -> None:
    """Remove what the process that died left, and keep the steps that it finished."""
    if isinstance(account, Journaled):
        noted = read_journal(results.path / NAME)
        if noted.standing:
            sweep.progress.say(f"removing what was left: {', '.join(sorted({name for _, name in noted.standing}))}")
            await account.clear(noted.standing)
    sweep.keep(results.finished())
    moved = results.set_aside(sweep.kept)
    sweep.progress.say(f"resumed: {len(sweep.kept)} steps are kept, {moved} that did not end moved to interrupted/")
