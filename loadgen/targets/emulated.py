"""Emulated: loadgen's emulator of the AWS APIs, in a process of its own, beside the generator's event loop."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from loadgen.aws.deployment.names_and_tags import validate_tags
from loadgen.emulator.settings import Settings
from loadgen.errors import ResourceError, UnavailableError, UsageError
from loadgen.event_loop import shielded
from loadgen.interfaces import Account, Target, Transport
from loadgen.process_exit import describe_exit
from loadgen.targets.names import validate_resource_name
from loadgen.targets.standalone import open_transport
from loadgen.targets.transport_selection import resolve_transport
from loadgen.validation import to_int
from loadgen.workload.serverless_config import ServerlessConfig

if TYPE_CHECKING:
    from loadgen.aws.account import AwsAccount

_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 5.0
_EXIT_DETECTION_TIMEOUT = 0.2
_STDERR_LINES = 10  # of an emulator that has ended


@dataclass(frozen=True, slots=True)
class Emulated:
    """Start an emulator on loopback and deploy an emulated model in it. Needs no credentials and costs nothing.

    Args:
        profile: behaviour of the model: `mobilenet-v2`, `xgboost`, `huggingface`, ...
        model: name of the emulated model; None for the profile's name.
        quotas: `documented`, or `ordinary` for those that new accounts usually have.
        seed: of the emulator's random numbers.
        time_scale: divisor of the durations of deployments, deletions and cold starts; service times do not change.
        metric_lag: seconds until emulated CloudWatch metrics appear.
        url: of a running emulator, whose own settings apply; empty starts one.
        transport: `auto` or a transport's name.
        tags: of every created resource, beside loadgen's own.
        verify_signatures: whether the emulator that it starts refuses requests that are not signed correctly.

    Raises:
        UsageError: an invalid value.

    Example:
        >>> Emulated("xgboost", quotas="ordinary").profile
        'xgboost'
    """

    profile: str = "mobilenet-v2"
    model: str | None = None
    quotas: str = "documented"
    seed: int = 0
    time_scale: float = 60.0
    metric_lag: float = 0.0
    url: str = ""
    transport: str = "auto"
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    verify_signatures: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", to_int(self.seed, "seed", 0))
        Settings(  # raises what the emulator would raise
            profile=self.profile,
            seed=self.seed,
            quotas=self.quotas,
            time_scale=self.time_scale,
            metric_lag=self.metric_lag,
        )
        if self.model is not None:
            validate_resource_name("model", self.model)
        if self.url and not self.url.startswith("http://"):
            raise UsageError(f"emulator at {self.url!r}", hint="give the URL it prints, such as http://127.0.0.1:8080")
        resolve_transport(self.transport)
        object.__setattr__(self, "tags", validate_tags(self.tags))

    @asynccontextmanager
    async def account(self, *, run_id: str) -> AsyncIterator[Account]:
        """Start the emulator, unless `url` names one, and connect to it; stop it on exit.

        Raises:
            ResourceError: the operating system did not start its process.
            UnavailableError: the emulator did not start, or ended; the details are its last lines on stderr.
        """
        if self.url:
            async with self._open_account(self.url, run_id) as account:
                yield account
            return
        async with (
            self._running_emulator() as emulator,
            self._open_account(emulator.url, run_id) as account,
            _watched(emulator, account),
        ):
            yield account

    def _open_account(self, url: str, run_id: str) -> "AbstractAsyncContextManager[AwsAccount]":
        # Scenario files create targets while they load; AWS modules are imported when used.
        from loadgen.aws.account import open_account
        from loadgen.aws.cloudwatch import MetricsWaitPolicy
        from loadgen.aws.emulator_api import create_emulated_model
        from loadgen.aws.retry import RetryPolicy
        from loadgen.aws.session import AwsConnectionConfig

        return open_account(
            AwsConnectionConfig(emulator_url=url),
            model=self.model or self.profile,
            run_id=run_id,
            transport_factory=resolve_transport(self.transport),
            retry_policy=RetryPolicy(
                poll_interval=0.1,
                deploy_timeout=60.0 + 3000.0 / self.time_scale,  # the slowest profile takes 1440 s to fail
                consistency_timeout=5.0,
                retry_timeout=3.0,
                create_settle_time=1.0,
                delete_timeout=30.0 + 3000.0 / self.time_scale,
                outage_timeout=1.0,
            ),
            metrics_wait=MetricsWaitPolicy(
                poll_interval=0.2, timeout=self.metric_lag + 5.0, settle_time=self.metric_lag + 0.5
            ),
            detail=self._detail(),
            prepare=partial(create_emulated_model, model=self.model, profile=self.profile, tags=self.tags)
            if self.model
            else None,
            extra_tags=self.tags,
        )

    def open(
        self, config: ServerlessConfig, *, connections: int = 10, timeout: float = 300.0
    ) -> AbstractAsyncContextManager[Transport]:
        """Deploy one emulated endpoint and yield its transport, without a run."""
        return open_transport(self, config, connections=connections, timeout=timeout)

    def for_workers(self, account: Account, endpoint: str) -> Target:
        """Return a target for the workers of other processes."""
        from loadgen.targets.existing import existing_endpoint

        return existing_endpoint(account, endpoint, transport=self.transport)

    def _detail(self) -> str:
        if self.url:
            return f"running at {self.url}"
        return f"profile {self.profile}, quotas {self.quotas}, seed {self.seed}, time x{self.time_scale:g}"

    @asynccontextmanager
    async def _running_emulator(self) -> AsyncIterator["_EmulatorProcess"]:
        with tempfile.TemporaryFile() as stderr_file:
            process = await self._start(stderr_file)
            try:
                import_module("loadgen.aws.account")  # 0.3 s, while the emulator starts
                yield _EmulatorProcess(await _read_url(process, stderr_file), process, stderr_file)
            except Exception as error:
                if await _has_exited(process):
                    raise _emulator_exited_error(process, stderr_file) from error
                raise
            finally:
                await shielded(_stop(process))

    async def _start(self, stderr_file: IO[bytes]) -> asyncio.subprocess.Process:
        settings = {
            "--profile": self.profile,
            "--quotas": self.quotas,
            "--seed": self.seed,
            "--time-scale": self.time_scale,
            "--metric-lag": self.metric_lag,
            "--port": 0,
        }
        arguments = [str(word) for pair in settings.items() for word in pair]
        arguments += ["--verify-signatures"] if self.verify_signatures else []
        # This loadgen, not one in the working directory (-P).
        search_path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "loadgen", "emulate", *arguments, "--exit-with-stdin"),
                stdin=asyncio.subprocess.PIPE,  # the emulator exits when stdin closes: when this process ends
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr_file,
                # The URL is read as UTF-8, whatever the encoding of this process's own output.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(search_path), "PYTHONIOENCODING": "utf-8"},
                start_new_session=True,  # without the terminal's Ctrl-C: teardown needs the emulator
            )
        except OSError as error:
            raise ResourceError(
                f"cannot start the emulator: {error.strerror or type(error).__name__}",
                hint=f"check that {sys.executable} can be executed, and the limit of processes (ulimit -u)",
            ) from error


class _EmulatorProcess(NamedTuple):
    """A running emulator that this process has started."""

    url: str
    process: asyncio.subprocess.Process
    stderr_file: IO[bytes]


@asynccontextmanager
async def _watched(emulator: _EmulatorProcess, account: "AwsAccount") -> AsyncIterator[None]:
    """Tell the account when its emulator ends during the block."""

    async def watch() -> None:
        await emulator.process.wait()
        account.end(_emulator_exited_error(emulator.process, emulator.stderr_file))

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _read_url(process: asyncio.subprocess.Process, stderr_file: IO[bytes]) -> str:
    """Return the first line of stdout: the URL, printed once the emulator accepts connections."""
    assert process.stdout is not None  # noqa: S101 - created as a pipe
    try:
        async with asyncio.timeout(_START_TIMEOUT):
            line = (await process.stdout.readline()).decode(errors="replace").strip()
            if not line:
                await process.wait()
    except TimeoutError as error:
        raise UnavailableError(
            f"the emulator printed no URL within {_START_TIMEOUT:g} s", details=_last_lines(stderr_file)
        ) from error
    if not line.startswith("http://"):
        raise (
            _emulator_exited_error(process, stderr_file)
            if not line
            else UnavailableError(f"the emulator printed {line[:80]!r} in place of its URL")
        )
    return line


async def _has_exited(process: asyncio.subprocess.Process) -> bool:
    """Return whether the emulator has ended, which is detected a little later than its effects."""
    try:
        async with asyncio.timeout(_EXIT_DETECTION_TIMEOUT):
            await process.wait()
    except TimeoutError:
        return False
    return True


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Terminate the emulator and wait until it has exited."""
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _emulator_exited_error(process: asyncio.subprocess.Process, stderr_file: IO[bytes]) -> UnavailableError:
    status, lines = process.returncode or 0, _last_lines(stderr_file)
    hint = "python -m loadgen emulate shows whether it starts" if status >= 0 else "run again"
    if -status == signal.SIGKILL:
        hint = "run again with more free memory: the kernel ends a process in this way when memory is short"
    last_words = f"; its last output: {lines[-1]}" if lines else ""
    return UnavailableError(f"the emulator {describe_exit(status)}{last_words}", hint=hint, details=lines)


def _last_lines(stderr_file: IO[bytes]) -> list[str]:
    stderr_file.seek(0)
    return stderr_file.read().decode(errors="replace").splitlines()[-_STDERR_LINES:]
