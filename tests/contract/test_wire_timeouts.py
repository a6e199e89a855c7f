"""Deadlines and large bodies of the wire transport, cases C85 to C88; no test waits for a real deadline but one of 50 ms."""

import asyncio
import threading
from time import perf_counter

import pytest

from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome
from loadgen.transport.wire.timeouts import Timeouts
from loadgen.workload.request import Request
from tests.support.faulty_server import FaultyServer, respond_once, serve_ok
from tests.support.http_responses import CHUNKED
from tests.support.wire import PAST_ALL_DEADLINES, REQUEST, assert_usable, open_transport_to, run, wait_until  # noqa: F401 - run is a fixture

START = b"HTTP/1.1 200 OK\r\n"


async def overdue(transport, request, is_reached):
    """Start a call, let it reach a phase, then let the sweep believe that ages have passed; return the error."""
    task = asyncio.create_task(transport.invoke(request))
    await wait_until(
        lambda: is_reached(next(iter(transport._pool.connections))) if transport._pool.connections else False
    )
    transport.check_timeouts(perf_counter() + PAST_ALL_DEADLINES)
    with pytest.raises(TransportError) as caught:
        await task
    return caught.value


def test_silence_misses_the_first_byte_deadline(run):  # noqa: F811
    """A peer that accepts and never answers is timeout_ttfb, with the phase in the detail (C86)."""

    async def main():
        async with open_transport_to(server) as transport:
            error = await overdue(transport, REQUEST, lambda connection: connection.waiter is not None)
            assert (error.outcome, error.detail) == (Outcome.TIMEOUT_TTFB, "first byte: 300 s")
            await assert_usable(transport, server)

    with FaultyServer(respond_once(b""), serve_ok) as server:
        run(main)


def test_a_dripping_answer_misses_the_body_deadline(run):  # noqa: F811
    """One byte and then nothing is timeout_body (C85)."""

    async def main():
        async with open_transport_to(server) as transport:
            error = await overdue(transport, REQUEST, lambda connection: connection.first_byte)
            assert error.outcome is Outcome.TIMEOUT_BODY
            await assert_usable(transport, server)

    with FaultyServer(respond_once(b"H"), serve_ok) as server:
        run(main)


def test_a_peer_that_stops_reading_misses_the_write_deadline(run):  # noqa: F811
    """4 MB that the peer does not read are timeout_write (C87)."""
    large = Request(b"x" * 4 * 1024 * 1024)

    def script(peer):
        peer.read_head()
        peer.wait(threading.Event())

    async def main():
        async with open_transport_to(server) as transport:
            error = await overdue(transport, large, lambda connection: connection.waiter and not connection.flushed)
            assert error.outcome is Outcome.TIMEOUT_WRITE
            await assert_usable(transport, server)

    with FaultyServer(script, serve_ok, receive_buffer=4096) as server:
        run(main)


def test_the_total_deadline_ends_any_phase(run):  # noqa: F811
    """When no part is overdue by itself the total deadline still is, and names the phase (C85)."""

    async def main():
        ages = 10 * PAST_ALL_DEADLINES
        limits = Timeouts(first_byte=ages, body=ages, service=ages, total=5.0)
        async with open_transport_to(server, timeouts=limits) as transport:
            error = await overdue(transport, REQUEST, lambda connection: connection.first_byte)
            assert (error.outcome, error.detail) == (Outcome.TIMEOUT_TOTAL, "total: 5 s, in body")

    with FaultyServer(respond_once(b"H"), serve_ok) as server:
        run(main)


def test_deadlines_fire_by_themselves(run):  # noqa: F811
    """The transport's periodic check fails an overdue call."""

    async def main():
        async with open_transport_to(server, timeouts=Timeouts(first_byte=0.05)) as transport:
            with pytest.raises(TransportError) as caught:
                await transport.invoke(REQUEST)
            error = caught.value
            assert error.outcome is Outcome.TIMEOUT_TTFB
            assert 0.05 <= error.done - error.sent < 5

    with FaultyServer(respond_once(b"")) as server:
        run(main)


def test_a_large_body_arrives_whole(run):  # noqa: F811
    """4 MB go out under flow control, unchanged, and `sent` is before the upload."""
    large = Request(bytes(range(256)) * 16 * 1024)

    async def main():
        async with open_transport_to(server) as transport:
            for _ in range(2):
                reply = await transport.invoke(large)
                assert (reply.status, reply.body) == (200, b"hello")
                assert server.received[-1][2] == large.body
            assert server.connections == 1

    with FaultyServer(serve_ok, receive_buffer=4096) as server:
        run(main)


def test_an_early_refusal_of_a_large_body_is_a_reply(run):  # noqa: F811
    """A 413 that comes while we still send is that status; the half-used connection is closed (C86)."""
    large = Request(b"x" * 4 * 1024 * 1024)
    is_over = threading.Event()

    def script(peer):
        peer.read_head()
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        peer.wait(is_over)  # the rest is not read, so it cannot have been sent

    async def main():
        async with open_transport_to(server) as transport:
            reply = await transport.invoke(large)
            assert (reply.status, reply.code) == (413, "413")
            assert reply.sent <= reply.first_byte <= reply.done
            await assert_usable(transport, server)
            assert server.connections == 2

    with FaultyServer(script, serve_ok, receive_buffer=4096) as server:
        run(main)


@pytest.mark.parametrize("head", [START + b"\r\n", CHUNKED], ids=["until the end", "chunked"])
def test_an_endless_answer_is_oversize_at_the_cap(run, head):  # noqa: F811
    """A body without a length is given up at the cap, long before it is all read (C88)."""

    def script(peer):
        peer.read_request()
        peer.send(head)
        while True:
            peer.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")

    async def main():
        async with open_transport_to(server, body_limit=1024 * 1024) as transport:
            with pytest.raises(TransportError) as caught:
                await transport.invoke(REQUEST)
            assert caught.value.outcome is Outcome.OVERSIZE
            await assert_usable(transport, server)

    with FaultyServer(script, serve_ok) as server:
        run(main)
