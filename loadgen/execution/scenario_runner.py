"""The scenario runner: one run of a scenario, from the preflight checks to the result.

`run_scenario` has three parts: the preflight checks, which create nothing; the execution of the plan, with a journal of
what it creates and with the workers started; and the result, which reports what may be left and what was saved. See
plan_executor.py for the order in which steps are executed.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loadgen.aws.deployment.journal import JOURNAL_FILE, SupportsJournal, read_journal
from loadgen.aws.deployment.run_registry import journaled_run
from loadgen.engine import engine
from loadgen.errors import ConfigError, DataError, ExitStatus, LoadgenError, WriteError
from loadgen.execution.executor import Executor, LocalExecutor
from loadgen.execution.plan_executor import PlanExecutor
from loadgen.execution.preflight import RunPolicy, forecast_for_account
from loadgen.execution.resume import check_resumable
from loadgen.execution.run_identity import RunContext
from loadgen.execution.scenario_result import ExitCause, ScenarioResult
from loadgen.execution.spend_limit import SpendLimit
from loadgen.execution.stop_event import cancel_on
from loadgen.interfaces import Account, EndingAccount, Progress
from loadgen.results.directory import ResultsDirectory, claim_directory
from loadgen.results.manifest import Manifest
from loadgen.scenario.loader import LoadedScenario
from loadgen.scenario.scenario import ScenarioProtocol, check_scenario
from loadgen.scenario.user_code import script_error


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
    """Execute a scenario's plan against its target, and save every run.

    Args:
        loaded: the scenario and its file.
        out: the output directory; it must not hold a run, unless `policy` resumes one. None for a new directory in
            ./results.
        command: the command line that repeats the run.
        progress: receives what happens.
        stop: set it to end early: no more requests are sent, endpoints are deleted, measurements are kept.
        executor: starts the workers that send the requests; None to send from this process.
        policy: what the run may do; None for the defaults.
        on_account_opened: receives the account and the run id before anything is created, so that a caller that must
            exit at once can list what may be left.
        run_id: names and tags what is created; empty for a new id.

    Returns:
        The result; None after a dry run.

    Raises:
        LoadgenError: the run could not start, and created nothing. Later failures are in `ScenarioResult.failure`.
    """
    policy = policy or RunPolicy()
    check_scenario(loaded.scenario)
    context = RunContext.create(loaded, command=command, run_id=run_id)
    directory = out or context.default_out(Path("results"))
    if policy.resume:
        context = replace(context, run_id=_open_resumable(directory).manifest.run_id)
    scenario = loaded.scenario
    async with AsyncExitStack() as stack:
        lock_note = stack.enter_context(claim_directory(directory, resume=policy.resume))
        account = await _open_account(stack, scenario, context.run_id, policy, progress, stop)
        spend_limit = _check_forecast(scenario, account, policy, progress, lock_note)
        if policy.dry_run:
            return None
        results = _open_results(directory, context.make_manifest(account.identity), resume=policy.resume)
        if on_account_opened is not None:
            on_account_opened(account, context.run_id)
        plan_executor = PlanExecutor(
            scenario, account, results, progress, stop, grace=policy.grace, spend_limit=spend_limit
        )
        return await _ScenarioRun(
            scenario, account, results, progress, policy, executor or LocalExecutor(), plan_executor
        ).run()
    raise AssertionError  # the stack suppresses no exception


def _open_resumable(directory: Path) -> ResultsDirectory:
    try:
        return ResultsDirectory.open(directory)
    except DataError as error:
        raise ConfigError(f"{directory} cannot be resumed: {error.message}", hint=error.hint) from error


async def _open_account(
    stack: AsyncExitStack,
    scenario: ScenarioProtocol,
    run_id: str,
    policy: RunPolicy,
    progress: Progress,
    stop: asyncio.Event,
) -> Account:
    async with cancel_on(stop):
        account = await stack.enter_async_context(scenario.target.account(run_id=run_id))
        progress.log(f"{account.identity.kind} {account.identity.detail}".strip())
        policy.check_account(account.identity)
        await account.check(scenario.configs())
    return account


def _check_forecast(
    scenario: ScenarioProtocol, account: Account, policy: RunPolicy, progress: Progress, lock_note: str
) -> SpendLimit | None:
    """Log the forecast, check it against the policy, and return the spend limit to enforce."""
    forecast = forecast_for_account(scenario, account)
    for line in (*filter(None, [lock_note]), *forecast.lines()):
        progress.log(line)
    forecast.check_endpoint_limit(policy.max_endpoints)
    return policy.spend_limit(scenario, account.identity)


def _open_results(directory: Path, manifest: Manifest, *, resume: bool) -> ResultsDirectory:
    if not resume:
        return ResultsDirectory.create(directory, manifest)
    results = ResultsDirectory.open(directory)
    check_resumable(results.manifest, manifest, directory)
    return results


@dataclass(frozen=True, slots=True)
class _ScenarioRun:
    """A run that has passed the preflight checks."""

    scenario: ScenarioProtocol
    account: Account
    results: ResultsDirectory
    progress: Progress
    policy: RunPolicy
    executor: Executor
    plan_executor: PlanExecutor

    async def run(self) -> ScenarioResult:
        """Execute the plan, and return the result, whatever happened.

        Raises:
            BaseException: the execution failed, and nothing was planned or left; or it was interrupted.
        """
        failure: BaseException | None = None
        if isinstance(self.account, EndingAccount):
            self.account.on_end(self.plan_executor.stop)
        try:
            await self._execute()
        except BaseExceptionGroup as group:
            failure = engine.first_exception(group)
            failure = script_error(failure) or failure
        except Exception as error:  # noqa: BLE001 - reported in the result, beside what may be left
            failure = script_error(error) or error
        return self._result(failure)

    async def _execute(self) -> None:
        scenario, log = self.scenario, self.progress.log
        with self._journal():
            if self.policy.resume:
                await self._resume()
            async with self.executor.start(scenario.target, scenario.requests, log) as pool:
                await self.plan_executor.execute_plan(pool)

    @contextmanager
    def _journal(self) -> Iterator[None]:
        if not isinstance(self.account, SupportsJournal):
            yield
            return
        with journaled_run(
            self.account,
            self.results.path,
            run_id=self.results.manifest.run_id,
            state_dir=self.policy.state_dir,
            log=self.progress.log,
        ) as journal:
            yield
        if journal.write_error:
            raise WriteError(journal.write_error)

    async def _resume(self) -> None:
        """Delete what the interrupted process left, and restore the steps that it completed."""
        if isinstance(self.account, SupportsJournal):
            journal_state = read_journal(self.results.path / JOURNAL_FILE)
            if journal_state.resources:
                names = ", ".join(sorted({name for _, name in journal_state.resources}))
                self.progress.log(f"deleting what the interrupted run left: {names}")
                for line in await self.account.delete_leftovers(journal_state):
                    self.progress.log(f"left alone {line}")
        completed = self.results.read_completed_runs()
        self.plan_executor.restore(completed)
        archived = self.results.archive_incomplete(completed)
        self.progress.log(
            f"resumed: {len(completed)} completed steps kept, {archived} incomplete steps moved to interrupted/"
        )

    def _result(self, failure: BaseException | None) -> ScenarioResult:
        end_error = self.account.end_error if isinstance(self.account, EndingAccount) else None
        if end_error is not None and (failure is None or isinstance(failure, LoadgenError)):
            failure = end_error  # of which other errors are consequences
        leftovers = tuple(self.account.leftovers())
        for leftover in leftovers:
            self.progress.log(f"not deleted: {leftover}")
        if failure is not None and (
            not isinstance(failure, Exception) or not (self.plan_executor.planned_steps or leftovers)
        ):
            raise failure
        causes = list(self.plan_executor.causes)
        if failure is not None:
            cause = ExitCause(_exit_status(failure), str(failure) or type(failure).__name__)
            causes.insert(0 if failure is end_error else len(causes), cause)
        if leftovers:
            causes.append(ExitCause(ExitStatus.RESOURCE_LEAK, f"{len(leftovers)} resources may still exist"))
        incomplete_reason = self.plan_executor.incomplete_reason or (str(failure) if failure is not None else "")
        if end_error is not None:
            incomplete_reason = str(end_error)
        try:
            runs = self.results.read_runs()
        except LoadgenError as error:  # the leftovers must be reported all the same
            runs = ()
            causes.append(ExitCause(error.status, str(error)))
        return ScenarioResult(self.results, runs, tuple(causes), leftovers, incomplete_reason, failure)


def _exit_status(error: BaseException) -> ExitStatus:
    if isinstance(error, MemoryError):
        return ExitStatus.OS_RESOURCE
    return error.status if isinstance(error, LoadgenError) else ExitStatus.INTERNAL
