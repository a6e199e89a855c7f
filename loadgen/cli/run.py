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

from loadgen.analysis.findings import Findings
from loadgen.aws.deployment.run_registry import left, state_directory
from loadgen.cli.messages import say
from loadgen.cli.signals import Interrupted, Interrupts
from loadgen.errors import ExitStatus, LoadgenError, UsageError, worst
from loadgen.execution.executor import Crew
from loadgen.execution.preflight import GRACE, Precautions
from loadgen.execution.run_result import Cause, Finished, exit_causes, result_content
from loadgen.execution.scenario_runner import run_scenario
from loadgen.report import console
from loadgen.report.build import build_report
from loadgen.scenario.loader import LoadedScenario

# Of the time until a process must be gone: most of it belongs to the deletions.
_GRACE_SHARE = 0.25


def precautions(options: argparse.Namespace) -> Precautions:
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
    grace = GRACE if options.grace is None else options.grace
    if options.term_budget is not None:
        grace = min(grace, _GRACE_SHARE * options.term_budget)
    return Precautions(
        max_endpoints=sys.maxsize if options.yes and options.max_endpoints is None else options.max_endpoints,
        max_spend=options.max_spend,
        expect_account=options.expect_account or "",
        grace=grace,
        is_dry=options.dry_run,
        is_resumed=options.resume is not None,
        state=state_directory(os.environ),
    )


def execute(
    loaded: LoadedScenario,
    options: argparse.Namespace,
    *,
    command: str,
    crew: Crew | None,
    interrupts: Interrupts,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> ExitStatus:
    """Run a scenario, write its report, say what it found, and decide the exit status.

    Raises:
        LoadgenError: it could not start.
        Interrupted: a signal came before there was anything to keep.
    """
    allowed = precautions(options)
    _tell_of_others(allowed.state, options.resume)
    interrupts.term_budget = options.term_budget

    async def carry_out() -> Finished | None:
        stop = asyncio.Event()
        with console.progress(quiet=options.quiet) as progress, interrupts.ending(stop, progress.say):
            return await run_scenario(
                loaded,
                options.resume or options.out,
                command=command,
                progress=progress,
                stop=stop,
                crew=crew,
                precautions=allowed,
                reached=interrupts.reached,
                run_id=options.run_id,
            )

    finished: Finished | None = None
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            finished = runner.run(carry_out())
    except Interrupted:
        if finished is None:  # else it came while the loop was closed: there is something to conclude
            raise
    except LoadgenError as error:
        if interrupts.status is None or error.status is not ExitStatus.INTERRUPTED:
            raise
        raise Interrupted(interrupts.status) from error
    if finished is None:
        return ExitStatus.OK
    if options.debug and finished.failure is not None:
        say(*"".join(traceback.format_exception(finished.failure)).splitlines())
    return conclude(finished, interrupts.status)


def conclude(finished: Finished, signalled: ExitStatus | None) -> ExitStatus:
    """Write the report and result.json, show what they say, and decide the exit status.

    Args:
        finished: what became of the scenario.
        signalled: what a signal asked to exit with; None when there was none.
    """
    results, causes = finished.results, list[Cause]()
    findings: Findings | None = None
    try:
        findings, page = build_report(results, partial=finished.partial)
        console.show(results.manifest, findings, page)
    except BrokenPipeError:  # `... | head`: the reader has gone; everything is in the files too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except LoadgenError as error:
        causes.append(Cause(error.status, str(error)))
        say(f"no report: {error}")
    except Interrupted as stopped:
        signalled = signalled or stopped.status
        say(f"stopped while writing the report; the runs are kept: python -m loadgen report {results.path}")
    if finished.failure is not None:
        say(f"ended early: {finished.failure}")
    causes += exit_causes(finished, findings)
    if signalled is not None:
        causes.append(Cause(signalled, "stopped by a signal"))
    if finished.leftovers:
        say("may still exist:", *(f"  {leftover}" for leftover in finished.leftovers))
        say(f"  remove it all: python -m loadgen cleanup {results.manifest.run_id}")
    try:
        results.conclude(result_content(finished, causes, findings))
    except LoadgenError as error:
        causes.append(Cause(error.status, str(error)))
        say(str(error))
    return worst([cause.status for cause in causes])


def _tell_of_others(state: Path | None, resumed: Path | None) -> None:
    """Say which earlier runs left something."""
    for run in left(state) if state is not None else []:
        if resumed is not None and run.journal.parent == resumed.absolute():
            continue
        count = run.standing()
        what = "something" if count is None else f"{count} endpoint{'s' if count != 1 else ''}"
        say(f"run {run.run_id} left {what} in {run.place}: python -m loadgen cleanup {run.run_id}")
