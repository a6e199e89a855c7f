"""Hiring: running a scenario as a SageMaker Processing job from the command line, and bringing its results home.

From the words to the exit status; what is asked of AWS is runners/cloud.py's.
"""

import argparse
import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loadgen.aws.s3 import S3Location
from loadgen.cli.signals import SignalHandler
from loadgen.errors import ExitStatus, InputError, UsageError, worst_status
from loadgen.event_loop import new_runner
from loadgen.execution.executor import Executor
from loadgen.execution.run_identity import RunContext
from loadgen.processing_job import client
from loadgen.processing_job.bundle import FileBundle
from loadgen.processing_job.client import FetchedResults, JobSubmission
from loadgen.processing_job.cluster import ClusterHosts, ProcessingJobExecutor, join_cluster
from loadgen.processing_job.job_spec import ProcessingJob, ProcessingJobSpec
from loadgen.report import console
from loadgen.report.build import build_report
from loadgen.results.directory import RESULT_FILE_NAME, ResultsDirectory
from loadgen.scenario.loader import LoadedScenario

# Seconds that a job's commands have between SIGTERM and SIGKILL: 120 for training jobs, less a margin.
_TERM_BUDGET = 100


def submit_job(
    loaded: LoadedScenario,
    options: argparse.Namespace,
    *,
    argv: Sequence[str],
    bundle: FileBundle,
    signal_handler: SignalHandler,
) -> ExitStatus:
    """Create the job; with --wait, wait for its end, bring its results home, and say what they are.

    Args:
        loaded: the scenario, read here so that its mistakes are found before anything is uploaded.
        options: the command line's.
        argv: the command line to run over there.
        bundle: the files that it needs.
        signal_handler: signals of this process.

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
    spec = ProcessingJobSpec(
        options.role, options.instance_type, options.instance_count, options.max_runtime, options.image
    )
    target = loaded.scenario.target
    client.check_reachable(target)
    submission = JobSubmission(RunContext.create(loaded, command="").run_id, [*argv, *_policy_argv(options)], bundle)
    s3_location = S3Location.parse(options.s3) if options.s3 else None
    region = getattr(target, "region", None)

    async def main() -> tuple[ProcessingJob, FetchedResults | None]:
        stop = asyncio.Event()
        with (
            console.show_progress(quiet=options.quiet) as progress,
            signal_handler.stop_on_signal(stop, progress.log),
        ):
            state = await client.create_job(submission, spec, s3_location=s3_location, region=region, log=progress.log)
            if not options.wait:
                progress.log(f"when it has ended: python -m loadgen fetch {state.name}")
                progress.log("its endpoints are removed by itself; `fetch` removes what it may have left")
                return state, None
            await client.wait_for_job(state.name, region=region, log=progress.log, stop=stop)
            return state, await client.fetch_results(
                state.name, options.out or default_out(state.name), region=region, log=progress.log
            )

    with new_runner() as loop:
        job, fetched = loop.run(main())
    if fetched is None:
        print(job.name)  # noqa: T201 - the one thing that a script needs
        return ExitStatus.OK
    return worst_status([report_job(fetched), *([signal_handler.status] if signal_handler.status is not None else [])])


def _policy_argv(options: argparse.Namespace) -> list[str]:
    """Return the options that say what a run is allowed, as they were given."""
    argv = ["--yes"] if options.yes else []
    for name in ("max_endpoints", "max_spend", "expect_account", "grace"):
        value = getattr(options, name)
        if value is not None:
            argv += [f"--{name.replace('_', '-')}", str(value)]
    budget = _TERM_BUDGET if options.term_budget is None else min(_TERM_BUDGET, options.term_budget)
    return [*argv, "--term-budget", str(budget)]


def default_out(name: str) -> Path:
    """Return where a job's results go when nobody says."""
    return Path("results") / name


def add_fetch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fetch_job`."""
    parser.add_argument("job", metavar="JOB", help="name of the Processing job")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to; by default ./results/JOB")
    parser.add_argument("--region", help="overrides the SDK's own chain")
    parser.add_argument("--quiet", action="store_true", help="say less")


def fetch_job(options: argparse.Namespace) -> ExitStatus:
    """Bring a job's results home, make their report, and remove what the job left; again is no harm.

    Raises:
        LoadgenError: there is no such job, or its results cannot be had.
    """

    async def main() -> FetchedResults:
        with console.show_progress(quiet=options.quiet) as progress:
            out = options.out or default_out(options.job)
            return await client.fetch_results(options.job, out, region=options.region, log=progress.log)

    with new_runner() as loop:
        return report_job(loop.run(main()))


def report_job(fetched: FetchedResults) -> ExitStatus:
    """Write the report of what was brought home, show it, and decide the exit status.

    Raises:
        UnavailableError: the job failed before it had results.
    """
    state = fetched.job
    try:
        results = ResultsDirectory.open(fetched.directory)
    except InputError as error:
        if not state.is_finished:
            raise InputError(f"{state}; it has no results yet", hint="fetch again later") from error
        raise client.job_failed_error(state) from error
    analysis, page = build_report(results)
    console.print_report(results.manifest, analysis, page)
    statuses = [_run_exit_status(fetched.directory / RESULT_FILE_NAME)] if state.is_finished else []
    if state.status == "Failed":
        statuses.append(ExitStatus.UNAVAILABLE)
    if state.status == "Stopped":
        statuses.append(ExitStatus.TERMINATED)
    if fetched.leftovers:
        statuses.append(ExitStatus.RESOURCE_LEAK)
    return worst_status(statuses)


def _run_exit_status(path: Path) -> ExitStatus:
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


def run_instance(options: argparse.Namespace, run_command: Callable[[list[str]], int]) -> int:
    """Be an instance of a job: the first runs the command line that was submitted, the others work for it.

    Args:
        options: of `instance`.
        run_command: runs a command line, and returns its exit status.

    Raises:
        LoadgenError: the instances could not find each other.
    """
    hosts, job_config = ClusterHosts.read(options.config), _read_job_config(options.orders)
    if hosts.is_leader:
        instance_argv = ["--as-instance", str(options.config), str(options.orders), "--run-id", job_config["run"]]
        return run_command([*job_config["words"], "--out", str(options.out), "--quiet", *instance_argv])
    with new_runner() as loop:
        loop.run(join_cluster(hosts, S3Location.parse(job_config["meeting"]), bytes.fromhex(job_config["secret"])))
    return int(ExitStatus.OK)


def cluster_executor(resource_config: str, job_config: str) -> Executor | None:
    """Return the crew of a job's first instance; None when it is the only one.

    Raises:
        InputError: what the job was told cannot be read.
    """
    hosts, told = ClusterHosts.read(Path(resource_config)), _read_job_config(Path(job_config))
    if len(hosts.hosts) == 1:
        return None
    return ProcessingJobExecutor(hosts, S3Location.parse(told["meeting"]), bytes.fromhex(told["secret"]))


def _read_job_config(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the job's orders from {path}: {error}") from error
    return document
