"""Submit a Processing job, wait for it, download its results, and delete what it left behind."""

import asyncio
import json
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from loadgen.analysis.prices import PriceBook
from loadgen.aws.deployment.cleanup import delete_orphans, find_orphans
from loadgen.aws.deployment.journal import JOURNAL_FILE, read_journal
from loadgen.aws.deployment.names_and_tags import NAME_PREFIX
from loadgen.aws.deployment.resources import Existence, NullJournal
from loadgen.aws.errors import SDK_ERRORS, ErrorKind, classify_error, to_loadgen_error
from loadgen.aws.identity import AwsConnection, connect
from loadgen.aws.s3 import S3Location, delete, download_prefix, ensure_bucket, upload, upload_secret
from loadgen.aws.session import AwsConnectionConfig
from loadgen.distributed.dask_cluster import create_certificate
from loadgen.errors import ConfigError, InputError, LoadgenError, ResourceLeakError, UnavailableError
from loadgen.event_loop import shielded
from loadgen.interfaces import Leftover
from loadgen.processing_job import bootstrap
from loadgen.processing_job.bundle import FileBundle
from loadgen.processing_job.job_spec import (
    CERTIFICATE_FILE,
    JOB_CONFIG_FILE,
    ProcessingJob,
    ProcessingJobSpec,
    job_request,
)
from loadgen.processing_job.wheel import build_wheel
from loadgen.results.lock import LOCK_FILE_NAME

_POLL_INTERVAL = 10.0  # seconds between two calls of DescribeProcessingJob
_CUSTOM_ENDPOINT_POLL_INTERVAL = 0.3  # of the emulator and other custom endpoints
Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class JobSubmission:
    """The content of a job.

    Args:
        run_id: id of the run.
        argv: arguments of `python -m loadgen` in the job's container.
        bundle: the files that the command line needs.
        tags: of the job, beside the run's.
    """

    run_id: str
    argv: Sequence[str]
    bundle: FileBundle
    tags: Mapping[str, str] = field(default_factory=dict)


@asynccontextmanager
async def _connect(region: str | None) -> AsyncIterator[tuple[AwsConnection, Any]]:
    async with connect(AwsConnectionConfig(region=region)) as connection, connection.clients.s3() as s3:
        yield connection, s3


async def create_job(
    submission: JobSubmission, spec: ProcessingJobSpec, *, s3_location: S3Location | None, region: str | None, log: Log
) -> ProcessingJob:
    """Upload code and files, and create the job.

    Args:
        submission: content of the job.
        spec: instances and runtime.
        s3_location: S3 prefix for jobs; None for the SageMaker SDK's default bucket.
        region: AWS region; None for the SDK's own configuration.
        log: receives messages for the user.

    Raises:
        LoadgenError: the job was not created.
    """
    async with _connect(region) as (connection, s3):
        job_region = connection.clients.region
        account = connection.identity.account_id
        job_location = (
            s3_location or S3Location(f"sagemaker-{job_region}-{account}", "loadgen")
        ) / f"{NAME_PREFIX}{submission.run_id}"
        # First, because it checks that there is an image for the region.
        request = job_request(
            spec, run_id=submission.run_id, region=job_region, s3_location=job_location, tags=submission.tags
        )
        await ensure_bucket(s3, job_location.bucket, job_region)
        log(f"uploading to {job_location.uri}")
        await _upload(s3, job_location, submission, spec.instances)
        log(spec.price_summary(job_region, PriceBook.builtin()))
        async with _uploaded_certificate(s3, job_location / "input" / CERTIFICATE_FILE, spec, log):
            try:
                await connection.clients.sagemaker.create_processing_job(**request)
            except SDK_ERRORS as error:
                raise to_loadgen_error(
                    error, f"CreateProcessingJob {request['ProcessingJobName']}", now=time.time()
                ) from error
        return await _describe_job(connection, request["ProcessingJobName"])


@asynccontextmanager
async def _uploaded_certificate(
    s3: Any, location: S3Location, spec: ProcessingJobSpec, log: Log
) -> AsyncIterator[None]:
    """Upload the certificate and key of a job with several instances; delete them when the job is not created."""
    if spec.instances == 1:
        yield
        return
    pem = create_certificate(now=time.time(), lifetime=spec.max_runtime)
    try:
        await upload_secret(s3, location, pem)
        yield
    except BaseException:
        await shielded(_delete_certificate(s3, location, log))
        raise


async def _delete_certificate(s3: Any, location: S3Location, log: Log) -> None:
    try:
        await delete(s3, location)
    except LoadgenError as error:
        log(f"cannot delete the key of the run, {location.uri}: {error.message}; delete it")


async def _upload(s3: Any, s3_location: S3Location, submission: JobSubmission, instances: int) -> None:
    code, files = s3_location / "input" / "code", s3_location / "input" / "files"
    job_config = {
        "version": version("loadgen"),
        "run_id": submission.run_id,
        "argv": list(submission.argv),
        "working_directory": submission.bundle.working_directory,
        "extras": "[dask]" if instances > 1 else "",
        # Below the ports that Linux gives to clients (ip_local_port_range). Jobs of an emulator share one machine.
        "scheduler_port": 20_000 + secrets.randbelow(10_000),
    }
    with tempfile.TemporaryDirectory(prefix="loadgen-") as scratch:
        wheel = await asyncio.to_thread(build_wheel, Path(scratch))
        await upload(s3, code / wheel.name, wheel)
    await upload(s3, code / "bootstrap.py", Path(bootstrap.__file__))
    await upload(s3, code / JOB_CONFIG_FILE, json.dumps(job_config).encode())
    for name, path in submission.bundle.files.items():
        await upload(s3, files / name, path)


async def _describe_job(connection: AwsConnection, name: str) -> ProcessingJob:
    try:
        return ProcessingJob.from_description(
            await connection.clients.sagemaker.describe_processing_job(ProcessingJobName=name)
        )
    except SDK_ERRORS as error:
        if classify_error(error) is ErrorKind.NOT_FOUND or "ResourceNotFound" in str(error):
            location = f"account {connection.identity.account_id or '(unknown)'}, {connection.clients.region}"
            raise InputError(
                f"no Processing job {name} in {location}", hint="check AWS_REGION and AWS_PROFILE"
            ) from error
        raise to_loadgen_error(error, f"DescribeProcessingJob {name}", now=time.time()) from error


async def wait_for_job(name: str, *, region: str | None, log: Log, stop: asyncio.Event) -> ProcessingJob:
    """Wait until a job has ended and return its description.

    Args:
        name: name of the job.
        region: AWS region; None for the SDK's own configuration.
        log: receives the job's status when it changes.
        stop: set it to stop the job; its end is still awaited.

    Raises:
        LoadgenError: the job cannot be described or stopped; it may still be running.
    """
    async with _connect(region) as (connection, _):
        pause = _POLL_INTERVAL if connection.identity.kind == "aws" else _CUSTOM_ENDPOINT_POLL_INTERVAL
        last_status, is_stop_requested = "", False
        while True:
            job = await _describe_job(connection, name)
            if job.status != last_status:
                last_status = job.status
                log(str(job))
            if job.is_finished:
                return job
            if stop.is_set() and not is_stop_requested:
                is_stop_requested = True
                await _stop_job(connection, name)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await (asyncio.Event() if is_stop_requested else stop).wait()


async def _stop_job(connection: AwsConnection, name: str) -> None:
    try:
        await connection.clients.sagemaker.stop_processing_job(ProcessingJobName=name)
    except SDK_ERRORS as error:
        if not (await _describe_job(connection, name)).is_finished:
            raise to_loadgen_error(error, f"StopProcessingJob {name}", now=time.time()) from error


@dataclass(frozen=True, slots=True)
class FetchedResults:
    """The downloaded results of a job.

    Args:
        job: description of the job.
        directory: local directory of the results.
        downloaded_files: number of new or changed files.
        leftovers: resources of the run that could not be deleted.
        unverified: why further resources of the run may exist, one human-readable line each.
    """

    job: ProcessingJob
    directory: Path
    downloaded_files: int
    leftovers: tuple[Leftover, ...]
    unverified: tuple[str, ...] = ()

    @property
    def may_have_leftovers(self) -> bool:
        """True when a resource of the run may still exist."""
        return bool(self.leftovers or self.unverified)


async def fetch_results(name: str, directory: Path, *, region: str | None, log: Log) -> FetchedResults:
    """Download a job's results; when it has ended, delete the endpoints that it left behind. Idempotent.

    Args:
        name: name of the job.
        directory: local directory for the results.
        region: AWS region; None for the SDK's own configuration.
        log: receives messages for the user.

    Raises:
        ResourceLeakError: the results cannot be downloaded, and resources of the run may still exist.
        LoadgenError: the job does not exist, or its results cannot be downloaded.
    """
    async with _connect(region) as (connection, s3):
        job = await _describe_job(connection, name)
        log(str(job))
        if job.is_finished and job.certificate_location is not None:
            await _delete_certificate(s3, job.certificate_location, log)
        files, download_error = 0, None
        try:
            # The lock belongs to a process in the container; whether that has ended cannot be checked locally.
            files = await download_prefix(s3, job.output_location, directory, exclude={LOCK_FILE_NAME})
            log(
                f"downloaded {files} file{'s' * (files != 1)} to {directory}" if files else f"{directory} is up to date"
            )
        except LoadgenError as error:  # after the deletion of what is billed
            download_error = error
        fetched = FetchedResults(job, directory, files, ())
        if job.is_finished:
            leftovers, unverified = await _delete_leftovers(connection, job, directory, log)
            fetched = replace(fetched, leftovers=leftovers, unverified=unverified)
        if download_error is not None:
            if fetched.may_have_leftovers:
                raise leak_error(fetched, str(download_error)) from download_error
            raise download_error
        return fetched


async def _delete_leftovers(
    connection: AwsConnection, job: ProcessingJob, directory: Path, log: Log
) -> tuple[tuple[Leftover, ...], tuple[str, ...]]:
    """Delete the run's endpoints and configurations, by tags and by the journal among the job's results.

    Returns:
        What could not be deleted, and why more may exist.
    """
    try:
        journal_state = read_journal(directory / JOURNAL_FILE)
    except LoadgenError:
        journal_state = None
    if journal_state is not None and journal_state.run_id != job.run_id:
        journal_state = None
    # Any owner: the job created them under its own role.
    scan = await find_orphans(connection, job.run_id, journal_state=journal_state, any_owner=True)
    unverified = [f"left alone: {line}" for line in scan.skipped]
    # As for `cleanup`: an undamaged journal lists all resources.
    if scan.unreadable and (journal_state is None or journal_state.damaged_lines):
        unverified.append(f"cannot list the resources that run {job.run_id} left: {scan.unreadable}")
    for line in unverified:
        log(line)
    # The job has ended, so no Create is in flight: what the journal names and does not exist has been deleted.
    scan = replace(scan, orphans=[orphan for orphan in scan.orphans if orphan.existence is Existence.OBSERVED])
    if scan.orphans:
        names = ", ".join(dict.fromkeys(orphan.name for orphan in scan.orphans))
        log(f"deleting {names}, which the job left behind")
    return tuple((await delete_orphans(connection, scan, NullJournal())).leftovers()), tuple(unverified)


def check_reachable(target: Any) -> None:
    """Check that a job can reach a target.

    Raises:
        ConfigError: the target is an emulator on this machine.
    """
    if getattr(target, "emulator_url", "") or type(target).__name__ == "Emulated":
        raise ConfigError(
            "a Processing job cannot reach an emulator on this machine",
            hint="use SageMaker(...) or Existing(...) as the target, without --emulate",
        )


def check_completed(fetched: FetchedResults) -> None:
    """Check that a job completed and left nothing behind.

    Raises:
        ResourceLeakError: a resource of the run may still exist.
        UnavailableError: the job failed or was stopped.
    """
    if fetched.may_have_leftovers:
        raise leak_error(fetched)
    if fetched.job.status != "Completed":
        raise job_failed_error(fetched.job)


def leak_error(fetched: FetchedResults, *details: str) -> ResourceLeakError:
    """Return the error for a job whose run may have left resources."""
    lines = [*map(str, fetched.leftovers), *fetched.unverified, *details]
    return ResourceLeakError(
        f"resources of run {fetched.job.run_id} may still exist",
        hint=f"delete them, or repeat: python -m loadgen fetch {fetched.job.name}",
        details=lines,
    )


def job_failed_error(job: ProcessingJob) -> UnavailableError:
    """Return the error for a job that failed."""
    return UnavailableError(str(job), hint="its log is in CloudWatch Logs, /aws/sagemaker/ProcessingJobs")
