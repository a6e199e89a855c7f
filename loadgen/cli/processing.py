"""Processing jobs on the command line: submit a scenario, download results, report them."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from loadgen.aws.s3 import S3Location
from loadgen.cli.signals import SignalHandler
from loadgen.errors import ExitStatus, InputError, UsageError, worst_status
from loadgen.event_loop import new_runner
from loadgen.execution.run_identity import RunContext
from loadgen.processing_job import client
from loadgen.processing_job.bundle import FileBundle
from loadgen.processing_job.client import FetchedResults, JobSubmission
from loadgen.processing_job.job_spec import ProcessingJob, ProcessingJobSpec
from loadgen.report import console
from loadgen.report.build import build_report
from loadgen.results.directory import RESULT_FILE_NAME, ResultsDirectory
from loadgen.scenario.loader import LoadedScenario

# Seconds between SIGTERM and SIGKILL in a job's container: 120 for training jobs, minus a margin.
_TERM_BUDGET = 100


def submit_job(
    loaded: LoadedScenario,
    options: argparse.Namespace,
    *,
    argv: Sequence[str],
    bundle: FileBundle,
    signal_handler: SignalHandler,
) -> ExitStatus:
    """Create the job; with --wait, wait for its end, download its results and report them.

    Args:
        loaded: the scenario, loaded locally so that its mistakes are found before anything is uploaded.
        options: of `add_run_options`.
        argv: the command line that the job runs.
        bundle: the files that the command line needs.
        signal_handler: signals of this process.

    Raises:
        UsageError: two options exclude each other.
        LoadgenError: the job cannot be created or followed.
    """
    spec = _job_spec(options)
    target = loaded.scenario.target
    client.check_reachable(target)
    budget = _TERM_BUDGET if options.term_budget is None else min(_TERM_BUDGET, options.term_budget)
    run_id = RunContext.create(loaded, command="").run_id
    submission = JobSubmission(run_id, [*argv, "--term-budget", str(budget)], bundle)  # the last --term-budget counts
    s3_location = S3Location.parse(options.s3) if options.s3 else None
    region = getattr(target, "region", None)

    async def main() -> tuple[ProcessingJob, FetchedResults | None]:
        stop = asyncio.Event()
        with (
            console.show_progress(quiet=options.quiet) as progress,
            signal_handler.stop_on_signal(stop, progress.log),
        ):
            for omitted in bundle.omitted:
                progress.log(f"not uploaded: {omitted}")
            job = await client.create_job(submission, spec, s3_location=s3_location, region=region, log=progress.log)
            if not options.wait:
                progress.log(f"after its end, download the results: python -m loadgen fetch {job.name}")
                progress.log("the job deletes its endpoints; `fetch` deletes those that it left behind")
                return job, None
            await client.wait_for_job(job.name, region=region, log=progress.log, stop=stop)
            out = options.out or _default_out(job.name)
            return job, await client.fetch_results(job.name, out, region=region, log=progress.log)

    with new_runner() as runner:
        job, fetched = runner.run(main())
    if fetched is None:
        print(job.name)  # noqa: T201 - stdout holds nothing else, for scripts
        return ExitStatus.OK
    return worst_status([report_job(fetched), *([signal_handler.status] if signal_handler.status is not None else [])])


def _job_spec(options: argparse.Namespace) -> ProcessingJobSpec:
    if options.role is None:
        raise UsageError("--processing-job without --role", hint="give the ARN of an execution role")
    for name in ("emulate", "dask", "workers", "resume"):
        if getattr(options, name) is not None:
            raise UsageError(f"--processing-job and --{name}", hint="a job has instances: --instance-count N")
    if options.dry_run:
        raise UsageError(
            "--processing-job and --dry-run", hint="without --processing-job, --dry-run prints the same plan"
        )
    fields = {name: getattr(options, name) for name in ("instance_type", "instances", "max_runtime", "image")}
    return ProcessingJobSpec(options.role, **{name: value for name, value in fields.items() if value is not None})


def _default_out(name: str) -> Path:
    return Path("results") / name


def fetch_job(options: argparse.Namespace) -> ExitStatus:
    """Download a job's results, report them, and delete what the job left behind; idempotent.

    Raises:
        LoadgenError: the job does not exist, or its results cannot be downloaded.
    """

    async def main() -> FetchedResults:
        with console.show_progress(quiet=options.quiet) as progress:
            out = options.out or _default_out(options.job)
            return await client.fetch_results(options.job, out, region=options.region, log=progress.log)

    with new_runner() as runner:
        return report_job(runner.run(main()))


def report_job(fetched: FetchedResults) -> ExitStatus:
    """Write and print the report of downloaded results, and return the exit status.

    Raises:
        InputError: the job is running and has no results yet.
        UnavailableError: the job failed before it had results.
    """
    job = fetched.job
    try:
        results = ResultsDirectory.open(fetched.directory)
    except InputError as error:
        if not job.is_finished:
            raise InputError(f"{job}; it has no results yet", hint="fetch again later") from error
        raise client.job_failed_error(job) from error
    analysis, page = build_report(results)
    console.print_report(results.manifest, analysis, page)
    statuses = [_run_exit_status(fetched.directory / RESULT_FILE_NAME)] if job.is_finished else []
    if job.status == "Failed":
        statuses.append(ExitStatus.UNAVAILABLE)
    if job.status == "Stopped":
        statuses.append(ExitStatus.TERMINATED)
    if fetched.leftovers:
        statuses.append(ExitStatus.RESOURCE_LEAK)
    return worst_status(statuses)


def _run_exit_status(path: Path) -> ExitStatus:
    """Return the exit status in result.json; OK without one, because the job's status then decides."""
    try:
        return ExitStatus(json.loads(path.read_text("utf-8"))["exit"]["code"])
    except (OSError, ValueError, KeyError, TypeError):
        return ExitStatus.OK
