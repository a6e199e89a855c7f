"""Responses that never end, by both transports to AWS: the timeout limits the whole call, from `sent` to `done`."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome
from loadgen.targets.existing import Existing
from loadgen.workload.request import Request
from tests.support.faulty_server import FaultyServer

TIMEOUT = 0.4  # seconds; the dripping server sends a part every 20 ms, so that no pause comes near it
PART_INTERVAL = 0.02
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n"
CALLER = (
    b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    b"<Arn>arn:aws:iam::111122223333:user/dana</Arn><UserId>A</UserId><Account>111122223333</Account>"
    b"</GetCallerIdentityResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
)
ENDPOINT = b'{"EndpointName":"e","EndpointArn":"arn:aws:sagemaker:us-east-1:1:endpoint/e","EndpointStatus":"InService"}'

# Name -> (what is sent first, what is sent again and again).
ENDLESS = {
    "a body of one byte at a time": (HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
    "a body until the connection ends": (HEAD + b"\r\n", b"x"),
    "chunks without end": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a chunk of which one byte arrives at a time": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n", b"x"),
    "headers without end": (HEAD, b"x-a: b\r\n"),
    "a header of one byte at a time": (HEAD + b"x-a: ", b"b"),
    "an error whose body never ends": (b"HTTP/1.1 500 X\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "one interim response, then silence": (b"HTTP/1.1 100 Continue\r\n\r\n", b""),
    "interim responses without end": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a status line of one byte at a time": (b"HTTP/1.1 200 ", b"O"),
}


def http(body: bytes, kind: bytes) -> bytes:
    return b"HTTP/1.1 200 X\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(body), body)


def endless_server(first: bytes, repeated: bytes) -> FaultyServer:
    """Answer the SDK's control calls as AWS, and InvokeEndpoint with a response that never ends."""

    def script(peer):
        while True:
            head, body = peer.read_request()
            if b"GetCallerIdentity" in body:
                peer.send(http(CALLER, b"text/xml"))
            elif b"DescribeEndpoint" in head:
                peer.send(http(ENDPOINT, b"application/x-amz-json-1.1"))
            else:
                break
        peer.send(first)
        while not peer.server.is_closed:
            peer.send(repeated)
            time.sleep(PART_INTERVAL)

    return FaultyServer(script)


@asynccontextmanager
async def transport_to(server, monkeypatch, transport):
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "example",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    async with Existing("e", transport=transport).open(connections=1, timeout=TIMEOUT) as opened:
        yield opened


@pytest.mark.parametrize("transport", ["wire", "botocore"])
@pytest.mark.parametrize(("first", "repeated"), ENDLESS.values(), ids=ENDLESS)
def test_a_response_that_never_ends_is_a_timeout(monkeypatch, transport, first, repeated):
    """The call ends after its timeout although bytes keep arriving, and is a timeout, or a refused flood of interim
    responses; it is never ok."""

    async def main():
        async with transport_to(server, monkeypatch, transport) as opened:
            with pytest.raises(TransportError) as caught:
                await opened.invoke(Request(b"1"))
        error = caught.value
        if error.outcome is Outcome.PROTOCOL:  # the wire transport refuses the seventeenth
            assert "interim" in error.detail
        else:
            assert error.outcome in (Outcome.TIMEOUT_TTFB, Outcome.TIMEOUT_BODY)
            assert "0.4 s" in error.detail or transport == "botocore"
            assert error.done - error.sent >= TIMEOUT * 0.9
        assert error.done - error.sent < 10 * TIMEOUT

    with endless_server(first, repeated) as server:
        asyncio.run(main())


@pytest.mark.parametrize("transport", ["wire", "botocore"])
def test_a_slow_response_within_the_timeout_is_ok(monkeypatch, transport):
    """A response that arrives in parts within the timeout is read whole."""
    parts = 5

    def script(peer):
        while True:
            head, body = peer.read_request()
            if b"GetCallerIdentity" in body:
                peer.send(http(CALLER, b"text/xml"))
            elif b"DescribeEndpoint" in head:
                peer.send(http(ENDPOINT, b"application/x-amz-json-1.1"))
            else:
                peer.send(HEAD + b"Content-Length: %d\r\n\r\n" % parts)
                for _ in range(parts):
                    peer.send(b"x")
                    time.sleep(0.001)

    async def main():
        async with transport_to(server, monkeypatch, transport) as opened:
            reply = await opened.invoke(Request(b"1"))
        assert (reply.status, reply.body) == (200, b"x" * parts)

    with FaultyServer(script) as server:
        asyncio.run(main())
