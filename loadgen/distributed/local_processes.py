"""Processes: the workers of a crew as processes of this machine, started by this one and never outliving it.

They speak over their standard input and output, write their own files of samples, and share this machine's clock. The
process that directs is the only one that a signal reaches.
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
from loadgen.workload.request import Request

_EXIT_TIMEOUT = 5.0  # seconds a dismissed worker is given to end by itself
_MAX_WORKERS = 512  # more workers than any one machine has cores


@dataclass(frozen=True, slots=True)
class ProcessExecutor:
    """So many processes of this machine, each with a loop and a core of its own.

    Args:
        workers: how many; as many as there are cores to spare, since the target may need some too.

    Raises:
        UsageError: a number that cannot be meant.

    Example:
        >>> ProcessExecutor(4).workers
        4
    """

    workers: int

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= _MAX_WORKERS:
            raise UsageError(f"{self.workers} workers", hint=f"1 to {_MAX_WORKERS}")

    @asynccontextmanager
    async def start(
        self, target: Target, requests: Sequence[Request], log: Callable[[str], None]
    ) -> AsyncIterator[WorkerPool]:
        """Start the processes, and end them on the way out.

        Raises:
            ConfigError: the target cannot be called by another process.
            ResourceError: the system refused a process, or one ended at once.
        """
        check_supports_workers(target)
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(start_process(n + 1)) for n in range(self.workers)]
            yield await stack.enter_async_context(open_coordinator(connections, requests, log))


class ProcessConnection(StreamConnection):
    """The way to a process that we started."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, stderr_file: IO[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 - they were asked for as pipes
        assert process.stdout is not None  # noqa: S101 - as above
        super().__init__(f"process {number} (pid {process.pid})", process.stdout, process.stdin, is_local=True)
        self.process = process
        self._stderr_file = stderr_file

    async def exit_reason(self) -> str:
        """Say how it ended."""
        status = await self.process.wait()
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        self._stderr_file.seek(0)
        last_line = self._stderr_file.read().decode(errors="replace").strip().rpartition("\n")[2]
        return f"ended with status {status}{f': {last_line[:200]}' if last_line else ''}"

    def abort(self) -> None:
        """Kill it, by its own id."""
        if self.process.returncode is None:
            self.process.kill()


@asynccontextmanager
async def start_process(number: int) -> AsyncIterator["ProcessConnection"]:
    """Start a worker, and end it on the way out.

    Raises:
        ResourceError: the system refused a process.
    """
    # The same loadgen as ours, whatever lies in the working directory (-P); and the places where the scenario file
    # found its own modules.
    search_path = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
    with tempfile.TemporaryFile() as stderr_file:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "loadgen", "_worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr_file,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(search_path))},
                start_new_session=True,  # Ctrl-C in the terminal is for us alone: we tell it when to stop
            )
        except OSError as error:
            raise ResourceError(f"cannot start process {number}: {error.strerror}", hint="use fewer workers") from error
        connection = ProcessConnection(number, process, stderr_file)
        try:
            yield connection
        finally:
            await shielded(_stop_process(process))


async def _stop_process(process: asyncio.subprocess.Process) -> None:
    """Close a worker's input, which tells it to end, and see that it does."""
    assert process.stdin is not None  # noqa: S101 - it was asked for as a pipe
    process.stdin.close()
    try:
        async with asyncio.timeout(_EXIT_TIMEOUT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def worker_main() -> int:
    """Be a worker: read orders from standard input, answer on standard output, end when the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A print in somebody's code must not end up between the messages.
    output_fd = os.dup(1)
    os.dup2(2, 1)
    with new_runner() as loop:
        loop.run(_run_on_stdio(output_fd))
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
