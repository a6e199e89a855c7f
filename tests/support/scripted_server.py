"""ScriptedServer: an HTTP server on loopback that replies by script and records the requests it receives.

A script answers each request with parts: bytes are written, CLOSE ends the connection orderly, RESET breaks it, HANG
sends nothing more until the test ends. Not an HTTP library: it reads a head and Content-Length bytes, no more.
"""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from ssl import SSLContext


class ConnectionAction(Enum):
    CLOSE = auto()
    RESET = auto()
    HANG = auto()


ResponseParts = Sequence[bytes | ConnectionAction]


@dataclass
class ReceivedRequest:
    """One request as it arrived."""

    head: bytes
    body: bytes
    connection: int
    received: float
    answered: float = 0.0

    def header(self, name: str) -> str:
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.strip().lower() == name.lower():
                return value.strip()
        return ""


@dataclass
class ScriptedServer:
    """What a server saw."""

    respond: Callable[[ReceivedRequest], ResponseParts]
    port: int = 0
    scheme: str = "http"
    connections: int = 0
    requests: list[ReceivedRequest] = field(default_factory=list)
    test_ended: asyncio.Event = field(default_factory=asyncio.Event)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        try:
            await self._serve(reader, writer, self.connections)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hung up, as some tests want
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            heard = ReceivedRequest(head, b"", connection, 0.0)
            heard.body = await reader.readexactly(int(heard.header("content-length") or 0))
            heard.received = time.perf_counter()
            self.requests.append(heard)
            heard.answered = time.perf_counter()
            for part in self.respond(heard):
                if isinstance(part, bytes):
                    writer.write(part)
                    await writer.drain()
                elif part is ConnectionAction.HANG:
                    await self.test_ended.wait()
                    return
                else:
                    if part is ConnectionAction.RESET:
                        linger = struct.pack("ii", 1, 0)  # closing then sends RST instead of FIN
                        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        writer.transport.abort()
                    return


@asynccontextmanager
async def scripted_server(
    respond: Callable[[ReceivedRequest], ResponseParts], *, tls: SSLContext | None = None
) -> AsyncIterator[ScriptedServer]:
    """Run a scripted server for as long as the context lasts."""
    side = ScriptedServer(respond)
    server = await asyncio.start_server(side.serve, "127.0.0.1", 0, ssl=tls)
    side.port = server.sockets[0].getsockname()[1]
    side.scheme = "https" if tls else "http"
    try:
        yield side
    finally:
        side.test_ended.set()
        server.close()
        for writer in list(side.writers):
            writer.transport.abort()
        await wait_until(lambda: not side.writers)
        await server.wait_closed()


def ok_response(body: bytes = b"fine", *headers: str) -> bytes:
    """Write a 200 with this body."""
    return http_response(200, body, *headers)


def http_response(status: int, body: bytes, *headers: str) -> bytes:
    """Write an answer of this status."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def wait_until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Give way to the loop until the condition holds; fail when it does not hold in time."""
    deadline = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < deadline, "what was waited for did not happen"
        await asyncio.sleep(0)
