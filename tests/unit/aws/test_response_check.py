"""Responses of another server than AWS: a sign-in page, a proxy's page, a web server at the wrong URL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from botocore.parsers import ResponseParserError

from loadgen.aws.cloudwatch import CloudWatchReader, Interval, MetricsWaitPolicy
from loadgen.aws.errors import ErrorKind, classify_error, to_loadgen_error
from loadgen.aws.existing_endpoint import open_existing
from loadgen.aws.identity import connect
from loadgen.aws.response_check import UnrecognizedResponseError, check_response
from loadgen.aws.session import AwsConnectionConfig, open_clients
from loadgen.errors import UnavailableError
from loadgen.measurement.cloudwatch_metrics import UNITS

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in<br></body></html>"
CALLER = (
    b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    b"<Arn>arn:aws:iam::111122223333:user/dana</Arn><UserId>A</UserId><Account>111122223333</Account>"
    b"</GetCallerIdentityResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
)


def http(status: int, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return f"{head}\r\n".encode() + body


@asynccontextmanager
async def server(answer: bytes, caller: bytes = b"") -> AsyncIterator[AwsConnectionConfig]:
    """Give one answer to each request; another one to GetCallerIdentity where `caller` is given."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        body = await reader.readexactly(length)
        writer.write(caller if caller and b"GetCallerIdentity" in body else answer)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(reply, "127.0.0.1", 0)
    async with listening:
        yield AwsConnectionConfig(emulator_url=f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")


PAGES = {
    "a sign-in page in place of an error": http(403, "text/html", PAGE),
    "a sign-in page as a success": http(200, "text/html; charset=utf-8", b"\n " + PAGE),
    "a page as a redirect": http(302, "text/html", PAGE),
    "an empty redirect": http(302, "text/plain", b""),
    "plain text": http(200, "text/plain", b"It works!"),
    "JSON where XML is due": http(200, "application/json", b'{"ok": true}'),
    "an empty 404": http(404, "text/plain", b""),
    "cut XML": http(200, "text/xml", CALLER[:80]),
}


@pytest.mark.parametrize("answer", PAGES.values(), ids=PAGES)
def test_a_page_in_place_of_sts_is_unavailable(answer):
    """A response that is not AWS's ends the start with status 69; it names proxy and URL, and shows no content."""

    async def main() -> None:
        async with server(answer) as config, connect(config):
            raise AssertionError("connected")

    with pytest.raises(UnavailableError) as caught:
        asyncio.run(main())
    assert caught.value.message.startswith("GetCallerIdentity: the response is not from AWS (")
    assert "AWS_ENDPOINT_URL" in caught.value.hint
    assert "sign in" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a sign-in page as a success", "plain text", "a page as a redirect"])
def test_a_page_in_place_of_the_control_plane_is_unavailable(name):
    """The JSON parser accepts any text, so a page in place of DescribeEndpoint is found before it is parsed."""

    async def main() -> None:
        async with (
            server(PAGES[name], caller=http(200, "text/xml", CALLER)) as config,
            open_existing(config, endpoint="e", transport_factory=None) as account,
        ):
            await account.check([None])

    with pytest.raises(UnavailableError, match="DescribeEndpoint e: the response is not from AWS"):
        asyncio.run(main())


@pytest.mark.parametrize("answer", PAGES.values(), ids=PAGES)
def test_metrics_from_a_page_are_missing_with_the_reason(answer):
    """A stand-in without CloudWatch costs the metrics alone: each one has the reason."""

    async def main() -> None:
        async with server(answer) as config, open_clients(config) as clients:
            reader = CloudWatchReader(clients.cloudwatch, "e", Interval.from_times(0.0, 60.0), now=lambda: 90.0)
            read = await reader.read(end=60.0, invocations=1, wait_policy=MetricsWaitPolicy())
            assert set(read.unavailable) == set(UNITS)
            assert all("the response is not from AWS" in reason for reason in read.unavailable.values())

    asyncio.run(main())


@pytest.mark.parametrize(
    ("protocol", "status", "body"),
    [
        ("json", 200, b""),
        ("json", 200, b' {"a": 1}'),
        ("json", 400, b"plain"),
        ("json", 503, PAGE),
        ("query", 200, b"\n<?xml version='1.0'?><a/>"),
        ("query", 502, b""),
        ("rest-xml", 204, b""),
        ("rest-xml", 200, object()),
        ("smithy-rpc-v2-cbor", 200, b"\xbf\xff"),
    ],
)
def test_what_aws_can_send_passes(protocol, status, body):
    """Responses of the protocols, failures of a load balancer and streamed bodies are left to botocore."""
    check_response(protocol, {"status_code": status, "headers": {}, "body": body})


def test_a_create_without_an_aws_response_is_checked_again():
    """A page does not tell whether the request had its effect, so a Create is looked up; the page is not shown."""
    parser_error = ResponseParserError(
        "Unable to parse response (mismatched tag: line 1, column 101), invalid XML received. "
        "Further retries may succeed:\nb'<html>secret</html>'"
    )
    for error in (parser_error, UnrecognizedResponseError(status=200, content_type="text/html", length=9)):
        assert classify_error(error) is ErrorKind.AMBIGUOUS
        explained = to_loadgen_error(error, "CreateEndpoint e", now=0.0)
        assert type(explained) is UnavailableError
        assert "secret" not in str(explained)
