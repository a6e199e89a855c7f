"""Responses of another server than AWS: a sign-in page, a proxy's page, a web server at the wrong URL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from botocore.parsers import ResponseParserError

from loadgen.aws import session
from loadgen.aws.cloudwatch import CloudWatchReader, Interval, MetricsWaitPolicy
from loadgen.aws.errors import ErrorKind, classify_error, to_loadgen_error
from loadgen.aws.existing_endpoint import open_existing
from loadgen.aws.http_session import ControlPlaneSession
from loadgen.aws.identity import connect
from loadgen.aws.response_check import UnrecognizedResponseError, check_response
from loadgen.aws.session import AwsConnectionConfig, open_clients
from loadgen.errors import AuthError, UnavailableError
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
    "a permanent redirect": http(308, "text/html", b"").replace(b"X\r\n", b"X\r\nLocation: http://elsewhere/\r\n", 1),
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


REDIRECTS = {
    "another path": (301, b"/login"),
    "another host": (302, b"http://sign-in.example/page?session=secret-canary"),
    "a user name": (307, b"https://user:secret-canary@sign-in.example/page#secret-canary"),
    "an invalid URL": (308, b"http://[secret-canary"),
    "no location": (303, b""),
}


@pytest.mark.parametrize(("status", "location"), REDIRECTS.values(), ids=REDIRECTS)
def test_a_redirect_of_the_control_plane_is_not_followed(status, location):
    """The error names the URL that redirects and where to, without query and user name; the target gets no request."""
    seen: list[bytes] = []

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        head = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n" % status
        writer.write(head + (b"Location: %b\r\n\r\n" % location if location else b"\r\n"))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        listening = await asyncio.start_server(reply, "127.0.0.1", 0)
        async with listening:
            url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            with pytest.raises(UnavailableError) as caught:
                async with connect(AwsConnectionConfig(emulator_url=url)):
                    raise AssertionError("connected")
        assert f"HTTP {status}: {url} redirects to " in caught.value.message
        assert "secret-canary" not in str(caught.value)
        assert len(seen) == 1

    asyncio.run(main())


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("kind", "body"), [("text/plain", b""), ("text/xml", b" \n")])
def test_a_denial_without_a_body_is_a_denial(status, kind, body):
    """HTTP 401 and 403 without a body end the start with status 77, and say what to check."""

    async def main() -> None:
        async with server(http(status, kind, body)) as config, connect(config):
            raise AssertionError("connected")

    with pytest.raises(AuthError, match=f"GetCallerIdentity: access denied without a reason .HTTP {status}") as caught:
        asyncio.run(main())
    assert "credentials" in caught.value.hint


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"<?xml version='1.0'?><Error><Code>PermanentRedirect</Code></Error>"),
        ({}, b"<Error><Code>TemporaryRedirect</Code></Error>"),
        ({"x-amz-bucket-region": "eu-west-1"}, b""),
    ],
)
def test_a_redirect_of_s3_to_another_region_is_left_to_the_sdk(headers, body):
    """The SDK's S3 client sends the request again to the bucket's region."""
    check_response("rest-xml", {"status_code": 301, "headers": headers, "body": body})


def test_a_control_call_whose_response_does_not_end_is_a_timeout(monkeypatch):
    """A response of one byte at a time ends after the limit of the call, whatever arrives."""
    monkeypatch.setattr(ControlPlaneSession, "call_timeout", 0.1)
    monkeypatch.setitem(session._MAX_ATTEMPTS, "sts", 1)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b"<")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    async def main() -> None:
        listening = await asyncio.start_server(drip, "127.0.0.1", 0)
        async with listening:
            url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            async with connect(AwsConnectionConfig(emulator_url=url)):
                raise AssertionError("connected")

    with pytest.raises(UnavailableError, match="GetCallerIdentity: "):
        asyncio.run(main())
