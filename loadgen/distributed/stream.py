"""Stream: a link to a worker over a pair of byte streams, pipes or a TCP connection; and the worker's end of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from loadgen.distributed.protocol import encode_message, read_messages
from loadgen.distributed.worker import Worker


class StreamConnection:
    """The way to a worker at the other end of a stream. A `WorkerConnection`.

    Args:
        name: which worker it is.
        reader, writer: the stream.
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
        """Send a message; to a worker that is gone it is lost."""
        content = encode_message(message)
        if not self._writer.is_closing():
            self._writer.write(content)

    def messages(self) -> AsyncIterator[Any]:
        """Yield what the worker says, until it is gone."""
        return read_messages(self._reader)

    async def exit_reason(self) -> str:
        """Say why it is gone: over a network that is all there is to tell."""
        return "closed its connection"

    def abort(self) -> None:
        """Break the connection: the worker ends by itself when it notices."""
        self._writer.transport.abort()


async def run_stream_worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be a worker at this end of a stream until it ends, or until it is dismissed."""
    hand = Worker(lambda message: writer.write(encode_message(message)))
    await hand.run(read_messages(reader))
