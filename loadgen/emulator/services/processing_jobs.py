"""SageMaker Processing jobs that really run: the container's command in a process, with /opt/ml mapped to a folder.

There is no container: the command runs with this interpreter and this user's rights, so that an emulator runs jobs only
when it was told to (Settings.runs_jobs). Inputs come from the emulator's S3, outputs go there while the job runs.
Source: SageMaker developer guide, "How Amazon SageMaker Processing Runs Your Processing Container Image" and the
pages on its configuration, inputs, outputs and metadata (2026).
"""

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadgen.emulator.protocol import input_validation
from loadgen.emulator.protocol.pagination import paginate
from loadgen.emulator.protocol.responses import ServiceError
from loadgen.emulator.services.s3 import S3Service
from loadgen.emulator.settings import Settings

_CONTAINER_ROOT = "/opt/ml/"
_UPLOAD_INTERVAL = 1.0  # seconds between two looks at the outputs; AWS names no figure for S3UploadMode Continuous
_START_DELAY = 180.0  # seconds until the command runs; some minutes are usual, none is documented
_STOP_TIMEOUT = 120.0  # seconds between SIGTERM and SIGKILL: what the guide names for training jobs
_MAX_EXIT_MESSAGE_BYTES = 1024  # bytes of ExitMessage
_S3_URI = re.compile(r"s3://([^/]+)/?(.*)")
_PYTHON_COMMANDS = frozenset({"python", "python3"})
_DESCRIBED_MEMBERS = (
    *("ProcessingJobName", "ProcessingResources", "AppSpecification", "RoleArn", "ProcessingInputs"),
    *("ProcessingOutputConfig", "StoppingCondition", "Environment", "NetworkConfig"),
)


@dataclass(slots=True)
class EmulatedJob:
    """One Processing job."""

    name: str
    arn: str
    payload: Mapping[str, Any]
    created: float
    modified: float
    status: str = "InProgress"
    started: float | None = None
    ended: float | None = None
    failure_reason: str = ""
    exit_message: str = ""
    stop_requested: asyncio.Event = field(default_factory=asyncio.Event)
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """Return what DescribeProcessingJob answers."""
        shown: dict[str, Any] = {
            member: self.payload[member] for member in _DESCRIBED_MEMBERS if member in self.payload
        }
        shown |= self.summary()
        return shown | ({"ProcessingStartTime": self.started} if self.started is not None else {})

    def summary(self) -> dict[str, Any]:
        """Return its row in ListProcessingJobs."""
        optional = {
            "ProcessingEndTime": self.ended,
            "FailureReason": self.failure_reason,
            "ExitMessage": self.exit_message,
        }
        return {
            "ProcessingJobName": self.name,
            "ProcessingJobArn": self.arn,
            "ProcessingJobStatus": self.status,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
        } | {name: value for name, value in optional.items() if value}


class ProcessingJobs:
    """The account's Processing jobs.

    Args:
        settings: of the account.
        storage: where inputs are and outputs go.
        clock: epoch seconds.

    `url` is what the jobs take for AWS; `task_group` the task group that their work belongs to.
    """

    def __init__(self, settings: Settings, storage: S3Service, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._storage = storage
        self._clock = clock
        self._jobs: dict[str, EmulatedJob] = {}
        self.url = ""
        self.task_group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.operations: Mapping[str, Callable[[Mapping[str, Any], float], dict[str, Any] | None]] = {
            "CreateProcessingJob": self.create,
            "DescribeProcessingJob": self.describe,
            "StopProcessingJob": self.stop,
            "ListProcessingJobs": self.list_jobs,
        }

    def create(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Take a job; it runs after a while."""
        name = input_validation.require_name(payload, "ProcessingJobName")
        _validate(payload)
        region, account = self._settings.region, self._settings.account_id
        arn = f"arn:aws:sagemaker:{region}:{account}:processing-job/{name.lower()}"
        if name in self._jobs:
            raise ServiceError("ResourceInUse", f'Job name must be unique within an AWS account and region: "{arn}"')
        job = self._jobs[name] = EmulatedJob(name, arn, dict(payload), now, now)
        if not self._settings.runs_jobs or self.task_group is None:
            self._finish(job, "Failed", "ClientError: this emulator runs no jobs: start it with --run-jobs")
            return {"ProcessingJobArn": arn}
        task = self.task_group.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {"ProcessingJobArn": arn}

    def describe(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return a job's state."""
        return self._find(payload).describe()

    def stop(self, payload: Mapping[str, Any], now: float) -> None:
        """Begin to stop a job."""
        job = self._find(payload)
        if job.status != "InProgress":
            raise input_validation.validation_error(
                f"The request was rejected because the processing job is in status {job.status}."
            )
        job.status, job.modified = "Stopping", now
        job.stop_requested.set()

    def list_jobs(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """List jobs by page."""
        jobs, more = paginate(self._jobs.values(), payload, sort_fields=("Name", "CreationTime", "Status"))
        return {"ProcessingJobSummaries": [job.summary() for job in jobs], **more}

    def close(self) -> None:
        """End what runs: the emulator goes."""
        for task in self._tasks:
            task.cancel()

    def _find(self, payload: Mapping[str, Any]) -> EmulatedJob:
        name = input_validation.require_name(payload, "ProcessingJobName")
        if name not in self._jobs:
            raise ServiceError("ResourceNotFound", f"Could not find requested job with name: {name}")
        return self._jobs[name]

    def _finish(self, job: EmulatedJob, status: str, failure_reason: str = "") -> None:
        job.status, job.failure_reason = status, failure_reason[:1024]
        job.ended = job.modified = self._clock()

    # --- running

    async def _run(self, job: EmulatedJob) -> None:
        count = job.payload["ProcessingResources"]["ClusterConfig"]["InstanceCount"]
        with tempfile.TemporaryDirectory(prefix="loadgen-job-") as place:
            roots = [Path(place) / f"algo-{index + 1}" for index in range(count)]
            uploads = _OutputUploader(self._storage, job.payload, roots)
            try:
                try:
                    async with asyncio.timeout(_START_DELAY / self._settings.time_scale):
                        await job.stop_requested.wait()
                except TimeoutError:
                    await self._execute(job, roots, uploads)
            except ServiceError as error:
                self._finish(job, "Failed", f"ClientError: {error.code}: {error.message}")
            except OSError as error:
                self._finish(job, "Failed", f"ClientError: {error}")
            finally:
                for process in job.processes:
                    if process.returncode is None:
                        process.kill()
                        await process.wait()
            if job.ended is None:
                self._finish(job, "Stopped")

    async def _execute(self, job: EmulatedJob, roots: Sequence[Path], uploads: "_OutputUploader") -> None:
        for index, root in enumerate(roots):
            self._create_filesystem(job, index, root, roots)
        job.started = job.modified = self._clock()
        for root in roots:
            job.processes.append(await self._start_process(job, root))
        limit = job.payload.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 24 * 3600)
        is_late = False
        try:
            async with asyncio.timeout(limit):
                await self._upload_until_exit(job, uploads)
        except TimeoutError:
            is_late = True
            await self._terminate(job)
        uploads.upload_changes(self._clock())
        codes = [process.returncode for process in job.processes]
        job.exit_message = _exit_message(roots)
        if job.stop_requested.is_set():
            self._finish(job, "Stopped")
        elif is_late:
            # The guide says that the job is terminated, and names no status for it.
            self._finish(job, "Stopped", f"MaxRuntimeExceeded: the job ran for {limit} s")
        elif failed := [code for code in codes if code]:
            self._finish(job, "Failed", f"AlgorithmError: See job logs for more information, exit code: {failed[0]}")
        else:
            self._finish(job, "Completed")

    async def _upload_until_exit(self, job: EmulatedJob, uploads: "_OutputUploader") -> None:
        """Upload outputs until every command has ended; one that fails, or a stop, ends the others."""
        stopping = asyncio.create_task(job.stop_requested.wait())
        ends = [asyncio.create_task(process.wait()) for process in job.processes]
        try:
            while not all(end.done() for end in ends):
                await asyncio.wait([*ends, stopping], timeout=_UPLOAD_INTERVAL, return_when=asyncio.FIRST_COMPLETED)
                uploads.upload_changes(self._clock())
                if stopping.done() or any(end.done() and end.result() for end in ends):
                    await self._terminate(job)
                    return
                if any(end.done() for end in ends):
                    await asyncio.sleep(_UPLOAD_INTERVAL / 10)
        finally:
            for task in (stopping, *ends):
                task.cancel()

    async def _terminate(self, job: EmulatedJob) -> None:
        """Ask the commands to end, and end them when their time is over."""
        running = [process for process in job.processes if process.returncode is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(max(5.0, _STOP_TIMEOUT / self._settings.time_scale)):
                for process in running:
                    await process.wait()
        except TimeoutError:
            for process in running:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    def _create_filesystem(self, job: EmulatedJob, index: int, root: Path, roots: Sequence[Path]) -> None:
        """Make an instance's /opt/ml: configuration, inputs, and empty outputs."""
        config = root / "opt/ml/config"
        config.mkdir(parents=True)
        (root / "opt/ml/output").mkdir()
        hosts = {"current_host": root.name, "hosts": [other.name for other in roots], "network_interface_name": "lo"}
        (config / "resourceconfig.json").write_text(json.dumps(hosts))
        (config / "processingjobconfig.json").write_text(json.dumps(job.describe(), default=str))
        for item in job.payload.get("ProcessingInputs", ()):
            source = item["S3Input"]
            bucket, prefix = _parse_s3_uri(source["S3Uri"])
            keys = self._storage.keys(bucket, prefix)
            if not keys:
                raise ServiceError(
                    "NoSuchKey", f'No S3 objects found under S3 URL "{source["S3Uri"]}" given in input data'
                )
            for number, key in enumerate(keys):
                if source.get("S3DataDistributionType") == "ShardedByS3Key" and number % len(roots) != index:
                    continue
                relative = key[len(prefix) :].lstrip("/") or key.rpartition("/")[2]
                target = _path_inside(_map_path(source["LocalPath"], root), relative)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._storage.get(bucket, key).body)
        for item in job.payload.get("ProcessingOutputConfig", {}).get("Outputs", ()):
            Path(_map_path(item["S3Output"]["LocalPath"], root)).mkdir(parents=True, exist_ok=True)

    async def _start_process(self, job: EmulatedJob, root: Path) -> asyncio.subprocess.Process:
        application = job.payload["AppSpecification"]
        words = [*application.get("ContainerEntrypoint", ()), *application.get("ContainerArguments", ())]
        if not words:
            raise ServiceError("ValidationException", "the emulator has no images: give a ContainerEntrypoint")
        command = [_map_path(word, root) for word in words]
        if command[0] in _PYTHON_COMMANDS:
            command[0] = sys.executable
        inherited = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR")
        environment = {name: os.environ[name] for name in inherited if name in os.environ}
        environment |= {name: _map_path(value, root) for name, value in job.payload.get("Environment", {}).items()}
        environment |= {
            "HOME": str(root),
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": self._settings.region,
            "AWS_DEFAULT_REGION": self._settings.region,
            "AWS_ACCESS_KEY_ID": "emulator",
            "AWS_SECRET_ACCESS_KEY": "emulator",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        with (root / "log").open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *command, cwd=root, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )


class _OutputUploader:
    """Takes outputs to S3 as they change."""

    def __init__(self, storage: S3Service, payload: Mapping[str, Any], roots: Sequence[Path]) -> None:
        self._storage = storage
        self._uploaded: dict[Path, tuple[int, int]] = {}
        self._destinations = [
            (Path(_map_path(item["S3Output"]["LocalPath"], root)), *_parse_s3_uri(item["S3Output"]["S3Uri"]))
            for item in payload.get("ProcessingOutputConfig", {}).get("Outputs", ())
            for root in roots
        ]

    def upload_changes(self, now: float) -> None:
        """Upload what has changed since the last sweep."""
        for directory, bucket, prefix in self._destinations:
            for path in sorted(directory.rglob("*")):
                if not path.is_file() or path.is_symlink():
                    continue
                state = path.stat()
                mark = state.st_mtime_ns, state.st_size
                if self._uploaded.get(path) != mark:
                    key = "/".join(filter(None, (prefix.rstrip("/"), path.relative_to(directory).as_posix())))
                    self._storage.put(bucket, key, path.read_bytes(), now)
                    self._uploaded[path] = mark


def _validate(payload: Mapping[str, Any]) -> None:
    """Refuse what the service model refuses, as far as it decides what is run."""
    resources = input_validation.get_struct(payload, "ProcessingResources") or {}
    cluster = input_validation.get_struct(resources, "ClusterConfig", member_path="processingResources.clusterConfig")
    if cluster is None:
        raise input_validation.constraint_error(None, "processingResources.clusterConfig", "not be null")
    place = "processingResources.clusterConfig"
    input_validation.require_int(cluster, "InstanceCount", member_path=f"{place}.instanceCount", minimum=1, maximum=100)
    input_validation.require_int(
        cluster, "VolumeSizeInGB", member_path=f"{place}.volumeSizeInGB", minimum=1, maximum=16384
    )
    input_validation.require_str(cluster, "InstanceType", member_path=f"{place}.instanceType")
    application = input_validation.get_struct(payload, "AppSpecification")
    if application is None:
        raise input_validation.constraint_error(None, "appSpecification", "not be null")
    input_validation.require_str(application, "ImageUri", member_path="appSpecification.imageUri", max_length=255)
    role = input_validation.require_str(payload, "RoleArn", max_length=2048)
    if not re.fullmatch(input_validation.ROLE_ARN_PATTERN, role):
        raise input_validation.constraint_error(
            role, "roleArn", f"satisfy regular expression pattern: {input_validation.ROLE_ARN_PATTERN}"
        )
    inputs = input_validation.get_struct_list(payload, "ProcessingInputs", max_items=10)
    outputs = input_validation.get_struct_list(payload.get("ProcessingOutputConfig") or {}, "Outputs", max_items=10)
    for row in [item.get("S3Input") or {} for item in inputs] + [item.get("S3Output") or {} for item in outputs]:
        input_validation.require_str(row, "LocalPath", max_length=256)
        _parse_s3_uri(input_validation.require_str(row, "S3Uri"))
    condition = input_validation.get_struct(payload, "StoppingCondition")
    if condition is not None:
        input_validation.require_int(
            condition,
            "MaxRuntimeInSeconds",
            member_path="stoppingCondition.maxRuntimeInSeconds",
            minimum=1,
            maximum=777600,
        )
    input_validation.get_tags(payload)


def _parse_s3_uri(uri: str) -> tuple[str, str]:
    found = _S3_URI.fullmatch(uri)
    if found is None:
        raise input_validation.constraint_error(
            uri, "s3Uri", "satisfy regular expression pattern: ^(https|s3)://([^/]+)/?(.*)$"
        )
    return found[1], found[2]


def _map_path(text: str, root: Path) -> str:
    """Return a word of the job with /opt/ml where it lies in this instance's folder."""
    return text.replace(_CONTAINER_ROOT, f"{root}{_CONTAINER_ROOT}") if _CONTAINER_ROOT in text else text


def _path_inside(directory: str, relative: str) -> Path:
    """Return a path below a directory, wherever the key would have it."""
    target = (Path(directory) / relative).resolve()
    if not target.is_relative_to(Path(directory).resolve()):
        raise ServiceError("ValidationException", f"the key {relative!r} leaves its directory")
    return target


def _exit_message(roots: Sequence[Path]) -> str:
    said = b""
    for root in roots:
        path = root / "opt/ml/output/message"
        if path.is_file():
            said += path.read_bytes()
    return said[:_MAX_EXIT_MESSAGE_BYTES].decode(errors="replace")
