"""NullTransport: replies without a network, to measure the load generator itself."""

import asyncio
import time

from loadgen.workload.request import Reply, Request


class NullTransport:
    """Reply 200 to every request after `latency` seconds.

    Example:
        >>> asyncio.run(NullTransport().invoke(Request(b"{}"))).status
        200
    """

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency

    async def invoke(self, request: Request) -> Reply:
        """Return a reply whose `response_bytes` is the size of the request body."""
        sent = time.perf_counter()
        await asyncio.sleep(self.latency)
        done = time.perf_counter()
        return Reply(200, sent, done, done, response_bytes=len(request.body))
