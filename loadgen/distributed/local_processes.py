"""Local processes as workers: child processes of the coordinator, which exit when it does.

The messages travel over the worker's standard input and output. Workers write their own sample files and share the
machine's clock. Only the coordinator receives the terminal's signals.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from loadgen.distributed.coordinator import open_coordinator
from loadgen.distributed.stream import StreamConnection, run_stream_worker
from loadgen.distributed.worker_handle import check_supports_workers
from loadgen.errors import ResourceError, UsageError
from loadgen.event_loop import new_runner, shielded
from loadgen.execution.executor import WorkerPool
from loadgen.interfaces import Target
from loadgen.process_exit import describe_exit
from loadgen.workload.request import Request

_EXIT_TIMEOUT = 5.0  # seconds for a worker to exit after its input was closed
_MAX_WORKERS = 512  # more than any machine has cores


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


class ProcessConnection(StreamConnection):
    """A `WorkerConnection` to a child process."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, stderr_file: IO[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 - created with pipes
        assert process.stdout is not None  # noqa: S101 - as above
        super().__init__(f"process {number} (pid {process.pid})", process.stdout, process.stdin, is_local=True)
        self.process = process
        self._stderr_file = stderr_file

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
                f"cannot start worker process {number}: {error.strerror}", hint="use fewer workers"
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
        await run_stream_worker(reader, writer)
    finally:
        writer.close()
