"""The fault catalogue, cases C78 to C92, against the wire transport: the right outcome, and the next call works."""

import gzip
import threading
from time import perf_counter

import pytest

from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome
from tests.support.faulty_server import OK, FaultyServer, Peer, respond_once, serve_ok
from tests.support.http_responses import BAD, CHUNKED
from tests.support.wire import REQUEST, assert_usable, open_transport_to, run, wait_until  # noqa: F401 - run is a fixture

START = b"HTTP/1.1 200 OK\r\n"


def resetting(data=b""):
    """A script: read a request, send these bytes, reset the connection."""
    return respond_once(data, Peer.reset)


def finishing(data=b""):
    """A script: read a request, send these bytes, end the stream."""
    return respond_once(data, Peer.finish)


# The first connection runs the script; what the first call ends as.
CASES = {
    "C78 reset on a fresh connection": (resetting(), Outcome.RESET),
    "C78 end on a fresh connection": (finishing(), Outcome.RESET),
    "C79 reset in the head": (resetting(START), Outcome.TRUNCATED),
    "C79 end in the head": (finishing(START), Outcome.TRUNCATED),
    "C79 reset in the body": (resetting(START + b"Content-Length: 9\r\n\r\nhalf"), Outcome.TRUNCATED),
    "C79 short Content-Length": (finishing(START + b"Content-Length: 9\r\n\r\nhalf"), Outcome.TRUNCATED),
    "C79 end in a chunk": (finishing(CHUNKED + b"9\r\nhalf"), Outcome.TRUNCATED),
    "C81 missing last chunk": (finishing(CHUNKED + b"4\r\nhalf\r\n"), Outcome.TRUNCATED),
    "C83 only 1xx": (finishing(b"HTTP/1.1 100 Continue\r\n\r\n"), Outcome.TRUNCATED),
    "C86 end at once": (finishing(), Outcome.RESET),
    "C88 an honest gigabyte": (respond_once(START + b"Content-Length: 1073741824\r\n\r\n"), Outcome.OVERSIZE),
}
CASES |= {name: (respond_once(data), Outcome.PROTOCOL) for name, data in BAD.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_has_its_outcome_and_costs_one_connection(run, name):  # noqa: F811
    """Each fault ends the call in its own class; the next call is answered on another connection."""
    script, outcome = CASES[name]

    async def main():
        async with open_transport_to(server) as transport:
            started = perf_counter()
            with pytest.raises(TransportError) as caught:
                await transport.invoke(REQUEST)
            error = caught.value
            assert (error.outcome, error.pool_wait) == (outcome, 0.0), error
            assert started <= error.sent <= error.done <= perf_counter()
            assert server.received[0][2] == REQUEST.body
            await assert_usable(transport, server)
            assert (server.connections, transport.opened_count, transport.desync_count) == (2, 2, 0)

    with FaultyServer(script, serve_ok) as server:
        run(main)


@pytest.mark.parametrize("end", [Peer.reset, Peer.finish], ids=["reset", "end"])
def test_a_used_connection_that_fails_unanswered_is_stale(run, end):  # noqa: F811
    """On a connection that has served before, a reset or an end before the first byte is stale_keepalive (C78)."""

    def script(peer):
        peer.read_request()
        peer.send(OK)
        peer.read_request()
        end(peer)

    async def main():
        async with open_transport_to(server) as transport:
            await assert_usable(transport, server)
            with pytest.raises(TransportError) as caught:
                await transport.invoke(REQUEST)
            assert caught.value.outcome is Outcome.STALE_KEEPALIVE
            await assert_usable(transport, server)

    with FaultyServer(script, serve_ok) as server:
        run(main)


SURPLUS = {
    "C80 a byte": (OK + b"X", 200, b"hello"),
    "C80 an empty line": (OK + b"\r\n", 200, b"hello"),
    "C80 a second answer": (OK + OK.replace(b"hello", b"WRONG"), 200, b"hello"),
    "C80 after a chunked body": (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + OK, 200, b"hello"),
    "C92 a 204 with a body": (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nWRONG", 204, b""),
    "C92 a 304 with a body": (b"HTTP/1.1 304 Not Modified\r\n\r\nWRONG", 304, b""),
}


@pytest.mark.parametrize("name", SURPLUS)
def test_surplus_bytes_never_reach_the_next_call(run, name):  # noqa: F811
    """The reply is returned, the connection is closed, and `desync_count` counts it (C80, C92)."""
    data, status, body = SURPLUS[name]

    async def main():
        async with open_transport_to(server) as transport:
            reply = await transport.invoke(REQUEST)
            assert (reply.status, reply.body) == (status, body)
            await assert_usable(transport, server)
            assert (transport.desync_count, server.connections) == (1, 2)

    with FaultyServer(respond_once(data), serve_ok) as server:
        run(main)


def test_late_surplus_is_read_before_the_connection_is_used_again(run):  # noqa: F811
    """A second answer that has arrived when the next call begins, but that the loop has not seen, is refused (C80)."""
    may_send, has_sent = threading.Event(), threading.Event()

    def script(peer):
        peer.read_request()
        peer.send(OK)
        peer.wait(may_send)
        peer.send(OK.replace(b"hello", b"WRONG"))
        has_sent.set()
        peer.wait_until_closed()

    async def main():
        async with open_transport_to(server) as transport:
            await assert_usable(transport, server)
            may_send.set()
            assert has_sent.wait(10)  # blocks the loop on purpose: it cannot look at the socket
            await assert_usable(transport, server)
            assert (transport.desync_count, server.connections) == (1, 2)

    with FaultyServer(script, serve_ok) as server:
        run(main)


def test_data_on_an_idle_connection_discards_it(run):  # noqa: F811
    """Bytes that come while no request is under way close the connection and are counted (C80)."""
    may_send = threading.Event()

    def script(peer):
        peer.wait(may_send)
        peer.send(OK)
        peer.wait_until_closed()

    async def main():
        async with open_transport_to(server) as transport:
            may_send.set()
            await wait_until(lambda: transport.desync_count)
            await assert_usable(transport, server)
            assert server.connections == 2

    with FaultyServer(script, serve_ok) as server:
        run(main)


CLOSING = {
    "C89 Connection: close": START + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
    "C89 HTTP/1.0 until the end": b"HTTP/1.0 200 OK\r\n\r\nhello",
    "C89 HTTP/1.0 with a length": b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("name", CLOSING)
def test_a_connection_that_is_to_close_is_not_used_again(run, name):  # noqa: F811
    """Three calls take three connections, and none of them fails (C89)."""

    async def main():
        async with open_transport_to(server) as transport:
            replies = [await transport.invoke(REQUEST) for _ in range(3)]
            assert [reply.body for reply in replies] == [b"hello"] * 3
            assert [reply.is_new_connection for reply in replies] == [False, True, True]
            assert all((reply.pool_wait > 0) is reply.is_new_connection for reply in replies)
            await wait_until(lambda: server.connections == 3)

    with FaultyServer(respond_once(CLOSING[name], Peer.finish)) as server:
        run(main)


def test_an_idle_connection_the_peer_closes_is_replaced_without_an_error(run):  # noqa: F811
    """A server that ends idle connections costs a new connection, not a failed call (C89)."""
    served = threading.Event()

    def script(peer):
        peer.read_request()
        peer.send(OK)
        peer.wait(served)
        peer.finish()

    async def main():
        async with open_transport_to(server) as transport:
            await assert_usable(transport, server)
            served.set()
            await wait_until(lambda: not transport._pool.connections)
            await assert_usable(transport, server)

    with FaultyServer(script, serve_ok) as server:
        run(main)


def test_an_idle_connection_is_retired_before_the_peer_ends_it(run):  # noqa: F811
    """With `Keep-Alive: timeout=3` a connection is given up after two idle seconds, not after the default (C89)."""
    answer = START + b"Keep-Alive: timeout=3\r\nContent-Length: 0\r\n\r\n"

    async def main():
        async with open_transport_to(server) as transport:
            reply = await transport.invoke(REQUEST)
            transport.check_timeouts(reply.done + 1.9)
            assert len(transport._pool.connections) == 1
            transport.check_timeouts(reply.done + 2.1)
            assert len(transport._pool.connections) == 0

    with FaultyServer(respond_once(answer)) as server:
        run(main)


def test_a_redirect_is_a_reply_and_is_not_followed(run):  # noqa: F811
    """The status comes back, and nothing is sent to where it points (C91)."""
    elsewhere = FaultyServer(serve_ok)

    async def main():
        async with open_transport_to(server) as transport:
            reply = await transport.invoke(REQUEST)
            assert (reply.status, reply.code) == (307, "307")

    with elsewhere:
        to = f"HTTP/1.1 307 Moved\r\nLocation: {elsewhere.url}/\r\nContent-Length: 0\r\n\r\n".encode()
        with FaultyServer(respond_once(to)) as server:
            run(main)
        assert elsewhere.connections == 0
        assert len(server.received) == 1


def test_an_unrequested_encoding_is_not_decoded(run):  # noqa: F811
    """A gzip bomb comes back as the bytes it is (C88)."""
    bomb = gzip.compress(bytes(10_000_000))
    answer = START + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb

    async def main():
        async with open_transport_to(server) as transport:
            assert (await transport.invoke(REQUEST)).body == bomb

    with FaultyServer(respond_once(answer)) as server:
        run(main)
