"""The pool under the wire transport: who gets which connection, cancellation at every await, and how it ends."""

import asyncio
import errno
import random
import termios
import threading

import pytest

from loadgen.engine import engine
from loadgen.errors import UsageError
from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome
from loadgen.transport.wire import connection, connector
from loadgen.transport.wire.timeouts import Timeouts
from loadgen.transport.wire.tls import make_context
from loadgen.workload.arrivals import even
from loadgen.workload.load import OpenLoop
from loadgen.workload.rate import constant
from loadgen.workload.request import Request
from tests.support.certificates import root_file, server_context
from tests.support.faulty_server import OK, FaultyServer, respond_once, serve_ok
from tests.support.wire import (  # noqa: F401 - run is a fixture
    PAST_ALL_DEADLINES,
    REQUEST,
    assert_usable,
    open_transport_to,
    run,
    static_credentials,
    wait_until,
)


def test_connections_are_open_before_the_first_call(run):  # noqa: F811
    """Ten are opened on entering, as many as a load asks for before it; calls then neither wait nor open any."""

    async def main():
        async with open_transport_to(server, 100) as transport:
            assert transport.opened_count == 10
            for count, opened in ((5, 10), (60, 60), (1000, 100)):
                await transport.open_connections(count)
                assert transport.opened_count == opened
            replies = await asyncio.gather(*[transport.invoke(REQUEST) for _ in range(100)])
            assert {(reply.pool_wait, reply.is_new_connection) for reply in replies} == {(0.0, False)}
            assert transport.opened_count == server.connections == 100
            assert repr(transport).endswith("<Pool 100 open, 100 idle, 0 opening, 0 waiting, limit 100>>")

    with FaultyServer(serve_ok) as server:
        run(main)


def test_a_server_that_accepts_few_connections_is_measured_with_those(run, monkeypatch):  # noqa: F811
    """When the server refuses more, the load begins with the open connections; a call without one records the refusal."""

    def refuse(*_):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    async def main():
        async with open_transport_to(server, 100) as transport:
            with monkeypatch.context() as patch:
                patch.setattr(connector, "_new_socket", refuse)
                await transport.open_connections(100)
                assert transport.opened_count == 10
                replies = await asyncio.gather(*[transport.invoke(REQUEST) for _ in range(12)], return_exceptions=True)
            outcomes = [reply.outcome for reply in replies if isinstance(reply, TransportError)]
            assert outcomes == [Outcome.CONNECT_REFUSED] * 2
            await assert_usable(transport, server)

    with FaultyServer(serve_ok) as server:
        run(main)


def test_an_open_loop_opens_what_its_schedule_needs(run):  # noqa: F811
    """The engine opens a connection for each arrival of the busiest second before an open loop, not `max_in_flight`."""

    async def main():
        async with open_transport_to(server, 1000) as transport:
            finished = await engine.run(OpenLoop(even(constant(40)), duration=0.5), transport, [REQUEST])
            assert finished.tally.counts == {Outcome.OK: 20}
            assert finished.generator_stats.connections_opened == 0
            assert transport.opened_count == server.connections == 40

    with FaultyServer(serve_ok) as server:
        run(main)


def test_more_calls_than_connections_wait_in_line(run):  # noqa: F811
    """With two connections ten calls are answered in their order, and the wait is not service time."""
    may_answer = threading.Event()

    def script(peer):
        peer.read_request()
        peer.wait(may_answer)
        peer.send(OK)
        peer.serve()

    async def main():
        async with open_transport_to(server, 2) as transport:
            tasks = [asyncio.create_task(transport.invoke(Request(b"%d" % n))) for n in range(10)]
            await wait_until(lambda: len(transport._pool.waiters) == 8)
            may_answer.set()
            replies = await asyncio.gather(*tasks)
            assert [reply.pool_wait > 0 for reply in replies] == [False] * 2 + [True] * 8
            order = [int(body) for _, _, body in server.received]
            assert sorted(order) == list(range(10))
            assert transport.opened_count == 2

    with FaultyServer(script) as server:
        run(main)


def test_waiting_too_long_for_a_connection_is_a_timeout(run):  # noqa: F811
    """A call that never gets a connection ends as timeout_total, never sent, all its time spent waiting."""

    async def main():
        limits = Timeouts(first_byte=PAST_ALL_DEADLINES, body=PAST_ALL_DEADLINES, total=0.05)
        async with open_transport_to(server, 1, timeouts=limits) as transport:
            transport._timer.cancel()  # so that the first call keeps its connection
            first = asyncio.create_task(transport.invoke(REQUEST))
            await wait_until(lambda: server.received)
            with pytest.raises(TransportError) as caught:
                await transport.invoke(REQUEST)
            error = caught.value
            assert (error.outcome, error.sent) == (Outcome.TIMEOUT_TOTAL, error.done)
            assert error.pool_wait >= 0.05
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)

    with FaultyServer(respond_once(b"")) as server:
        run(main)


def test_one_waits_while_another_connection_dies(run):  # noqa: F811
    """When the only connection dies, the next in line opens another and is answered."""
    may_die = threading.Event()

    def script(peer):
        peer.read_request()
        peer.wait(may_die)
        peer.reset()

    async def main():
        async with open_transport_to(server, 1) as transport:
            first = asyncio.create_task(transport.invoke(REQUEST))
            await wait_until(lambda: server.received)
            others = [asyncio.create_task(transport.invoke(REQUEST)) for _ in range(3)]
            await wait_until(lambda: len(transport._pool.waiters) == 3)
            may_die.set()
            results = await asyncio.gather(first, *others, return_exceptions=True)
            assert results[0].outcome is Outcome.RESET
            assert [(reply.status, reply.is_new_connection) for reply in results[1:]] == [
                (200, True),
                (200, False),
                (200, False),
            ]

    with FaultyServer(script, serve_ok) as server:
        run(main)


SITUATIONS = ("free", "opening", "in line")


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_call_can_be_cancelled_at_every_await(run, tmp_path, situation, scheme):  # noqa: F811
    """Cancelled after every number of turns a call takes, it leaves a usable pool and nothing else (G20).

    The number of turns grows until a call ends by itself; a cancelled call's connection is never used again.
    """
    context = server_context(tmp_path) if scheme == "https" else None
    trust = make_context(root_file(tmp_path)) if scheme == "https" else None

    async def cancelled(transport, turns):
        """Cancel a call after so many loop iterations; return whether it had ended by itself."""
        if situation == "opening":
            transport.check_timeouts(float("inf"))
        held = asyncio.create_task(transport.invoke(REQUEST)) if situation == "in line" else None
        if held is not None:
            await asyncio.sleep(0)
        task = asyncio.create_task(transport.invoke(Request(b"to be cancelled %d" % turns)))
        for _ in range(turns):
            if task.done():
                break
            await asyncio.sleep(0)
        is_over = task.done()
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        assert isinstance(outcome, asyncio.CancelledError) != is_over
        if held is not None:
            assert (await held).status == 200
        return is_over

    async def main():
        async with open_transport_to(server, 1, context=trust) as transport:
            turns = 0
            while not await cancelled(transport, turns):
                await assert_usable(transport, server)
                assert (transport._pool.reserved, len(transport._pool.waiters)) == (0, 0)
                turns += 1 + turns // 8
            assert turns > 0
            assert len(transport._pool.connections) == 1

    with FaultyServer(serve_ok, context=context) as server:
        run(main)


def test_the_response_to_a_cancelled_call_is_dropped(run):  # noqa: F811
    """The connection of a cancelled call is closed, though its answer was on the way."""
    may_answer = threading.Event()

    def script(peer):
        peer.read_request()
        peer.wait(may_answer)
        peer.send(OK.replace(b"hello", b"WRONG"))
        peer.wait_until_closed()

    async def main():
        async with open_transport_to(server, 1) as transport:
            task = asyncio.create_task(transport.invoke(REQUEST))
            await wait_until(lambda: server.received)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            may_answer.set()
            await assert_usable(transport, server)
            assert server.connections == 2

    with FaultyServer(script, serve_ok) as server:
        run(main)


def test_closing_ends_what_is_under_way(run):  # noqa: F811
    """Leaving the transport ends calls in flight, in line and connecting as cancelled_in_flight; none hangs."""

    async def main():
        async with open_transport_to(server, 2) as transport:
            tasks = [asyncio.create_task(transport.invoke(REQUEST)) for _ in range(5)]
            await wait_until(lambda: len(server.received) == 2)
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [error.outcome for error in errors] == [Outcome.CANCELLED_IN_FLIGHT] * 5
        with pytest.raises(TransportError):
            await transport.invoke(REQUEST)

    with FaultyServer(respond_once(b"")) as server:
        run(main)


def test_an_error_inside_leaves_nothing_open(run):  # noqa: F811
    """An exception in the caller's block comes out as it is, and everything is closed."""

    async def main():
        with pytest.raises(ZeroDivisionError):
            async with open_transport_to(server, 3):
                raise ZeroDivisionError

    with FaultyServer(serve_ok) as server:
        run(main)


def test_opening_can_be_cancelled(run):  # noqa: F811
    """Cancelled while it opens its connections, the transport leaves no socket and no task."""

    async def main():
        async def use():
            async with open_transport_to(server, 50):
                raise AssertionError("never reached")

        for turns in range(8):
            task = asyncio.create_task(use())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with FaultyServer(serve_ok) as server:
        run(main)


def test_no_answer_is_given_to_another_request(run):  # noqa: F811
    """Of 5,000 calls through a peer that breaks one in twenty-five, each answered one has its own number back (C90, G19)."""
    dice = random.Random(5)

    def script(peer):
        while True:
            _, body = peer.read_request()
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            fate = dice.random()
            if fate < 0.01:
                peer.reset()
            if fate < 0.02:
                peer.send(answer[:-1])
                peer.finish()
            if fate < 0.03:
                peer.send(answer + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nWRONG")
                peer.wait_until_closed()
            if fate < 0.04:
                peer.send(b"\0" + answer)
                peer.wait_until_closed()
            peer.send(answer)

    async def main():
        outcomes = {}
        numbers = iter(range(5000))

        async def client(transport):
            for number in numbers:
                request = Request(b"request %d" % number)
                try:
                    reply = await transport.invoke(request)
                except TransportError as error:
                    outcomes[number] = error.outcome
                else:
                    assert reply.body == request.body
                    outcomes[number] = Outcome.OK

        async with open_transport_to(server, 20) as transport:
            await asyncio.gather(*[client(transport) for _ in range(20)])
            assert len(transport._pool.connections) <= 20
        counts = {outcome: list(outcomes.values()).count(outcome) for outcome in set(outcomes.values())}
        assert sum(counts.values()) == 5000
        assert counts[Outcome.OK] > 4700
        assert set(counts) <= {Outcome.OK, Outcome.RESET, Outcome.STALE_KEEPALIVE, Outcome.TRUNCATED, Outcome.PROTOCOL}
        assert transport.desync_count > 25

    with FaultyServer(script) as server:
        run(main)


def test_a_transport_without_connections_is_refused(run):  # noqa: F811
    """Zero connections are a UsageError."""

    async def main():
        with pytest.raises(UsageError, match="0 connections"):
            async with open_transport_to(server, 0):
                pass

    with FaultyServer(serve_ok) as server:
        run(main)


def unacknowledged(size):
    """A kernel that reports so many unacknowledged bytes; on loopback there are none."""
    real = connection.ioctl

    def ioctl(fd, request, count, mutate):
        real(fd, request, count, mutate)
        if request == termios.TIOCOUTQ:
            count[0] = size

    return ioctl


def test_the_connection_of_an_early_answer_is_not_used_again(run, monkeypatch):  # noqa: F811
    """A response before the whole request was received is returned, and the connection is closed (C86)."""

    async def main():
        async with open_transport_to(server, 1) as transport:
            monkeypatch.setattr(connection, "ioctl", unacknowledged(1))
            await assert_usable(transport, server)
            monkeypatch.undo()
            await assert_usable(transport, server)
            assert (server.connections, transport.desync_count) == (2, 0)

    with FaultyServer(serve_ok) as server:
        run(main)


def test_an_answer_to_a_request_that_has_not_arrived_is_refused(run, monkeypatch):  # noqa: F811
    """Data received before the peer's kernel acknowledged a byte of the request is not its response (C80)."""

    async def main():
        async with open_transport_to(server, 1) as transport:
            await assert_usable(transport, server)
            monkeypatch.setattr(connection, "ioctl", unacknowledged(1_000_000))
            with pytest.raises(TransportError) as stale:
                await transport.invoke(REQUEST)
            with pytest.raises(TransportError) as fresh:
                await transport.invoke(REQUEST)
            monkeypatch.undo()
            assert (stale.value.outcome, fresh.value.outcome) == (Outcome.STALE_KEEPALIVE, Outcome.PROTOCOL)
            assert transport.desync_count == 2
            await assert_usable(transport, server)

    with FaultyServer(serve_ok) as server:
        run(main)
