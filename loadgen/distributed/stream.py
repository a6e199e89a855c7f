"""Streams: messages as frames over pipes or a TCP connection, the connection to a worker, and the worker's end."""

import asyncio
import pickle
import struct
from collections.abc import AsyncIterator
from typing import Any

from loadgen.distributed.worker import Worker

_LENGTH_PREFIX = struct.Struct("<Q")


async def read_messages(reader: asyncio.StreamReader) -> AsyncIterator[Any]:
    """Yield messages until the stream ends; a truncated frame is ignored.

    Only for the stream of a process that we started, or of a peer that has sent the run's secret: frames are unpickled.
    """
    while True:
        try:
            (length,) = _LENGTH_PREFIX.unpack(await reader.readexactly(_LENGTH_PREFIX.size))
            content = await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        yield pickle.loads(content)  # noqa: S301 - see above


def encode_message(message: Any) -> bytes:
    """Return a message as one frame: 8 bytes of length, then the pickle.

    Raises:
        pickle.PicklingError, AttributeError, TypeError: the message holds a value that cannot be pickled.
    """
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH_PREFIX.pack(len(content)) + content


class StreamConnection:
    """A `WorkerConnection` over a stream.

    Args:
        name: identifies the worker.
        reader: receives from the worker.
        writer: sends to the worker.
        is_local: True when the worker runs on this machine.
    """

    duplicate_starts = 0

    def __init__(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_local: bool
    ) -> None:
        self.name = name
        self.shares_filesystem = is_local
        # perf_counter is CLOCK_MONOTONIC on Linux and mach_absolute_time on macOS: one for the whole machine.
        self.shares_clock = is_local
        self._reader = reader
        self._writer = writer

    def send(self, message: Any) -> None:
        """Send a message; one to a worker that is gone is dropped."""
        content = encode_message(message)
        if not self._writer.is_closing():
            self._writer.write(content)

    def messages(self) -> AsyncIterator[Any]:
        """Yield the worker's messages until it is gone."""
        return read_messages(self._reader)

    async def exit_reason(self) -> str:
        """Return why the worker is gone; over a network nothing more is known."""
        return "closed its connection"

    def abort(self) -> None:
        """Abort the connection; the worker exits when it detects that."""
        self._writer.transport.abort()


async def run_stream_worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Run a worker on a stream until the stream ends, or `Shutdown` is received."""
    worker = Worker(lambda message: writer.write(encode_message(message)))
    await worker.run(read_messages(reader))
