"""The account's SageMaker Processing jobs: their state and the operations on them.

Source: SageMaker developer guide, "How Amazon SageMaker Processing Runs Your Processing Container Image" (2026).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from loadgen.emulator.protocol.errors import ServiceError, missing_member, validation_error
from loadgen.emulator.protocol.input_validation import Operation, validated
from loadgen.emulator.protocol.pagination import paginate
from loadgen.emulator.services.emulated_job import EmulatedJob
from loadgen.emulator.services.job_runner import JobEndpoint, JobRunner, parse_s3_uri
from loadgen.emulator.services.s3_storage import S3Storage
from loadgen.emulator.services.stored_inputs import StoredInputs, limit_exceeded
from loadgen.emulator.settings import Settings

_LOG = logging.getLogger(__name__)
# Source: CreateProcessingJob, LocalPath; the other directories of /opt/ml belong to the service.
_LOCAL_ROOT = PurePosixPath("/opt/ml/processing")


MAX_JOBS = 1000  # that are kept; AWS keeps them all
MAX_INSTANCES = 20  # of all running jobs: the default quota of ml.m5.large, and here a process for each


class ProcessingJobs:
    """The account's Processing jobs.

    Args:
        settings: settings of the account.
        storage: S3, the source of inputs and destination of outputs.
        clock: epoch seconds.
        token: the emulator's token, which jobs get; empty if there is none.

    `url` is the endpoint URL that jobs get for AWS; `task_group` owns the tasks that run jobs.
    """

    def __init__(self, settings: Settings, storage: S3Storage, clock: Callable[[], float], *, token: str = "") -> None:
        self._settings = settings
        self._storage = storage
        self._clock = clock
        self._jobs: dict[str, EmulatedJob] = {}
        self._inputs = StoredInputs("processing jobs")
        self._token = token
        self.url = ""
        self.task_group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.operations: Mapping[str, Operation] = validated(
            "sagemaker",
            {
                "CreateProcessingJob": self.create,
                "DescribeProcessingJob": self.describe,
                "StopProcessingJob": self.stop,
                "ListProcessingJobs": self.list_jobs,
            },
        )

    def create(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Create a job, whose command runs once its instances would have started."""
        name = payload["ProcessingJobName"]
        _check_paths(payload)
        region, account = self._settings.region, self._settings.account_id
        arn = f"arn:aws:sagemaker:{region}:{account}:processing-job/{name.lower()}"
        # ARNs are in lower case.
        if name.lower() in (other.lower() for other in self._jobs):
            raise ServiceError("ResourceInUse", f'Job name must be unique within an AWS account and region: "{arn}"')
        self._make_room(payload)
        self._inputs.add(name, payload)
        job = self._jobs[name] = EmulatedJob(name, arn, payload, now, now)
        if not self._settings.runs_jobs or self.task_group is None:
            job.finish("Failed", now, "ClientError: this emulator does not run jobs: start it with --run-jobs")
            return {"ProcessingJobArn": arn}
        runner = JobRunner(job, self._settings, self._storage, self._clock, JobEndpoint(self.url, self._token))
        task = self.task_group.create_task(self._run(job, runner))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {"ProcessingJobArn": arn}

    def describe(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return the state of a job."""
        return self._find(payload).describe()

    def stop(self, payload: Mapping[str, Any], now: float) -> None:
        """Start to stop a job."""
        job = self._find(payload)
        if job.status != "InProgress":
            raise validation_error(f"The request was rejected because the processing job is in status {job.status}.")
        job.status, job.modified = "Stopping", now
        job.stop_requested.set()

    def list_jobs(self, payload: Mapping[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002
        """Return a page of jobs."""
        jobs, more = paginate(self._jobs.values(), payload)
        return {"ProcessingJobSummaries": [job.summary() for job in jobs], **more}

    def close(self) -> None:
        """Cancel the tasks that run jobs."""
        for task in self._tasks:
            task.cancel()

    async def _run(self, job: EmulatedJob, runner: JobRunner) -> None:
        """Run a job; an internal failure ends this job only, not the server whose task group owns the task."""
        try:
            await runner.run()
        except Exception as error:  # noqa: BLE001  logged, and the job is Failed
            _LOG.exception("processing job %s failed", job.name)
            job.finish("Failed", self._clock(), f"InternalServerError: {type(error).__name__}: {error}")

    def _make_room(self, payload: Mapping[str, Any]) -> None:
        """Check the instances of a new job, and forget the oldest finished jobs above the number that is kept."""
        if self._settings.runs_jobs:
            wanted = payload["ProcessingResources"]["ClusterConfig"]
            running = sum(job.instance_count for job in self._jobs.values() if job.ended is None)
            if running + wanted["InstanceCount"] > MAX_INSTANCES:
                quota = f"{wanted['InstanceType']} for processing job usage"
                raise limit_exceeded(quota, MAX_INSTANCES, running, wanted["InstanceCount"], "Instances")
        finished = [name for name, job in self._jobs.items() if job.ended is not None]
        for name in finished[: max(0, len(self._jobs) + 1 - MAX_JOBS)]:
            del self._jobs[name]
            self._inputs.remove(name)

    def _find(self, payload: Mapping[str, Any]) -> EmulatedJob:
        name = payload["ProcessingJobName"]
        if name not in self._jobs:
            raise ServiceError("ResourceNotFound", f"Could not find requested job with name: {name}")
        return self._jobs[name]


def _check_paths(payload: Mapping[str, Any]) -> None:
    """Check that each input and output has a path in /opt/ml/processing and an `s3://` URI; the model requires neither.

    Raises:
        ServiceError: a path is missing or elsewhere, or the URI has another scheme.
    """
    rows = [("ProcessingInputs", "S3Input", row) for row in payload.get("ProcessingInputs", ())]
    outputs = payload.get("ProcessingOutputConfig", {}).get("Outputs", ())
    rows += [("Outputs", "S3Output", row) for row in outputs]
    for parent, member, row in rows:
        for name in ("LocalPath", "S3Uri"):
            if name not in row.get(member, ()):
                raise missing_member(parent, member, name)
        parse_s3_uri(row[member]["S3Uri"])
        _check_local_path(member, row[member]["LocalPath"])


def _check_local_path(member: str, text: str) -> None:
    path = PurePosixPath(text)
    if not path.is_relative_to(_LOCAL_ROOT) or ".." in path.parts or "\0" in text:
        raise validation_error(f"LocalPath {text!r} of {member} must be {_LOCAL_ROOT} or a directory in it.")
