"""Carries a scenario out from this process: checks, keeps a journal, executes, and says what became of it.

Nothing is created before everything that can be known beforehand was found to be in order; the steps themselves are
sweep.py's.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from loadgen.aws.deployment.journal import JOURNAL_FILE, SupportsJournal, read_journal
from loadgen.aws.deployment.run_registry import journaled_run
from loadgen.engine import engine
from loadgen.errors import ConfigError, DataError, ExitStatus, LoadgenError, WriteError
from loadgen.execution.executor import Executor, LocalExecutor
from loadgen.execution.plan_executor import PlanExecutor
from loadgen.execution.preflight import RunPolicy, cancel_on, check_resumable, forecast_for_account
from loadgen.execution.run_identity import RunContext
from loadgen.execution.scenario_result import ExitCause, ScenarioResult
from loadgen.interfaces import Account, Identity, Progress
from loadgen.results.directory import ResultsDirectory, claim_directory
from loadgen.results.manifest import Manifest
from loadgen.scenario.loader import LoadedScenario
from loadgen.scenario.scenario import ScenarioProtocol


async def run_scenario(
    loaded: LoadedScenario,
    out: Path | None,
    *,
    command: str,
    progress: Progress,
    stop: asyncio.Event,
    executor: Executor | None = None,
    policy: RunPolicy | None = None,
    on_account_opened: Callable[[Account, str], None] | None = None,
    run_id: str = "",
) -> ScenarioResult | None:
    """Run a scenario and keep everything under `out`, or under a new directory in ./results.

    Returns:
        What became of it; None after a dry run.

    Raises:
        LoadgenError: it could not start; nothing was created.
    """
    context = RunContext.create(loaded, command=command, run_id=run_id)
    allowed = policy or RunPolicy()
    directory = out or context.default_out(Path("results"))
    if allowed.resume:
        context = replace(context, run_id=_open_resumable(directory).manifest.run_id)
    return await execute_scenario(
        loaded.scenario,
        directory,
        run_id=context.run_id,
        make_manifest=context.make_manifest,
        progress=progress,
        stop=stop,
        executor=executor,
        policy=allowed,
        on_account_opened=on_account_opened,
    )


def _open_resumable(directory: Path) -> ResultsDirectory:
    try:
        return ResultsDirectory.open(directory)
    except DataError as error:
        raise ConfigError(f"{directory} cannot be resumed: {error.message}", hint=error.hint) from error


_DEFAULT_POLICY = RunPolicy()


async def execute_scenario(
    scenario: ScenarioProtocol,
    out: Path,
    *,
    run_id: str,
    make_manifest: Callable[[Identity], Manifest],
    progress: Progress,
    stop: asyncio.Event,
    executor: Executor | None = None,
    policy: RunPolicy = _DEFAULT_POLICY,
    on_account_opened: Callable[[Account, str], None] | None = None,
) -> ScenarioResult | None:
    """Execute a scenario's plan against its target and save every run under `out`.

    Args:
        scenario: what to do.
        out: the output directory; must not hold a run, unless it is resumed.
        run_id: tags and names what is created.
        make_manifest: makes the manifest once it is known where it runs.
        progress: is told what happens.
        stop: set it to end early: nothing more is sent, endpoints are removed, what was measured is kept.
        executor: who sends the requests; None for this process alone.
        policy: what it is allowed.
        on_account_opened: is given the account and the run's id before anything is created, for whoever must leave at once and
            say what may remain.

    Returns:
        What became of it; None after a dry run.

    Raises:
        LoadgenError: it could not start; nothing was created. What happens later is in `ScenarioResult.failure`.
    """
    async with AsyncExitStack() as stack:
        lock_note = stack.enter_context(claim_directory(out, resume=policy.resume))
        async with cancel_on(stop):
            account = await stack.enter_async_context(scenario.target.account(run_id=run_id))
            progress.log(f"{account.identity.kind} {account.identity.detail}".strip())
            policy.check_account(account.identity)
            await account.check(scenario.configs())
        forecast = forecast_for_account(scenario, account)
        for line in (*filter(None, [lock_note]), *forecast.lines()):
            progress.log(line)
        forecast.check_endpoint_limit(policy.max_endpoints)
        plan_executor = PlanExecutor(scenario, account, progress, stop, policy)
        if policy.dry_run:
            return None
        manifest = make_manifest(account.identity)
        if policy.resume:
            results = ResultsDirectory.open(out)
            check_resumable(results.manifest, manifest, out)
        else:
            results = ResultsDirectory.create(out, manifest)
        if on_account_opened is not None:
            on_account_opened(account, run_id)
        return await _execute_plan(plan_executor, results, account, executor or LocalExecutor(), policy)
    raise AssertionError  # the stack swallows nothing


async def _execute_plan(
    plan_executor: PlanExecutor, results: ResultsDirectory, account: Account, executor: Executor, policy: RunPolicy
) -> ScenarioResult:
    """Carry a sweep out in an account that was found fit, whatever happens, and say what became of it."""
    failure: BaseException | None = None
    scenario, log = plan_executor.scenario, plan_executor.progress.log
    try:
        with _open_journal(account, results, policy.state_dir, log):
            if policy.resume:
                await _resume(plan_executor, results, account)
            async with executor.start(scenario.target, scenario.requests, log) as team:
                await plan_executor.execute_plan(results, team)
    except BaseExceptionGroup as group:
        failure = engine.first_exception(group)
    except Exception as error:  # noqa: BLE001 - whatever it was: what may be left behind is told beside it
        failure = error
    leftovers = tuple(account.leftovers())
    for leftover in leftovers:
        log(f"left behind: {leftover}")
    if failure is not None and (not isinstance(failure, Exception) or not (plan_executor.planned_steps or leftovers)):
        raise failure
    causes = list(plan_executor.causes)
    if failure is not None:
        causes.append(ExitCause(_exit_status(failure), str(failure) or type(failure).__name__))
    if leftovers:
        causes.append(ExitCause(ExitStatus.RESOURCE_LEAK, f"{len(leftovers)} things may still exist"))
    partial = plan_executor.incomplete_reason or (str(failure) if failure is not None else "")
    try:
        runs = results.read_runs()
    except LoadgenError as error:  # what may be left behind must be told all the same
        runs = ()
        causes.append(ExitCause(error.status, str(error)))
    return ScenarioResult(results, runs, tuple(causes), leftovers, partial, failure)


def _exit_status(error: BaseException) -> ExitStatus:
    if isinstance(error, MemoryError):
        return ExitStatus.OS_RESOURCE
    return error.status if isinstance(error, LoadgenError) else ExitStatus.INTERNAL


@contextmanager
def _open_journal(
    account: Account, results: ResultsDirectory, state_dir: Path | None, log: Callable[[str], None]
) -> Iterator[None]:
    if not isinstance(account, SupportsJournal):
        yield
        return
    with journaled_run(account, results.path, run_id=results.manifest.run_id, state_dir=state_dir, log=log) as journal:
        yield
    if journal.write_error:
        raise WriteError(journal.write_error)


async def _resume(plan_executor: PlanExecutor, results: ResultsDirectory, account: Account) -> None:
    """Remove what the process that died left, and keep the steps that it finished."""
    if isinstance(account, SupportsJournal):
        journal_state = read_journal(results.path / JOURNAL_FILE)
        if journal_state.resources:
            plan_executor.progress.log(
                f"removing what was left: {', '.join(sorted({name for _, name in journal_state.resources}))}"
            )
            await account.delete_leftovers(journal_state.resources)
    plan_executor.restore(results.read_completed_runs())
    archived = results.archive_incomplete(plan_executor.completed_runs)
    plan_executor.progress.log(
        f"resumed: {len(plan_executor.completed_runs)} steps are kept, {archived} that did not end moved to interrupted/"
    )
