"""Stream: a link to a worker over a pair of byte streams, pipes or a TCP connection; and the worker's end of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from loadgen.distributed.protocol import framed, received
from loadgen.distributed.worker import Hand


class StreamLink:
    """The way to a worker at the other end of a stream. A `Link`.

    Args:
        name: which worker it is.
        reader, writer: the stream.
        is_local: True when the worker runs on this machine.
    """

    repeats = 0

    def __init__(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_local: bool
    ) -> None:
        self.name = name
        self.shares_disk = is_local
        # perf_counter is CLOCK_MONOTONIC on Linux and mach_absolute_time on macOS: one for the whole machine.
        self.shares_clock = is_local
        self._reader = reader
        self._writer = writer

    def send(self, message: Any) -> None:
        """Send a message; to a worker that is gone it is lost."""
        content = framed(message)
        if not self._writer.is_closing():
            self._writer.write(content)

    def messages(self) -> AsyncIterator[Any]:
        """Yield what the worker says, until it is gone."""
        return received(self._reader)

    async def fate(self) -> str:
        """Say why it is gone: over a network that is all there is to tell."""
        return "closed its connection"

    def cut(self) -> None:
        """Break the connection: the worker ends by itself when it notices."""
        self._writer.transport.abort()


async def serve_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be a worker at this end of a stream until it ends, or until it is dismissed."""
    hand = Hand(lambda message: writer.write(framed(message)))
    await hand.serve(received(reader))
