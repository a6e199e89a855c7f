"""Calls through the wire transport: headers, credentials, replies and error responses."""

import asyncio
import gc
import re
import threading
import uuid
from time import perf_counter

import pytest

from loadgen.errors import AuthError
from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome
from loadgen.transport.wire.sigv4 import Credentials
from loadgen.transport.wire.transport import CredentialsError
from loadgen.workload.request import Request
from tests.support.faulty_server import OK, FaultyServer, Peer, respond_once, serve_ok
from tests.support.wire import REQUEST, assert_usable, open_transport_to, run, wait_until  # noqa: F401 - run is a fixture


def test_what_is_prepared_for_a_request_goes_with_it(run):  # noqa: F811
    """Preparation keeps neither a Request nor its body alive, and is never used for another one at the same address."""

    async def main():
        async with open_transport_to(server, 1) as transport:
            for number in range(300):
                await transport.invoke(Request(b"%d" % number))
            gc.collect()
            assert [body for _, _, body in server.received] == [b"%d" % number for number in range(300)]
            assert transport._prepared == {}
            kept = Request(b"kept")
            await transport.invoke(kept)
            await transport.invoke(kept)
            assert [prepared.request_ref() for prepared in transport._prepared.values()] == [kept]

    with FaultyServer(serve_ok) as server:
        run(main)


def test_calls_are_numbered_and_never_repeat_a_name(run):  # noqa: F811
    """Each call's amz-sdk-invocation-id is a version 4 UUID that no other call has."""

    async def main():
        async with open_transport_to(server, 1) as transport:
            for _ in range(50):
                await transport.invoke(REQUEST)

    with FaultyServer(serve_ok) as server:
        run(main)
    names = [re.search(rb"\r\namz-sdk-invocation-id: (\S+)\r\n", head)[1].decode() for _, head, _ in server.received]
    assert len(set(names)) == 50
    assert {uuid.UUID(name).version for name in names} == {4}


def test_new_credentials_sign_from_the_next_call_on(run):  # noqa: F811
    """When the provider gives other keys they sign at once; without keys a call is auth, unsent; and it heals."""
    given = [Credentials("AKIDONE", "s"), Credentials("AKIDTWO", "s", "token"), None, Credentials("AKIDTHREE", "s")]

    async def provider():
        if given[0] is None:
            raise CredentialsError("the session has expired")
        return given[0]

    async def main():
        async with open_transport_to(server, 1, credentials=provider) as transport:
            await assert_usable(transport, server)
            given.pop(0)
            await transport.refresh_credentials()
            await assert_usable(transport, server)
            given.pop(0)
            await transport.refresh_credentials()
            with pytest.raises(TransportError) as caught:
                await transport.invoke(REQUEST)
            assert (caught.value.outcome, caught.value.detail) == (Outcome.AUTH, "the session has expired")
            given.pop(0)
            await transport.refresh_credentials()
            await assert_usable(transport, server)

    with FaultyServer(serve_ok) as server:
        run(main)
    heads = [head for _, head, _ in server.received]
    assert [re.search(rb"Credential=(\w+)/", head)[1] for head in heads] == [b"AKIDONE", b"AKIDTWO", b"AKIDTHREE"]
    assert [b"\r\nX-Amz-Security-Token: token\r\n" in head for head in heads] == [False, True, False]
    assert server.connections == 1


def test_without_credentials_nothing_is_opened(run):  # noqa: F811
    """A provider that has none makes opening an AuthError, before any connection."""

    async def provider():
        raise CredentialsError("not logged in")

    async def main():
        with pytest.raises(AuthError, match="not logged in"):
            async with open_transport_to(server, 1, credentials=provider):
                pass

    with FaultyServer(serve_ok) as server:
        run(main)
    assert server.connections == 0


def test_the_signature_follows_the_wall_clock(run):  # noqa: F811
    """Each second signs anew, a second is signed once, and a clock set back is followed (C103)."""
    clock = [1_800_000_000.2]

    async def main():
        async with open_transport_to(server, 1, wall_clock=lambda: clock[0]) as transport:
            for step in (0.5, 0.5, 1.0, -3600.0):
                await transport.invoke(REQUEST)
                clock[0] += step

    with FaultyServer(serve_ok) as server:
        run(main)
    dates = [re.search(rb"\r\nX-Amz-Date: (\S+)\r\n", head)[1] for _, head, _ in server.received]
    # 1,800,000,000 is 2027-01-15 08:00:00 UTC, by GNU date.
    assert dates == [b"20270115T080000Z", b"20270115T080000Z", b"20270115T080001Z", b"20270115T080002Z"]


def test_instants_are_in_order_and_of_this_clock(run):  # noqa: F811
    """sent, first_byte and done are perf_counter's, in order, within the call; a slow body shows between the last two."""
    may_go_on = threading.Event()

    def script(peer):
        peer.read_request()
        peer.send(OK[:-2])
        peer.wait(may_go_on)
        peer.send(OK[-2:])
        peer.serve()

    async def main():
        async with open_transport_to(server, 1) as transport:
            started = perf_counter()
            task = asyncio.create_task(transport.invoke(REQUEST))
            await wait_until(lambda: next(iter(transport._pool.connections)).first_byte)
            between = perf_counter()
            may_go_on.set()
            reply = await task
            assert started <= reply.sent <= reply.first_byte <= between <= reply.done <= perf_counter()

    with FaultyServer(script) as server:
        run(main)


ERRORS = {
    "throttled": (b"400", b"x-amzn-ErrorType: ThrottlingException", b'{"message":null}', "ThrottlingException", ""),
    "model error": (
        b"424",
        b"x-amzn-errortype: ModelError:http://x/",
        b'{"Message":"boom","OriginalStatusCode":500}',
        "ModelError",
        "boom",
    ),
    "code in the body": (b"400", b"X: y", b'{"code":"ns#ValidationError","message":"no"}', "ValidationError", "no"),
    "html": (b"502", b"X: y", b"<html>bad</html>", "502", "<html>bad</html>"),
    "empty": (b"500", b"X: y", b"", "500", ""),
    "a list": (b"503", b"X: y", b"[1]", "503", "[1]"),
    "not UTF-8": (b"500", b"X: y", b"\xff", "500", "\N{REPLACEMENT CHARACTER}"),
    "deep": (b"500", b"X: y", b"[" * 60_000, "500", "[" * 1024),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_answer_is_a_reply_with_its_code(run, name):  # noqa: F811
    """Code and message come out as botocore would read them, whatever the body; its size is kept (C65 to C71)."""
    status, header, body, code, message = ERRORS[name]
    answer = b"HTTP/1.1 %b X\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (status, header, len(body), body)

    async def main():
        async with open_transport_to(server, 1) as transport:
            reply = await transport.invoke(REQUEST)
            assert (reply.status, reply.code, reply.message, reply.response_bytes) == (
                int(status),
                code,
                message,
                len(body),
            )
            assert reply.original_status == (500 if name == "model error" else None)

    with FaultyServer(respond_once(answer, Peer.wait_until_closed)) as server:
        run(main)
