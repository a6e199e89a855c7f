"""loadgen as a client of the oracle: open its transports, and join each reply with the oracle's stamps."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np
import uvloop
from numpy.typing import NDArray

from loadgen.aws.session import AwsConnectionConfig, open_clients
from loadgen.execution.gc_freeze import gc_frozen
from loadgen.interfaces import Transport
from loadgen.transport.botocore import BotocoreTransport, TracedSession
from loadgen.transport.wire.sigv4 import Credentials
from loadgen.transport.wire.transport import WireSettings, open_wire
from loadgen.workload.request import Reply, Request
from tests.support.oracle import stamps

REQUESTS = [Request(b"{}", content_type="application/json")]
TRANSPORTS = ("wire", "botocore")
_T = TypeVar("_T")


def run_on_uvloop(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on uvloop, as the command line does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _credentials() -> Credentials:
    return Credentials("bench", "bench")


@asynccontextmanager
async def open_loadgen_transport(name: str, url: str, *, connections: int) -> AsyncIterator[Transport]:
    """Open a transport of TRANSPORTS."""
    if name == "wire":
        settings = WireSettings(url, "us-east-1", _credentials)
        async with open_wire(settings, "oracle", connections=connections) as wire:
            with gc_frozen():  # as an executor does
                yield wire
        return
    async with (
        open_clients(AwsConnectionConfig(emulator_url=url)) as clients,
        clients.runtime(connections=connections, timeout=60.0, http_session=TracedSession) as client,
    ):
        with gc_frozen():
            yield BotocoreTransport(client, "oracle")


class OverheadTransport:
    """A transport that records for each reply what the client added to the oracle's residence time."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._replies: list[tuple[float, float, bytes]] = []

    async def invoke(self, request: Request) -> Reply:
        """Send through the inner transport."""
        reply = await self._inner.invoke(request)
        self._replies.append((reply.sent, reply.done, reply.body))
        return reply

    def overhead(self) -> NDArray[np.float64]:
        """Return client latency minus residence for each reply, seconds, shape (n,)."""
        return np.array([done - sent - _residence_time(body) for sent, done, body in self._replies])


def _residence_time(body: bytes) -> float:
    received, sent = stamps(body)
    return sent - received
