"""Emulated: loadgen's own emulator of the AWS APIs, in a process of its own, so that it steals none of our time."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO

from loadgen.emulator.settings import Settings
from loadgen.errors import UnavailableError, UsageError
from loadgen.event_loop import shielded
from loadgen.interfaces import Account, Target, Transport
from loadgen.targets.names import validate_resource_name
from loadgen.targets.standalone import open_transport
from loadgen.targets.transport_selection import resolve_transport
from loadgen.workload.serverless_config import ServerlessConfig

_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 5.0
_EXIT_DETECTION_TIMEOUT = 0.2
_STDERR_LINES = 10  # of what a dead emulator said


@dataclass(frozen=True, slots=True)
class Emulated:
    """Start an emulator on this machine's loopback, and deploy an emulated model in it. Free of cost and credentials.

    Args:
        profile: how the model behaves: `mobilenet-v2`, `xgboost`, `huggingface`, ...
        model: a model's name to rehearse under; None takes the profile's own.
        quotas: `documented`, or `ordinary` for what new accounts really have.
        seed: decides every random draw of the emulator.
        time_scale: deploys, deletes and cold starts take this many times less; service times never change.
        metric_lag: seconds before CloudWatch's emulation shows what happened.
        url: of an emulator that runs already, whose own settings then count; empty starts one.
        transport: `auto` or a transport's name.

    Raises:
        UsageError: a value that cannot be meant.

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

    def __post_init__(self) -> None:
        Settings(  # it refuses what the emulator would refuse
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

    @asynccontextmanager
    async def account(self, *, run_id: str) -> AsyncIterator[Account]:
        """Start the emulator, unless one is named, and reach it; stop it on the way out.

        Raises:
            UnavailableError: it did not start, or died; the details are what it said last.
        """
        async with self._running_emulator() as url, self._open_account(url, run_id) as account:
            yield account

    def _open_account(self, url: str, run_id: str) -> AbstractAsyncContextManager[Account]:
        # Scenario files build targets as they load; AWS is imported when it is used.
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
            prepare=partial(create_emulated_model, model=self.model, profile=self.profile) if self.model else None,
        )

    def open(
        self, config: ServerlessConfig, *, connections: int = 10, timeout: float = 300.0
    ) -> AbstractAsyncContextManager[Transport]:
        """Deploy one emulated endpoint and yield its transport, outside of a run."""
        return open_transport(self, config, connections=connections, timeout=timeout)

    def for_workers(self, account: Account, endpoint: str) -> Target:
        """Describe an endpoint of it for another process."""
        from loadgen.targets.existing import existing_endpoint

        return existing_endpoint(account, endpoint, transport=self.transport)

    def _detail(self) -> str:
        if self.url:
            return f"running at {self.url}"
        return f"profile {self.profile}, quotas {self.quotas}, seed {self.seed}, time x{self.time_scale:g}"

    @asynccontextmanager
    async def _running_emulator(self) -> AsyncIterator[str]:
        if self.url:
            yield self.url
            return
        with tempfile.TemporaryFile() as stderr_file:
            process = await self._start(stderr_file)
            try:
                import_module("loadgen.aws.account")  # a third of a second, well spent while the emulator starts
                yield await _read_url(process, stderr_file)
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
        # The same loadgen as ours, whatever lies in the working directory (-P).
        search_path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "loadgen", "emulate", *arguments, "--exit-with-stdin"),
            stdin=asyncio.subprocess.PIPE,  # it ends when this closes: with us, whatever becomes of us
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr_file,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(search_path)},
            start_new_session=True,  # Ctrl-C in the terminal is for us: it is needed until everything is torn down
        )


async def _read_url(process: asyncio.subprocess.Process, stderr_file: IO[bytes]) -> str:
    """Read the first line, which is the URL once the emulator accepts."""
    assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
    try:
        async with asyncio.timeout(_START_TIMEOUT):
            line = (await process.stdout.readline()).decode(errors="replace").strip()
            if not line:
                await process.wait()
    except TimeoutError as error:
        raise UnavailableError(
            f"the emulator said nothing for {_START_TIMEOUT:g} s", details=_last_lines(stderr_file)
        ) from error
    if not line.startswith("http://"):
        raise (
            _emulator_exited_error(process, stderr_file)
            if not line
            else UnavailableError(f"the emulator began with {line[:80]!r}")
        )
    return line


async def _has_exited(process: asyncio.subprocess.Process) -> bool:
    """Tell whether the emulator is what failed: its end is known a little later than what came of it."""
    try:
        async with asyncio.timeout(_EXIT_DETECTION_TIMEOUT):
            await process.wait()
    except TimeoutError:
        return False
    return True


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the emulator by its own id, and wait until it is gone."""
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _emulator_exited_error(process: asyncio.subprocess.Process, stderr_file: IO[bytes]) -> UnavailableError:
    return UnavailableError(
        f"the emulator ended with status {process.returncode}",
        hint="python -m loadgen emulate shows whether it starts",
        details=_last_lines(stderr_file),
    )


def _last_lines(stderr_file: IO[bytes]) -> list[str]:
    stderr_file.seek(0)
    return stderr_file.read().decode(errors="replace").splitlines()[-_STDERR_LINES:]
