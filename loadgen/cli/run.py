"""Running a scenario from the command line: from the words to the exit status.

What the process hears is interrupts.py's, what is done is job.py's; here is what is said, and what it comes to.
"""

import argparse
import asyncio
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from loadgen.analysis.analysis import Analysis
from loadgen.aws.deployment.run_registry import list_dead_runs, state_directory
from loadgen.cli.messages import echo
from loadgen.cli.signals import Interrupted, SignalHandler
from loadgen.errors import ExitStatus, LoadgenError, UsageError, worst_status
from loadgen.execution.executor import Executor
from loadgen.execution.preflight import DEFAULT_GRACE, RunPolicy
from loadgen.execution.scenario_result import ExitCause, ScenarioResult, exit_causes, result_json
from loadgen.execution.scenario_runner import run_scenario
from loadgen.report import console
from loadgen.report.build import build_report
from loadgen.scenario.loader import LoadedScenario

# Of the time until a process must be gone: most of it belongs to the deletions.
_GRACE_SHARE = 0.25


def run_policy(options: argparse.Namespace) -> RunPolicy:
    """Return what the options allow.

    Raises:
        UsageError: a value that cannot be meant, or two that contradict each other.
    """
    if options.resume is not None and options.out is not None:
        raise UsageError("--resume and --out", hint="a resumed run goes on in its own directory")
    if options.max_endpoints is not None and options.max_endpoints < 0:
        raise UsageError(f"--max-endpoints {options.max_endpoints}", hint="0 or more")
    for name in ("max_spend", "grace", "term_budget"):
        value = getattr(options, name)
        if value is not None and not 0 <= value < float("inf"):
            raise UsageError(f"--{name.replace('_', '-')} {value}", hint="a number, 0 or more")
    grace = DEFAULT_GRACE if options.grace is None else options.grace
    if options.term_budget is not None:
        grace = min(grace, _GRACE_SHARE * options.term_budget)
    return RunPolicy(
        max_endpoints=sys.maxsize if options.yes and options.max_endpoints is None else options.max_endpoints,
        max_spend=options.max_spend,
        expect_account=options.expect_account or "",
        grace=grace,
        dry_run=options.dry_run,
        resume=options.resume is not None,
        state_dir=state_directory(os.environ),
    )


def run_and_report(
    loaded: LoadedScenario,
    options: argparse.Namespace,
    *,
    command: str,
    executor: Executor | None,
    signal_handler: SignalHandler,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> ExitStatus:
    """Run a scenario, write its report, say what it found, and decide the exit status.

    Raises:
        LoadgenError: it could not start.
        Interrupted: a signal came before there was anything to keep.
    """
    policy = run_policy(options)
    _warn_leftover_runs(policy.state_dir, options.resume)
    signal_handler.term_budget = options.term_budget

    async def main() -> ScenarioResult | None:
        stop = asyncio.Event()
        with (
            console.show_progress(quiet=options.quiet) as progress,
            signal_handler.stop_on_signal(stop, progress.log),
        ):
            return await run_scenario(
                loaded,
                options.resume or options.out,
                command=command,
                progress=progress,
                stop=stop,
                executor=executor,
                policy=policy,
                on_account_opened=signal_handler.set_account,
                run_id=options.run_id,
            )

    finished: ScenarioResult | None = None
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            finished = runner.run(main())
    except Interrupted:
        if finished is None:  # else it came while the loop was closed: there is something to conclude
            raise
    except LoadgenError as error:
        if signal_handler.status is None or error.status is not ExitStatus.INTERRUPTED:
            raise
        raise Interrupted(signal_handler.status) from error
    if finished is None:
        return ExitStatus.OK
    if options.debug and finished.failure is not None:
        echo(*"".join(traceback.format_exception(finished.failure)).splitlines())
    return finish_run(finished, signal_handler.status)


def finish_run(result: ScenarioResult, signal_status: ExitStatus | None) -> ExitStatus:
    """Write the report and result.json, show what they say, and decide the exit status.

    Args:
        result: what became of the scenario.
        signal_status: what a signal asked to exit with; None when there was none.
    """
    results, causes = result.results, list[ExitCause]()
    analysis: Analysis | None = None
    try:
        analysis, page = build_report(results, incomplete_reason=result.incomplete_reason)
        console.print_report(results.manifest, analysis, page)
    except BrokenPipeError:  # `... | head`: the reader has gone; everything is in the files too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except LoadgenError as error:
        causes.append(ExitCause(error.status, str(error)))
        echo(f"no report: {error}")
    except Interrupted as stopped:
        signal_status = signal_status or stopped.status
        echo(f"stopped while writing the report; the runs are kept: python -m loadgen report {results.path}")
    if result.failure is not None:
        echo(f"ended early: {result.failure}")
    causes += exit_causes(result, analysis)
    if signal_status is not None:
        causes.append(ExitCause(signal_status, "stopped by a signal"))
    if result.leftovers:
        echo("may still exist:", *(f"  {leftover}" for leftover in result.leftovers))
        echo(f"  remove it all: python -m loadgen cleanup {results.manifest.run_id}")
    try:
        results.write_result(result_json(result, causes, analysis))
    except LoadgenError as error:
        causes.append(ExitCause(error.status, str(error)))
        echo(str(error))
    return worst_status([cause.status for cause in causes])


def _warn_leftover_runs(state_dir: Path | None, resumed_dir: Path | None) -> None:
    """Say which earlier runs left something."""
    for run in list_dead_runs(state_dir) if state_dir is not None else []:
        if resumed_dir is not None and run.journal_path.parent == resumed_dir.absolute():
            continue
        count = run.count_endpoints()
        resources = "something" if count is None else f"{count} endpoint{'s' if count != 1 else ''}"
        echo(f"run {run.run_id} left {resources} in {run.location}: python -m loadgen cleanup {run.run_id}")
