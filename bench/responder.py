"""Responder: a server that sends the same response to every request at once; used where nginx is not installed.

    python -m bench.responder [--cpu N] [--tls FILE]

prints its port and serves until standard input ends.
"""

import argparse
import asyncio
import os
import re
import ssl
import sys
from typing import cast

import uvloop

RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nx-Amzn-Invoked-Production-Variant: AllTraffic\r\n"
    b"x-amzn-RequestId: 5c3e5a7e-8c0b-4a53-9a5e-7f5f5d2d1b1a\r\nContent-Length: 18\r\n\r\n0.123456789012345\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


class _Responder(asyncio.Protocol):
    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        responses = 0
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(buffer, 0, end)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(buffer) < size:
                break
            buffer = buffer[size:]
            responses += 1
        self._buffer = buffer
        if responses and self._transport is not None:
            self._transport.write(RESPONSE * responses)


async def respond(context: ssl.SSLContext | None) -> None:
    """Listen on a free loopback port, print it, and respond until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Responder, "127.0.0.1", 0, ssl=context, backlog=8192)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.responder", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cpu", type=int, help="pin the process to this core")
    parser.add_argument("--tls", metavar="FILE", help="PEM file with key and certificate; HTTP if not given")
    given = parser.parse_args()
    if given.cpu is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {given.cpu})
    context = None
    if given.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(given.tls)
        context.set_alpn_protocols(["http/1.1"])  # h2load hangs if no protocol is negotiated
    uvloop.run(respond(context))


if __name__ == "__main__":
    main()
