"""BotocoreTransport against real servers on loopback, with the server's own count as the second opinion."""

import asyncio
import json

import pytest

from loadgen.aws.session import AwsConnectionConfig, open_clients
from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome, classify
from loadgen.transport.botocore import BotocoreTransport, TracedSession
from loadgen.workload.request import Request
from tests.support.botocore_calls import error_response, open_botocore_transport
from tests.support.scripted_server import (
    ConnectionAction,
    ResponseParts,
    http_response,
    ok_response,
    scripted_server,
    wait_until,
)

REFUSALS = [
    (400, "ThrottlingException", Outcome.THROTTLED),
    (429, "ModelNotReadyException", Outcome.NOT_READY),
    (500, "InternalFailure", Outcome.SERVER_5XX),
    (503, "ServiceUnavailable", Outcome.SERVER_5XX),
    (530, "InternalDependencyException", Outcome.SERVER_5XX),
    (400, "ValidationError", Outcome.VALIDATION_ERROR),
    (403, "AccessDeniedException", Outcome.AUTH),
    (418, "Teapot", Outcome.OTHER),
]


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_a_refused_request_is_sent_once_whatever_the_environment_asks(monkeypatch, mode):
    """Each refusal reaches the server exactly once, even where the environment asks for five attempts (C65, C68, C69)."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    monkeypatch.setenv("AWS_RETRY_MODE", mode)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")

    async def main() -> None:
        pending: list[bytes] = []
        async with scripted_server(lambda _: [pending[-1]]) as side:
            monkeypatch.setenv("AWS_ENDPOINT_URL", side.url)
            async with (
                open_clients(AwsConnectionConfig(region="us-east-1")) as clients,
                clients.runtime(connections=1, timeout=20.0, http_session=TracedSession) as client,
            ):
                transport = BotocoreTransport(client, "an-endpoint")
                for number, (status, code, outcome) in enumerate(REFUSALS, start=1):
                    pending.append(error_response(status, code))
                    reply = await transport.invoke(Request(b"x"))
                    assert (reply.status, reply.code, reply.message) == (status, code, "")
                    assert classify(reply) is outcome
                    assert len(side.requests) == number
                assert {heard.header("amz-sdk-request") for heard in side.requests} <= {"attempt=1", "attempt=1; max=1"}

    asyncio.run(main())


def test_twenty_calls_share_one_connection():
    """The body is read whole each time, so the connection goes on: the server counts one connection for 20 calls."""

    async def main() -> None:
        async with (
            scripted_server(lambda _: [ok_response(b"z" * 70_000)]) as side,
            open_botocore_transport(side.url) as transport,
        ):
            replies = [await transport.invoke(Request(b"x")) for _ in range(20)]
        assert side.connections == 1
        assert len(side.requests) == 20
        assert [reply.is_new_connection for reply in replies] == [True] + [False] * 19
        assert {len(reply.body) for reply in replies} == {reply.response_bytes for reply in replies} == {70_000}

    asyncio.run(main())


def test_refusals_keep_the_connection_too():
    """A refusal's body is read as well: 20 throttles go over one connection."""

    async def main() -> None:
        async with scripted_server(lambda _: [error_response(400, "ThrottlingException")]) as side:
            async with open_botocore_transport(side.url) as transport:
                for _ in range(20):
                    assert classify(await transport.invoke(Request(b"x"))) is Outcome.THROTTLED
            assert side.connections == 1

    asyncio.run(main())


def test_the_pool_is_as_large_as_the_requests_in_flight():
    """With 60 connections 60 requests are at the server at once: it answers none before it has them all."""

    async def main() -> None:
        async with (
            scripted_server(lambda _: [ConnectionAction.HANG]) as side,
            open_botocore_transport(side.url, connections=60) as transport,
        ):
            calls = [asyncio.create_task(transport.invoke(Request(b"x"))) for _ in range(60)]
            await wait_until(lambda: len(side.requests) == 60)
            for call in calls:
                call.cancel()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)

    asyncio.run(main())


def test_waiting_for_a_connection_is_not_service_time():
    """Two calls over one connection: the second's `sent` lies after the first's answer, its wait before it."""

    async def main() -> None:
        async with (
            scripted_server(lambda _: [ok_response()]) as side,
            open_botocore_transport(side.url, connections=1) as transport,
        ):
            await transport.invoke(Request(b"open it"))
            first, second = await asyncio.gather(transport.invoke(Request(b"a")), transport.invoke(Request(b"b")))
        assert [heard.body for heard in side.requests] == [b"open it", b"a", b"b"]
        assert second.sent >= side.requests[1].answered
        assert second.pool_wait > first.pool_wait >= 0.0
        assert second.sent - second.pool_wait <= first.done

    asyncio.run(main())


def test_instants_bracket_what_the_server_saw():
    """`sent` is before the server heard the request, `first_byte` and `done` after it began to answer, on one clock."""

    async def main() -> None:
        async with scripted_server(lambda _: [ok_response()]) as side, open_botocore_transport(side.url) as transport:
            for _ in range(5):
                reply = await transport.invoke(Request(b"x" * 100_000))
                heard = side.requests[-1]
                assert reply.sent <= heard.received <= heard.answered <= reply.first_byte <= reply.done

    asyncio.run(main())


def test_arguments_travel_as_headers_and_the_body_untouched():
    """What InvokeEndpoint takes arrives under the header that the service model names, the body byte for byte."""

    async def main() -> None:
        async with scripted_server(lambda _: [ok_response(b"", "x-amzn-RequestId: abc-1")]) as side:
            async with open_botocore_transport(side.url) as transport:
                reply = await transport.invoke(
                    Request(bytes(range(256)), content_type="image/png", custom_attributes="a=1", inference_id="i-7")
                )
            heard = side.requests[0]
        assert heard.head.startswith(b"POST /endpoints/an-endpoint/invocations HTTP/1.1\r\n")
        assert heard.body == bytes(range(256))
        assert heard.header("content-type") == "image/png"
        assert heard.header("x-amzn-sagemaker-custom-attributes") == "a=1"
        assert heard.header("x-amzn-sagemaker-inference-id") == "i-7"
        assert "/sagemaker/aws4_request" in heard.header("authorization")
        assert (reply.status, reply.response_bytes, reply.body, reply.request_id) == (200, 0, b"", "abc-1")

    asyncio.run(main())


def test_a_model_error_carries_the_containers_status():
    """ModelError's own fields come through: the container's status, and the message that identifies a lack of memory (C66, C67)."""
    body = json.dumps({"Message": "insufficient memory", "OriginalStatusCode": 507, "LogStreamArn": "arn:x"}).encode()

    async def main() -> None:
        async with (
            scripted_server(lambda _: [error_response(424, "ModelError", body)]) as side,
            open_botocore_transport(side.url) as transport,
        ):
            reply = await transport.invoke(Request(b"x"))
        assert (reply.status, reply.code, reply.original_status) == (424, "ModelError", 507)
        assert classify(reply) is Outcome.MODEL_OOM

    asyncio.run(main())


ODD_BODIES = [
    b"<html>Bad gateway</html>" * 1000,
    b"",
    b"\xff\xfe{",
    b'["a list"]',
    b'"text"',
    b"[" * 100_000,
    b'{"message": ["a list"], "code": 7, "__type": {}, "OriginalStatusCode": "x"}',
]


@pytest.mark.parametrize("body", ODD_BODIES, ids=range(len(ODD_BODIES)))
def test_an_error_of_any_form_is_a_reply(body):
    """HTML, nothing, broken bytes and odd JSON in an error are replies of the status' class, their text cut (C69)."""

    async def main() -> None:
        async with (
            scripted_server(lambda _: [http_response(502, body)]) as side,
            open_botocore_transport(side.url) as transport,
        ):
            reply = await transport.invoke(Request(b"x"))
            assert (classify(reply), reply.code) == (Outcome.SERVER_5XX, "502")
            assert len(reply.message) <= 1024

    asyncio.run(main())


def test_a_redirect_is_not_followed():
    """A 307 to another server is a reply; the other server receives no request and no signature (C91)."""

    async def main() -> None:
        async with scripted_server(lambda _: [ok_response()]) as other:
            to_other = http_response(307, b"", f"Location: {other.url}/endpoints/x/invocations")
            async with scripted_server(lambda _: [to_other]) as side, open_botocore_transport(side.url) as transport:
                reply = await transport.invoke(Request(b"x"))
            assert classify(reply) is Outcome.REDIRECT
            assert other.connections == 0

    asyncio.run(main())


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
FAILURES: dict[str, tuple[ResponseParts, Outcome]] = {
    "eof at once": ([ConnectionAction.CLOSE], Outcome.RESET),
    "reset at once": ([ConnectionAction.RESET], Outcome.RESET),
    "eof in the head": ([b"HTTP/1.1 200 OK\r\nContent-Le", ConnectionAction.CLOSE], Outcome.TRUNCATED),
    "eof in the body": ([SHORT, ConnectionAction.CLOSE], Outcome.TRUNCATED),
    "eof in a chunk": ([CHUNKED + b"10\r\nabc", ConnectionAction.CLOSE], Outcome.TRUNCATED),
    "eof in an error's body": (
        [b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n{", ConnectionAction.CLOSE],
        Outcome.TRUNCATED,
    ),
    "garbage": ([b"\x00\x01 no HTTP at all\r\n\r\n", ConnectionAction.CLOSE], Outcome.PROTOCOL),
    "bad chunk size": ([CHUNKED + b"zz\r\nabc\r\n", ConnectionAction.HANG], Outcome.PROTOCOL),
    "reset in the body": ([SHORT, ConnectionAction.RESET], Outcome.TRUNCATED),
    "silence": ([ConnectionAction.HANG], Outcome.TIMEOUT_TTFB),
    "silence in the body": ([SHORT, ConnectionAction.HANG], Outcome.TIMEOUT_BODY),
    "silence in an error's body": (
        [b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n{", ConnectionAction.HANG],
        Outcome.TIMEOUT_BODY,
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_broken_answer_has_its_own_outcome(case):
    """Each way a response can end early has its outcome; the detail contains no address or credential (C78, C79)."""
    parts, outcome = FAILURES[case]

    async def main() -> None:
        async with (
            scripted_server(lambda _: parts) as side,
            open_botocore_transport(side.url, timeout=0.3) as transport,
        ):
            with pytest.raises(TransportError) as caught:
                await transport.invoke(Request(b"x"))
        failure = caught.value
        assert failure.outcome is outcome, failure
        assert 0 < failure.sent <= failure.done
        assert len(side.requests) == 1
        assert str(side.port) not in failure.detail
        assert "emulator" not in failure.detail
        assert "Credential" not in failure.detail

    asyncio.run(main())


@pytest.mark.parametrize("act", [ConnectionAction.CLOSE, ConnectionAction.RESET])
def test_a_kept_connection_that_breaks_is_stale(act):
    """The same break on a connection that served before is the server's keep-alive running out, not a reset (C78)."""

    async def main() -> None:
        async with scripted_server(lambda heard: [act] if len(side.requests) > 1 else [ok_response()]) as side:
            async with open_botocore_transport(side.url) as transport:
                await transport.invoke(Request(b"x"))
                with pytest.raises(TransportError) as caught:
                    await transport.invoke(Request(b"x"))
            assert caught.value.outcome is Outcome.STALE_KEEPALIVE
            assert side.connections == 1

    asyncio.run(main())
