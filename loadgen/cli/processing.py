"""Hiring: running a scenario as a SageMaker Processing job from the command line, and bringing its results home.

From the words to the exit status; what is asked of AWS is runners/cloud.py's.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loadgen.aws.s3 import Shelf
from loadgen.cli.signals import Interrupts
from loadgen.errors import ExitStatus, InputError, UsageError, worst
from loadgen.event_loop import runner
from loadgen.execution.executor import Crew
from loadgen.execution.run_identity import Circumstances
from loadgen.processing_job import client
from loadgen.processing_job.bundle import Parcel
from loadgen.processing_job.client import Cargo, Fetched
from loadgen.processing_job.cluster import Hosts, Instances, join
from loadgen.processing_job.job_spec import Hire, State
from loadgen.report import console
from loadgen.report.build import build_report
from loadgen.results.directory import RESULT, Results
from loadgen.scenario.loader import LoadedScenario

# Seconds that a job's commands have between SIGTERM and SIGKILL: 120 for training jobs, less a margin.
_TERM_BUDGET = 100


def submit(
    loaded: LoadedScenario, options: argparse.Namespace, *, words: Sequence[str], parcel: Parcel, interrupts: Interrupts
) -> ExitStatus:
    """Create the job; with --wait, wait for its end, bring its results home, and say what they are.

    Args:
        loaded: the scenario, read here so that its mistakes are found before anything is uploaded.
        options: the command line's.
        words: the command line to run over there.
        parcel: the files that it needs.
        interrupts: signals of this process.

    Raises:
        UsageError: options that contradict each other.
        LoadgenError: the job could not be created, or not be followed.
    """
    if options.role is None:
        raise UsageError("--processing-job without --role", hint="give the ARN of an execution role")
    for name in ("emulate", "dask", "workers", "resume"):
        if getattr(options, name) is not None:
            raise UsageError(f"--processing-job and --{name}", hint="a job has instances: --instance-count N")
    if options.dry_run:
        raise UsageError("--processing-job and --dry-run", hint="leave --processing-job out: it would create the same")
    hire = Hire(options.role, options.instance_type, options.instance_count, options.max_runtime, options.image)
    target = loaded.scenario.target
    client.check_reachable(target)
    cargo = Cargo(Circumstances.of(loaded, command="").run_id, [*words, *_safety(options)], parcel)
    shelf = Shelf.read(options.s3) if options.s3 else None
    region = getattr(target, "region", None)

    async def carry_out() -> tuple[State, Fetched | None]:
        stop = asyncio.Event()
        with console.progress(quiet=options.quiet) as progress, interrupts.ending(stop, progress.say):
            state = await client.submit(cargo, hire, shelf=shelf, region=region, say=progress.say)
            if not options.wait:
                progress.say(f"when it has ended: python -m loadgen fetch {state.name}")
                progress.say("its endpoints are removed by itself; `fetch` removes what it may have left")
                return state, None
            await client.follow(state.name, region=region, say=progress.say, stop=stop)
            return state, await client.fetch(
                state.name, options.out or default_out(state.name), region=region, say=progress.say
            )

    with runner() as loop:
        state, fetched = loop.run(carry_out())
    if fetched is None:
        print(state.name)  # noqa: T201 - the one thing that a script needs
        return ExitStatus.OK
    return worst([conclude(fetched), *([interrupts.status] if interrupts.status is not None else [])])


def _safety(options: argparse.Namespace) -> list[str]:
    """Return the options that say what a run is allowed, as they were given."""
    words = ["--yes"] if options.yes else []
    for name in ("max_endpoints", "max_spend", "expect_account", "grace"):
        value = getattr(options, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    budget = _TERM_BUDGET if options.term_budget is None else min(_TERM_BUDGET, options.term_budget)
    return [*words, "--term-budget", str(budget)]


def default_out(name: str) -> Path:
    """Return where a job's results go when nobody says."""
    return Path("results") / name


def add_fetch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fetch`."""
    parser.add_argument("job", metavar="JOB", help="name of the Processing job")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to; by default ./results/JOB")
    parser.add_argument("--region", help="overrides the SDK's own chain")
    parser.add_argument("--quiet", action="store_true", help="say less")


def fetch(options: argparse.Namespace) -> ExitStatus:
    """Bring a job's results home, make their report, and remove what the job left; again is no harm.

    Raises:
        LoadgenError: there is no such job, or its results cannot be had.
    """

    async def carry_out() -> Fetched:
        with console.progress(quiet=options.quiet) as progress:
            out = options.out or default_out(options.job)
            return await client.fetch(options.job, out, region=options.region, say=progress.say)

    with runner() as loop:
        return conclude(loop.run(carry_out()))


def conclude(fetched: Fetched) -> ExitStatus:
    """Write the report of what was brought home, show it, and decide the exit status.

    Raises:
        UnavailableError: the job failed before it had results.
    """
    state = fetched.state
    try:
        results = Results.open(fetched.directory)
    except InputError as error:
        if not state.is_over:
            raise InputError(f"{state}; it has no results yet", hint="fetch again later") from error
        raise client.failed(state) from error
    findings, page = build_report(results)
    console.show(results.manifest, findings, page)
    statuses = [_status(fetched.directory / RESULT)] if state.is_over else []
    if state.status == "Failed":
        statuses.append(ExitStatus.UNAVAILABLE)
    if state.status == "Stopped":
        statuses.append(ExitStatus.TERMINATED)
    if fetched.leftovers:
        statuses.append(ExitStatus.LEFTOVERS)
    return worst(statuses)


def _status(path: Path) -> ExitStatus:
    """Return what the run over there ended with; of one that wrote nothing, the job's own status tells."""
    try:
        return ExitStatus(json.loads(path.read_text("utf-8"))["exit"]["code"])
    except (OSError, ValueError, KeyError, TypeError):
        return ExitStatus.OK


# --- over there


def add_instance_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `instance`, which bootstrap.py gives."""
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--orders", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)


def serve(options: argparse.Namespace, command: Callable[[list[str]], int]) -> int:
    """Be an instance of a job: the first runs the command line that was submitted, the others work for it.

    Args:
        options: of `instance`.
        command: runs a command line, and returns its exit status.

    Raises:
        LoadgenError: the instances could not find each other.
    """
    hosts, orders = Hosts.read(options.config), _orders(options.orders)
    if hosts.is_first:
        own = ["--as-instance", str(options.config), str(options.orders), "--run-id", orders["run"]]
        return command([*orders["words"], "--out", str(options.out), "--quiet", *own])
    with runner() as loop:
        loop.run(join(hosts, Shelf.read(orders["meeting"]), bytes.fromhex(orders["secret"])))
    return int(ExitStatus.OK)


def instances(config: str, orders: str) -> Crew | None:
    """Return the crew of a job's first instance; None when it is the only one.

    Raises:
        InputError: what the job was told cannot be read.
    """
    hosts, told = Hosts.read(Path(config)), _orders(Path(orders))
    if len(hosts.all) == 1:
        return None
    return Instances(hosts, Shelf.read(told["meeting"]), bytes.fromhex(told["secret"]))


def _orders(path: Path) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the job's orders from {path}: {error}") from error
    return plain
