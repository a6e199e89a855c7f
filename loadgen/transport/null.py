"""The null transport: answers at once, or after a set time. It measures the generator itself."""

import asyncio
import time

from loadgen.workload.request import Reply, Request


class NullTransport:
    """Answers every request with 200 after `latency` seconds, without a network.

    Example:
        >>> asyncio.run(NullTransport().invoke(Request(b"{}"))).status
        200
    """

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency

    async def invoke(self, request: Request) -> Reply:
        """Answer with the size of what was sent."""
        sent = time.perf_counter()
        await asyncio.sleep(self.latency)
        done = time.perf_counter()
        return Reply(200, sent, done, done, response_bytes=len(request.body))
