"""Running a Processing job: the container's command in a process, with /opt/ml mapped to a directory.

There is no container: the command runs with this interpreter and this user's rights, so that an emulator runs jobs only
with Settings.runs_jobs. Inputs come from the emulator's S3, outputs are uploaded to it while the job runs.
Source: SageMaker developer guide, "How Amazon SageMaker Processing Runs Your Processing Container Image" and the
pages on its configuration, inputs, outputs and metadata (2026).
"""

import asyncio
import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from loadgen.emulator.protocol.errors import ServiceError, validation_error
from loadgen.emulator.services.emulated_job import EmulatedJob
from loadgen.emulator.services.s3_storage import MAX_STORED_BYTES, S3Storage
from loadgen.emulator.settings import Settings

_LOG = logging.getLogger(__name__)
_CONTAINER_ROOT = "/opt/ml/"
_UPLOAD_INTERVAL = 1.0  # seconds between two uploads of changed outputs; not published for S3UploadMode Continuous
_START_DELAY = 180.0  # seconds until the command runs; some minutes are usual, none is documented
_STOP_TIMEOUT = 120.0  # seconds between SIGTERM and SIGKILL: the guide's figure for training jobs
_REMOVAL_ATTEMPTS = 20
_REMOVAL_INTERVAL = 0.1  # seconds between two of them
_MAX_EXIT_MESSAGE_BYTES = 1024  # length limit of ExitMessage in the service model
_S3_URI = re.compile(r"s3://([^/]+)/?(.*)")
_PYTHON_COMMANDS = frozenset({"python", "python3"})


class JobEndpoint(NamedTuple):
    """How a job reaches AWS: the endpoint URL, and the session token that the emulator asks for."""

    url: str
    token: str


class JobRunner:
    """Runs one job to its end.

    Args:
        job: the job, whose state is updated.
        settings: settings of the account.
        storage: S3, the source of inputs and destination of outputs.
        clock: epoch seconds.
        endpoint: how the job reaches AWS.
    """

    def __init__(
        self,
        job: EmulatedJob,
        settings: Settings,
        storage: S3Storage,
        clock: Callable[[], float],
        endpoint: JobEndpoint,
    ) -> None:
        self._job = job
        self._settings = settings
        self._storage = storage
        self._clock = clock
        self._endpoint = endpoint

    async def run(self) -> None:
        """Wait for the instances to start, run the command on each, and set the final status."""
        job = self._job
        count = job.payload["ProcessingResources"]["ClusterConfig"]["InstanceCount"]
        async with _temporary_directory() as directory:
            roots = _instance_roots(directory, count)
            uploads = _OutputUploader(self._storage, job.payload, roots)
            try:
                try:
                    async with asyncio.timeout(_START_DELAY / self._settings.time_scale):
                        await job.stop_requested.wait()
                except TimeoutError:
                    await self._execute(roots, uploads)
            except ServiceError as error:
                job.finish("Failed", self._clock(), f"ClientError: {error.code}: {error.message}")
            # ValueError: a NUL in a key.
            except (OSError, ValueError) as error:
                job.finish("Failed", self._clock(), f"ClientError: {error}")
            finally:
                for process in job.processes:
                    _kill_group(process)
                    await process.wait()
            if job.ended is None:
                job.finish("Stopped", self._clock())

    async def _execute(self, roots: Sequence[Path], uploads: "_OutputUploader") -> None:
        for index, root in enumerate(roots):
            self._create_filesystem(index, root, roots)
        self._job.started = self._job.modified = self._clock()
        for root in roots:
            self._job.processes.append(await self._start_process(root))
        limit = self._job.payload.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 24 * 3600)
        is_late = False
        try:
            async with asyncio.timeout(limit):
                await self._upload_until_exit(uploads)
        except TimeoutError:
            is_late = True
            await self._terminate()
        uploads.upload_changes(self._clock())
        # A container reports a signal as 128 + its number, as a shell does; asyncio reports it as a negative number.
        returned = [process.returncode or 0 for process in self._job.processes]
        codes = [128 - code if code < 0 else code for code in returned]
        self._job.exit_message = _exit_message(roots)
        if self._job.stop_requested.is_set():
            self._job.finish("Stopped", self._clock())
        elif is_late:
            # The guide states that the job is terminated; the status is not documented.
            self._job.finish("Stopped", self._clock(), f"MaxRuntimeExceeded: the job ran for {limit} s")
        elif failed := [code for code in codes if code]:
            reason = f"AlgorithmError: See job logs for more information, exit code: {failed[0]}"
            self._job.finish("Failed", self._clock(), reason)
        else:
            self._job.finish("Completed", self._clock())

    async def _upload_until_exit(self, uploads: "_OutputUploader") -> None:
        """Upload outputs until all commands have ended; terminate them if one fails or a stop is requested."""
        stopping = asyncio.create_task(self._job.stop_requested.wait())
        ends = [asyncio.create_task(process.wait()) for process in self._job.processes]
        try:
            while not all(end.done() for end in ends):
                await asyncio.wait([*ends, stopping], timeout=_UPLOAD_INTERVAL, return_when=asyncio.FIRST_COMPLETED)
                uploads.upload_changes(self._clock())
                if stopping.done() or any(end.done() and end.result() for end in ends):
                    await self._terminate()
                    return
                if any(end.done() for end in ends):
                    await asyncio.sleep(_UPLOAD_INTERVAL / 10)
        finally:
            for task in (stopping, *ends):
                task.cancel()

    async def _terminate(self) -> None:
        """Send SIGTERM to the running commands, and SIGKILL to those that have not ended after the stop timeout."""
        running = [process for process in self._job.processes if process.returncode is None]
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

    def _create_filesystem(self, index: int, root: Path, roots: Sequence[Path]) -> None:
        """Create the /opt/ml of one instance: configuration, inputs and empty output directories."""
        config = root / "opt/ml/config"
        config.mkdir(parents=True)
        (root / "opt/ml/output").mkdir()
        hosts = {"current_host": root.name, "hosts": [other.name for other in roots], "network_interface_name": "lo"}
        (config / "resourceconfig.json").write_text(json.dumps(hosts))
        (config / "processingjobconfig.json").write_text(json.dumps(self._job.describe(), default=str))
        for item in self._job.payload.get("ProcessingInputs", ()):
            source = item["S3Input"]
            bucket, prefix = parse_s3_uri(source["S3Uri"])
            keys = self._storage.keys(bucket, prefix)
            if not keys:
                raise ServiceError(
                    "NoSuchKey", f'No S3 objects found under S3 URL "{source["S3Uri"]}" given in input data'
                )
            for number, key in enumerate(keys):
                if source.get("S3DataDistributionType") == "ShardedByS3Key" and number % len(roots) != index:
                    continue
                relative = key[len(prefix) :].lstrip("/") or key.rpartition("/")[2]
                target = _path_inside(_local_directory(source["LocalPath"], root), relative)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._storage.get(bucket, key).body)
        for item in self._job.payload.get("ProcessingOutputConfig", {}).get("Outputs", ()):
            _local_directory(item["S3Output"]["LocalPath"], root).mkdir(parents=True, exist_ok=True)

    async def _start_process(self, root: Path) -> asyncio.subprocess.Process:
        application = self._job.payload["AppSpecification"]
        argv = [*application.get("ContainerEntrypoint", ()), *application.get("ContainerArguments", ())]
        if not argv:
            raise validation_error("the emulator has no container images: give a ContainerEntrypoint")
        given = self._job.payload.get("Environment", {})
        if any("\0" in text for text in (*argv, *given.values())):
            # uvloop would cut the text there and run the rest.
            raise validation_error("a word of the command, or a value of the environment, contains a NUL")
        command = [_map_path(argument, root) for argument in argv]
        if command[0] in _PYTHON_COMMANDS:
            command[0] = sys.executable
        inherited = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR")
        environment = {name: os.environ[name] for name in inherited if name in os.environ}
        environment |= {name: _map_path(value, root) for name, value in given.items()}
        # A key that the emulator knows, if it verifies signatures.
        key, secret = next(iter(self._settings.signing_keys.items()), ("emulator", "emulator"))
        environment |= {
            "HOME": str(root),
            "AWS_ENDPOINT_URL": self._endpoint.url,
            "AWS_REGION": self._settings.region,
            "AWS_DEFAULT_REGION": self._settings.region,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_SESSION_TOKEN": self._endpoint.token,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        with (root / "log").open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *command,
                cwd=root,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@asynccontextmanager
async def _temporary_directory() -> AsyncIterator[str]:
    """Create a directory, and remove it at the end; a process that is being killed can still write into it."""
    directory = tempfile.mkdtemp(prefix="loadgen-job-")
    try:
        yield directory
    finally:
        for _ in range(_REMOVAL_ATTEMPTS):
            try:
                shutil.rmtree(directory)
            except FileNotFoundError:
                break
            except OSError:
                await asyncio.sleep(_REMOVAL_INTERVAL)
            else:
                break
        else:
            _LOG.warning("the directory of a Processing job cannot be removed: %s", directory)


def _kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill a command with all that it has started, as the end of its first process ends a container."""
    with suppress(ProcessLookupError):  # nothing of it is left
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        elif process.returncode is None:
            process.kill()


def _instance_roots(directory: str, count: int) -> list[Path]:
    """Return the root of each instance, without symbolic links: `_is_real_path` compares with it."""
    return [Path(directory).resolve() / f"algo-{index + 1}" for index in range(count)]


class _OutputUploader:
    """Uploads the files of the output directories to S3 when they change."""

    def __init__(self, storage: S3Storage, payload: Mapping[str, Any], roots: Sequence[Path]) -> None:
        self._storage = storage
        self._uploaded: dict[Path, tuple[int, int]] = {}
        self._destinations = [
            (_local_directory(item["S3Output"]["LocalPath"], root), *parse_s3_uri(item["S3Output"]["S3Uri"]))
            for item in payload.get("ProcessingOutputConfig", {}).get("Outputs", ())
            for root in roots
        ]

    def upload_changes(self, now: float) -> None:
        """Upload the files that have changed since the last call."""
        for directory, bucket, prefix in self._destinations:
            if not _is_real_path(directory):
                continue  # the command has put a link in its place, which can lead anywhere
            for path in sorted(directory.rglob("*")):
                if not path.is_file() or not _is_real_path(path):
                    continue
                # A file name is any bytes, a key is UTF-8.
                relative = os.fsencode(path.relative_to(directory)).decode(errors="replace")
                try:
                    state = path.stat()
                    version = state.st_mtime_ns, state.st_size
                    if self._uploaded.get(path) == version:
                        continue
                    if state.st_size > MAX_STORED_BYTES:
                        raise validation_error(f"the output {relative} of {state.st_size} bytes is too large")
                    body = path.read_bytes()
                except FileNotFoundError:
                    continue  # the command has renamed or deleted it
                self._storage.put(bucket, "/".join(filter(None, (prefix.rstrip("/"), relative))), body, now)
                self._uploaded[path] = version


def parse_s3_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key prefix of an S3 URI.

    Raises:
        ServiceError: it does not begin with `s3://`; AWS accepts https as well.
    """
    found = _S3_URI.fullmatch(uri)
    if found is None:
        raise validation_error(f"the emulator supports s3:// URIs only, got {uri!r}")
    return found[1], found[2]


def _map_path(text: str, root: Path) -> str:
    """Return a string with /opt/ml replaced by its directory in this instance's root."""
    return text.replace(_CONTAINER_ROOT, f"{root}{_CONTAINER_ROOT}") if _CONTAINER_ROOT in text else text


def _local_directory(local_path: str, root: Path) -> Path:
    """Return the directory of a LocalPath in this instance's root."""
    return root / local_path.lstrip("/")


def _path_inside(directory: Path, relative: str) -> Path:
    """Return a path below a directory.

    Raises:
        ServiceError: the path leaves the directory.
    """
    target = (directory / relative).resolve()
    if not target.is_relative_to(directory.resolve()):
        raise validation_error(f"the key {relative!r} leaves its directory")
    return target


def _is_real_path(path: Path) -> bool:
    """Return whether no part of an absolute path is a symbolic link."""
    return path.resolve() == path


def _exit_message(roots: Sequence[Path]) -> str:
    messages = b""
    for root in roots:
        path = root / "opt/ml/output/message"
        if path.is_file() and _is_real_path(path):
            with path.open("rb") as message:
                messages += message.read(_MAX_EXIT_MESSAGE_BYTES)
    return messages[:_MAX_EXIT_MESSAGE_BYTES].decode(errors="replace")
