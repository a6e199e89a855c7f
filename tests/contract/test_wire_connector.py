"""Connector: names, addresses, refused connections, and resources this machine lacks (C74, C75, C97, C98)."""

import asyncio
import contextlib
import errno
import socket

import pytest

from loadgen.errors import ConfigError, ResourceError, UnavailableError, UsageError
from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome
from loadgen.transport.wire import connector
from loadgen.transport.wire.connector import ConnectError, Connector
from loadgen.transport.wire.prepared_request import parse_url
from loadgen.transport.wire.timeouts import Timeouts
from loadgen.transport.wire.transport import WireSettings, open_wire
from tests.support.faulty_server import FaultyServer, Peer, respond_once, serve_ok
from tests.support.wire import REQUEST, assert_usable, open_transport_to, run, static_credentials  # noqa: F401 - run is a fixture

STREAM = (socket.SOCK_STREAM, 6, "")


def found(*addresses):
    """A look-up that finds these (family, address) pairs, and counts how often it is asked."""

    async def lookup(host, port):
        lookup.asked += 1
        return [(family, *STREAM, address) for family, address in addresses]

    lookup.asked = 0
    return lookup


async def dialled(dialer, timeout=10.0):
    """Dial and close; return where the socket was connected to."""
    with contextlib.closing(await dialer.connect(timeout)) as sock:
        return sock.getpeername()[:2]


def free_port():
    """A port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@contextlib.contextmanager
def blackhole():
    """An address that never answers: a listener whose queue is full drops what knocks."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        UnicodeError("label too long"),
    ],
    ids=["NXDOMAIN", "SERVFAIL", "no name"],
)
def test_a_name_that_cannot_be_looked_up_is_dns(run, error):  # noqa: F811
    """An unknown name, a failing resolver and an impossible name are outcome dns (C74)."""

    async def lookup(host, port):
        raise error

    async def main():
        with pytest.raises(ConnectError) as caught:
            await Connector("name.example", 443, lookup=lookup).connect(10.0)
        assert caught.value.outcome is Outcome.DNS

    run(main)


def test_a_slow_lookup_is_dns_within_the_deadline(run):  # noqa: F811
    """A resolver that does not answer is given up when the connect deadline is reached (C74)."""

    async def lookup(host, port):
        await asyncio.get_running_loop().create_future()

    async def main():
        with pytest.raises(ConnectError) as caught:
            await Connector("name.example", 443, lookup=lookup).connect(0.02)
        assert (caught.value.outcome, caught.value.detail) == (Outcome.DNS, "no answer within 0.02 s")

    run(main)


def test_a_changed_address_is_picked_up(run, monkeypatch):  # noqa: F811
    """Many dials share one look-up while it is fresh; after that, and after a failure, the name is asked again (C74)."""

    async def main():
        with FaultyServer(serve_ok) as old, FaultyServer(serve_ok) as new:
            lookup = found((socket.AF_INET, ("127.0.0.1", old.port)))
            dialer = Connector("name.example", 1, lookup=lookup)
            assert {await dialled(dialer) for _ in range(3)} == {("127.0.0.1", old.port)}
            assert lookup.asked == 1
            dialer._getaddrinfo = found((socket.AF_INET, ("127.0.0.1", new.port)))
            monkeypatch.setattr(connector, "_DNS_CACHE_TTL", 0.0)
            assert await dialled(dialer) == ("127.0.0.1", new.port)
            monkeypatch.undo()
            old.close()
            dialer._getaddrinfo = found((socket.AF_INET, ("127.0.0.1", old.port)))
            dialer._looked_up = 0.0
            with pytest.raises(ConnectError):
                await dialer.connect(10.0)
            dialer._getaddrinfo = found((socket.AF_INET, ("127.0.0.1", new.port)))
            assert await dialled(dialer) == ("127.0.0.1", new.port)

    run(main)


def test_a_dead_family_does_not_keep_us_from_the_living_one(run):  # noqa: F811
    """With a refusing IPv6 and a silent address in front, the living address is reached, and comes first next (C75)."""

    async def main():
        with FaultyServer(serve_ok) as server, blackhole() as silent:
            alive = (socket.AF_INET, ("127.0.0.1", server.port))
            lookup = found((socket.AF_INET6, ("::1", free_port(), 0, 0)), (socket.AF_INET, silent), alive)
            dialer = Connector("name.example", 1, lookup=lookup)
            assert await dialled(dialer, timeout=0.2) == alive[1]
            assert dialer._addresses[0] == alive

    run(main)


def test_refused_and_silent_peers_are_told_apart(run):  # noqa: F811
    """A closed port is connect_refused, a silent one connect_timeout, an address of no use connect_refused (C75)."""

    async def main():
        with pytest.raises(ConnectError) as caught:
            await Connector("127.0.0.1", free_port()).connect(10.0)
        assert caught.value.outcome is Outcome.CONNECT_REFUSED
        with blackhole() as (host, port), pytest.raises(ConnectError) as caught:
            await Connector(host, port).connect(0.05)
        assert caught.value.outcome is Outcome.CONNECT_TIMEOUT

    run(main)


def test_an_unreachable_server_fails_before_the_load(run):  # noqa: F811
    """Opening a transport to a closed port is an UnavailableError that names the place (C74 to C76)."""
    port = free_port()

    async def main():
        settings = WireSettings(f"http://127.0.0.1:{port}", "us-east-1", static_credentials)
        with pytest.raises(UnavailableError, match=f"127.0.0.1 port {port}.*connect_refused"):
            async with open_wire(settings, "e", connections=3):
                pass

    run(main)


def test_a_server_that_goes_away_is_an_outcome_of_each_call(run):  # noqa: F811
    """During a run a call without a listener is connect_refused; its time is pool wait, not service time (C75)."""

    async def main():
        async with open_transport_to(server) as transport:
            await transport.invoke(REQUEST)
            server.close()
            for _ in range(3):
                with pytest.raises(TransportError) as caught:
                    await transport.invoke(REQUEST)
            error = caught.value
            assert error.outcome is Outcome.CONNECT_REFUSED
            assert error.sent == error.done
            assert error.pool_wait > 0

    with FaultyServer(
        respond_once(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", Peer.finish)
    ) as server:
        run(main)


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (errno.EMFILE, Outcome.FD_EXHAUSTED),
        (errno.ENFILE, Outcome.FD_EXHAUSTED),
        (errno.EADDRNOTAVAIL, Outcome.PORTS_EXHAUSTED),
        (errno.ENETUNREACH, Outcome.CONNECT_REFUSED),
        (errno.EHOSTUNREACH, Outcome.CONNECT_REFUSED),
        (errno.ETIMEDOUT, Outcome.CONNECT_TIMEOUT),
        (errno.ECONNRESET, Outcome.RESET),
    ],
    ids=lambda value: errno.errorcode[value] if type(value) is int else value.label,
)
def test_the_operating_systems_refusals_have_their_outcomes(run, monkeypatch, number, outcome):  # noqa: F811
    """What this machine lacks is fd_exhausted or ports_exhausted; in the run it fails the call, and heals (C97, C98)."""
    real = connector._new_socket

    def refusing(*_):
        raise OSError(number, "refused by the test")

    async def main():
        async with open_transport_to(server) as transport:
            await until_closed(transport)
            monkeypatch.setattr(connector, "_new_socket", refusing)
            with pytest.raises(TransportError) as caught:
                await transport.invoke(REQUEST)
            monkeypatch.setattr(connector, "_new_socket", real)
            assert (caught.value.outcome, caught.value.detail) == (outcome, "refused by the test")
            await assert_usable(transport, server)

    with FaultyServer(serve_ok) as server:
        run(main)


async def until_closed(transport):
    """Retire every idle connection."""
    transport.check_timeouts(float("inf"))
    assert not transport._pool.connections


def test_too_few_descriptors_are_told_before_the_load(run, monkeypatch):  # noqa: F811
    """When the connections cannot all be opened for want of descriptors, need and have are shown (C97)."""
    real, made = connector._new_socket, []

    def scarce(*arguments):
        if len(made) == 3:
            raise OSError(errno.EMFILE, "Too many open files")
        made.append(arguments)
        return real(*arguments)

    async def main():
        monkeypatch.setattr(connector, "_new_socket", scarce)
        with pytest.raises(ResourceError, match="3 of 5 connections") as caught:
            async with open_transport_to(server, 5):
                pass
        monkeypatch.setattr(connector, "_new_socket", real)
        assert "ulimit" in caught.value.hint

    with FaultyServer(serve_ok) as server:
        run(main)


def test_ipv6_works_by_literal_and_is_named_in_brackets(run):  # noqa: F811
    """A transport reaches `http://[::1]:port`, and its Host header contains the brackets."""

    async def main():
        async with open_transport_to(server) as transport:
            await assert_usable(transport, server)
            assert f"\r\nHost: [::1]:{server.port}\r\n".encode() in server.received[-1][1]

    with FaultyServer(serve_ok, family=socket.AF_INET6) as server:
        run(main)


def test_a_name_is_looked_up_for_real(run):  # noqa: F811
    """`localhost` is found by the loop's own look-up, and its families are tried until one answers."""

    async def main():
        settings = WireSettings(f"http://localhost:{server.port}", "us-east-1", static_credentials)
        async with open_wire(settings, "e", connections=1) as transport:
            await assert_usable(transport, server)

    with FaultyServer(serve_ok) as server:
        run(main)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h",
        "h:80",
        "http://",
        "http://h:99999",
        "http://key:secret@h",
        "http://h/?q",
        "http://h/#f",
        "http://h/a b",
        "http://h\r\nX: y",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url):
    """A URL of another scheme, without a host, with credentials, a query or control characters is a ConfigError."""
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["connect", "write", "first_byte", "body", "service", "total", "idle"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_a_deadline_must_be_above_zero(name, value):
    """No deadline may be zero, negative or no number."""
    with pytest.raises(UsageError, match=name):
        Timeouts(**{name: value})
