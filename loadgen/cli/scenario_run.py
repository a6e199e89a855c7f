"""Run a loaded scenario in this process: policy, report, and exit status."""

import argparse
import asyncio
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from loadgen.aws.deployment.run_registry import list_dead_runs, state_directory
from loadgen.cli.messages import echo
from loadgen.cli.signals import Interrupted, SignalHandler
from loadgen.errors import ExitStatus, LoadgenError, UsageError, worst_status
from loadgen.event_loop import new_runner
from loadgen.execution.executor import Executor
from loadgen.execution.preflight import DEFAULT_GRACE, RunPolicy
from loadgen.execution.scenario_result import ExitCause, ScenarioResult, exit_causes, first_line_cause, result_json
from loadgen.execution.scenario_runner import run_scenario
from loadgen.report import console
from loadgen.report.build import build_report
from loadgen.scenario.loader import LoadedScenario

# Share of --term-budget for requests in flight; the rest is for deletions.
_GRACE_SHARE = 0.25


def run_policy(options: argparse.Namespace) -> RunPolicy:
    """Return what the options allow the run to do.

    Raises:
        UsageError: a value is out of range, or two options exclude each other.
    """
    if options.resume is not None and options.out is not None:
        raise UsageError("--resume and --out", hint="a resumed run continues in its own directory")
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
    argv: Sequence[str],
    executor: Executor | None,
    signal_handler: SignalHandler,
) -> ExitStatus:
    """Run a scenario, write and print its report, and return the exit status.

    Args:
        loaded: the scenario, with the options applied.
        options: of `add_run_options`.
        argv: arguments that run the same again.
        executor: what sends the requests; None for this process.
        signal_handler: signals of this process.

    Raises:
        LoadgenError: the run could not start.
        Interrupted: a signal arrived before there were results.
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
                command=shlex.join(["python", "-m", "loadgen", *argv]),
                progress=progress,
                stop=stop,
                executor=executor,
                policy=policy,
                on_account_opened=signal_handler.set_account,
                run_id=options.run_id,
            )

    result: ScenarioResult | None = None
    try:
        with new_runner() as runner:
            result = runner.run(main())
    except Interrupted:
        if result is None:  # otherwise the signal arrived while the loop was closing, and there are results
            raise
    except LoadgenError as error:
        if signal_handler.status is None or error.status is not ExitStatus.INTERRUPTED:
            raise
        raise Interrupted(signal_handler.status) from error
    if result is None:
        return ExitStatus.OK
    if options.debug and result.failure is not None:
        echo(*"".join(traceback.format_exception(result.failure)).splitlines())
    return finish_run(result, signal_handler.status)


def finish_run(result: ScenarioResult, signal_status: ExitStatus | None) -> ExitStatus:
    """Write the report and result.json, print the report, and return the exit status.

    Args:
        result: of the scenario.
        signal_status: the exit status of a received signal; None without one.
    """
    results, causes = result.results, list[ExitCause]()
    analysis, page, messages = None, None, list[str]()
    try:
        analysis, page = build_report(results, incomplete_reason=result.incomplete_reason)
    except LoadgenError as error:
        causes.append(ExitCause(error.status, str(error)))
        messages.append(f"report not written: {error}")
    except Interrupted as interrupt:
        signal_status = signal_status or interrupt.status
        command = f"python -m loadgen report {results.path}"
        messages.append(f"interrupted while writing the report; the runs are saved: {command}")
    causes += exit_causes(result, analysis)
    first_cause = first_line_cause(result.runs, causes, analysis)
    if signal_status is not None:
        causes.append(ExitCause(signal_status, "stopped by a signal"))
    try:  # before anything is printed: no output device decides what is saved
        results.write_result(result_json(result, causes, analysis))
    except LoadgenError as error:
        causes.append(ExitCause(error.status, str(error)))
        messages.append(str(error))
    if first_cause is not None:
        messages.insert(0, f"loadgen: error[{first_cause.status.name}]: {first_cause.message}")
    echo(*messages)
    if analysis is not None and page is not None:
        console.print_report(results.manifest, analysis, page)
    if result.failure is not None:
        echo(f"ended early: {result.failure}")
    if result.leftovers:
        echo("resources may still exist:", *(f"  {leftover}" for leftover in result.leftovers))
        echo(f"  To delete them: python -m loadgen cleanup {results.manifest.run_id}")
    return worst_status([cause.status for cause in causes])


def _warn_leftover_runs(state_dir: Path | None, resumed_dir: Path | None) -> None:
    """Print earlier runs that left resources behind."""
    for run in list_dead_runs(state_dir) if state_dir is not None else []:
        if resumed_dir is not None and run.journal_path.parent == resumed_dir.absolute():
            continue
        count = run.count_endpoints()
        resources = "resources" if count is None else f"{count} endpoint{'s' if count != 1 else ''}"
        echo(f"run {run.run_id} left {resources} in {run.location}: python -m loadgen cleanup {run.run_id}")
