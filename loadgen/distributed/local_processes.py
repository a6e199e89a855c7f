"""Local processes as workers: child processes of the coordinator, which exit when it does.

The messages travel over the worker's standard input and output. Workers write their own sample files and share the
machine's clock. Only the coordinator receives the terminal's signals.
"""

import asyncio
import os
import pickle
import signal
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from loadgen.distributed.coordinator import open_coordinator
from loadgen.distributed.worker import Worker
from loadgen.distributed.worker_handle import check_supports_workers
from loadgen.errors import ResourceError, UsageError
from loadgen.event_loop import new_runner, shielded
from loadgen.execution.executor import WorkerPool
from loadgen.interfaces import Target
from loadgen.process_exit import describe_exit
from loadgen.workload.request import Request

_EXIT_TIMEOUT = 5.0  # seconds for a worker to exit after its input was closed
_MAX_WORKERS = 512  # more than any machine has cores
_LENGTH_PREFIX = struct.Struct("<Q")  # of a frame, which is one pickled message


@dataclass(frozen=True, slots=True)
class ProcessExecutor:
    """Sends requests from several processes of this machine, each with its own event loop.

    Args:
        workers: number of processes; at most one for each free core.

    Raises:
        UsageError: `workers` is out of range.

    Example:
        >>> ProcessExecutor(4).workers
        4
    """

    workers: int

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= _MAX_WORKERS:
            raise UsageError(f"workers must be 1 to {_MAX_WORKERS}, got {self.workers}")

    @asynccontextmanager
    async def start(
        self, target: Target, requests: Sequence[Request], log: Callable[[str], None]
    ) -> AsyncIterator[WorkerPool]:
        """Start the processes, and stop them when the context exits.

        Raises:
            ConfigError: the target does not support workers.
            ResourceError: a process could not be started, or ended at once.
        """
        check_supports_workers(target)
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(start_process(n + 1)) for n in range(self.workers)]
            yield await stack.enter_async_context(open_coordinator(connections, requests, log))


def free_cores() -> int:
    """Return the cores that this process may use, less one for the coordinator and the target; at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


class ProcessConnection:
    """A `WorkerConnection` to a child process."""

    shares_filesystem = True
    shares_clock = True  # perf_counter is CLOCK_MONOTONIC on Linux and mach_absolute_time on macOS: one for a machine
    duplicate_starts = 0

    def __init__(self, number: int, process: asyncio.subprocess.Process, stderr_file: IO[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 - created with pipes
        assert process.stdout is not None  # noqa: S101 - as above
        self.name = f"process {number} (pid {process.pid})"
        self.process = process
        self._reader, self._writer = process.stdout, process.stdin
        self._stderr_file = stderr_file

    def send(self, message: Any) -> None:
        """Send a message; one to a process that is gone is dropped.

        Raises:
            pickle.PicklingError, AttributeError, TypeError: the message holds a value that cannot be pickled.
        """
        self.send_frame(pickle.dumps(message))

    def send_frame(self, content: bytes) -> None:
        """Send a pickled message; one to a process that is gone is dropped."""
        if not self._writer.is_closing():
            _write_frame(self._writer, content)

    async def messages(self) -> AsyncIterator[Any]:
        """Yield the process's messages until it is gone."""
        async for content in self.frames():
            yield pickle.loads(content)  # noqa: S301 - of a process that we started

    def frames(self) -> AsyncIterator[bytes]:
        """Yield the process's messages as they were pickled, until it is gone."""
        return _read_frames(self._reader)

    async def exit_reason(self) -> str:
        """Return how the process ended, with the last line of its stderr."""
        status = await self.process.wait()
        if status < 0:
            return describe_exit(status)
        self._stderr_file.seek(0)
        last_line = self._stderr_file.read().decode(errors="replace").strip().rpartition("\n")[2]
        return f"{describe_exit(status)}{f': {last_line[:200]}' if last_line else ''}"

    def abort(self) -> None:
        """Kill the process."""
        if self.process.returncode is None:
            self.process.kill()


@asynccontextmanager
async def start_process(number: int) -> AsyncIterator["ProcessConnection"]:
    """Start a worker, and stop it when the context exits.

    Raises:
        ResourceError: the process could not be started.
    """
    # The worker imports the same loadgen, whatever the working directory contains (-P), and the modules that the
    # scenario file imports.
    search_path = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
    with tempfile.TemporaryFile() as stderr_file:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "loadgen", "_worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr_file,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(search_path))},
                start_new_session=True,  # the terminal's Ctrl-C reaches the coordinator only, which sends Stop
            )
        except OSError as error:
            raise ResourceError(
                f"cannot start worker process {number}: {error.strerror or type(error).__name__}",
                hint=f"use fewer workers, or check that {sys.executable} can be executed",
            ) from error
        connection = ProcessConnection(number, process, stderr_file)
        try:
            yield connection
        finally:
            await shielded(_stop_process(process))


async def _stop_process(process: asyncio.subprocess.Process) -> None:
    """Close a worker's input, upon which it exits, and kill it when it does not exit in time."""
    assert process.stdin is not None  # noqa: S101 - created with a pipe
    process.stdin.close()
    try:
        async with asyncio.timeout(_EXIT_TIMEOUT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def worker_main() -> int:
    """Run a worker on standard input and output until the input ends; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A print in the user's code goes to stderr, not between the messages.
    output_fd = os.dup(1)
    os.dup2(2, 1)
    with new_runner() as runner:
        runner.run(_run_on_stdio(output_fd))
    return 0


async def _run_on_stdio(output_fd: int) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(0), "rb", 0))
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(output_fd, "wb", 0))
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    try:
        worker = Worker(lambda message: _write_frame(writer, pickle.dumps(message)))
        await worker.run(pickle.loads(content) async for content in _read_frames(reader))  # noqa: S301 - the parent's
    finally:
        writer.close()


async def _read_frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield frames until the stream ends; a truncated one is ignored."""
    while True:
        try:
            (length,) = _LENGTH_PREFIX.unpack(await reader.readexactly(_LENGTH_PREFIX.size))
            content = await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        yield content


def _write_frame(writer: asyncio.StreamWriter, content: bytes) -> None:
    writer.write(_LENGTH_PREFIX.pack(len(content)) + content)
