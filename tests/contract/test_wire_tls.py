"""TLS under the wire transport, case C76: always verified, resumed where possible, and a cut is seen as a cut."""

import ssl
from contextlib import suppress
from time import perf_counter

import pytest

from loadgen.errors import UnavailableError
from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome
from loadgen.transport.wire.timeouts import Timeouts
from loadgen.transport.wire.tls import Tls, make_context
from loadgen.workload.request import Request
from tests.support.certificates import root_file, server_context
from tests.support.faulty_server import OK, ClientClosedError, FaultyServer, Peer, respond_once, serve_ok
from tests.support.wire import REQUEST, assert_usable, open_transport_to, run, wait_until  # noqa: F401 - run is a fixture

CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture
def trusting(tmp_path):
    """A client's context that trusts the tests' root."""
    return make_context(root_file(tmp_path))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
def test_calls_go_over_tls(run, tmp_path, trusting, version):  # noqa: F811
    """Small and large requests and answers pass unchanged, on one connection, with HTTP/1.1 agreed by ALPN."""
    context = server_context(tmp_path)
    context.maximum_version = version
    body = bytes(range(256)) * 16 * 1024
    agreed = []

    def script(peer):
        agreed.append((peer.sock.selected_alpn_protocol(), peer.sock.version().replace(".", "_")))
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        peer.serve()

    async def main():
        async with open_transport_to(server, context=trusting) as transport:
            reply = await transport.invoke(Request(body))
            assert reply.body == body == server.received[0][2]
            await assert_usable(transport, server)
            await assert_usable(transport, server)
            assert server.connections == 1

    with FaultyServer(script, context=context) as server:
        run(main)
    assert agreed == [("http/1.1", version.name)]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
def test_a_session_is_resumed(run, tmp_path, trusting, version):  # noqa: F811
    """Once a connection has been answered on and swept, the next connection resumes its session."""
    context = server_context(tmp_path)
    context.maximum_version = version
    resumed = []

    def script(peer):
        resumed.append(peer.sock.session_reused)
        peer.serve()

    async def main():
        async with open_transport_to(server, context=trusting) as transport:
            await assert_usable(transport, server)
            transport.check_timeouts(0.0)
            transport.check_timeouts(float("inf"))
            await assert_usable(transport, server)

    with FaultyServer(script, context=context) as server:
        run(main)
    assert resumed == [False, True]


WRONG = {
    "C76 self-signed": {"is_trusted": False},
    "C76 expired": {"days": -1},
    "C76 wrong host": {"names": ("other.example",)},
    "C76 no name": {"names": ()},
    "C76 wildcard of another level": {"names": ("*.localhost",)},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_certificate_is_refused(run, tmp_path, trusting, name):  # noqa: F811
    """Nothing is sent to a server with an invalid certificate; the detail contains the reason (C76)."""

    async def main():
        with pytest.raises(UnavailableError, match="tls: certificate refused: "):
            async with open_transport_to(server, context=trusting):
                pass

    with FaultyServer(serve_ok, context=server_context(tmp_path, **WRONG[name])) as server:
        run(main)
    assert server.received == []


def drop(peer):
    """Take the first bytes of a handshake, then reset."""
    peer.receive()
    peer.reset()


def hang(peer):
    """Read the first bytes of a handshake, then send nothing."""
    peer.receive()
    peer.wait_until_closed()


def plain(peer):
    """Answer a handshake in plain HTTP."""
    peer.receive()
    peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    peer.wait_until_closed()


@pytest.mark.parametrize("script", [drop, hang, plain], ids=["reset", "stall", "plain answer"])
def test_a_broken_handshake_is_tls(run, trusting, script):  # noqa: F811
    """A reset, a stall and a plain answer in the handshake are outcome tls, within the connect deadline (C76)."""

    async def main():
        with pytest.raises(UnavailableError, match="tls: "):
            async with open_transport_to(server, context=trusting, timeouts=Timeouts(connect=0.3)):
                pass

    with FaultyServer(script) as server:
        server.url = server.url.replace("http://127.0.0.1", "https://localhost")
        run(main)


def test_a_certificate_that_goes_bad_is_an_outcome_of_the_call(run, tmp_path, trusting):  # noqa: F811
    """When a later connection is refused the call ends as tls, and not in the clear (C76)."""
    context = server_context(tmp_path)

    async def main():
        async with open_transport_to(server, context=trusting) as transport:
            await transport.invoke(REQUEST)
            server.context = server_context(tmp_path, is_trusted=False)
            with pytest.raises(TransportError) as caught:
                await transport.invoke(REQUEST)
            assert caught.value.outcome is Outcome.TLS
            server.context = context
            await transport.invoke(REQUEST)

    with FaultyServer(respond_once(CLOSE), context=context) as server:
        run(main)


def unwrap(peer):
    """End TLS as it should be ended."""
    with suppress(OSError, ssl.SSLError):
        peer.sock.unwrap()
    raise ClientClosedError


@pytest.mark.parametrize(("end", "outcome"), [(unwrap, None), (Peer.finish, Outcome.TRUNCATED)], ids=["told", "cut"])
def test_only_an_announced_end_completes_a_body_without_length(run, tmp_path, trusting, end, outcome):  # noqa: F811
    """Over TLS a body that lasts until the end is whole only after close_notify; a bare end is a cut (C79)."""

    async def main():
        async with open_transport_to(server, context=trusting) as transport:
            if outcome is None:
                assert (await transport.invoke(REQUEST)).body == b"abc"
            else:
                with pytest.raises(TransportError) as caught:
                    await transport.invoke(REQUEST)
                assert caught.value.outcome is outcome
            await assert_usable(transport, server)

    script = respond_once(b"HTTP/1.1 200 OK\r\n\r\nabc", end)
    with FaultyServer(script, serve_ok, context=server_context(tmp_path)) as server:
        run(main)


@pytest.mark.parametrize("data", [OK, b"\x17\x03\x03\x00\x05hello"], ids=["plain", "false record"])
def test_bytes_that_are_no_tls_end_the_call_as_tls(run, tmp_path, trusting, data):  # noqa: F811
    """Bytes in the clear after the handshake are never read as an answer."""
    import os

    def script(peer):
        peer.read_request()
        os.write(peer.sock.fileno(), data)
        peer.wait_until_closed()

    async def main():
        async with open_transport_to(server, context=trusting) as transport:
            with pytest.raises(TransportError) as caught:
                await transport.invoke(REQUEST)
            assert caught.value.outcome is Outcome.TLS
            await assert_usable(transport, server)

    with FaultyServer(script, serve_ok, context=server_context(tmp_path)) as server:
        run(main)


def test_surplus_over_tls_is_found_and_tickets_are_not_taken_for_it(run, tmp_path, trusting):  # noqa: F811
    """Bytes after an answer discard the connection; TLS's own messages between answers do not (C80)."""

    async def main():
        async with open_transport_to(server, context=trusting) as transport:
            await transport.invoke(REQUEST)
            await wait_until(lambda: transport.desync_count)
            for _ in range(3):
                await assert_usable(transport, server)
            assert (transport.desync_count, server.connections) == (1, 2)

    with FaultyServer(respond_once(OK + b"X"), serve_ok, context=server_context(tmp_path)) as server:
        run(main)


def test_a_context_that_does_not_verify_is_not_taken(run, tmp_path):  # noqa: F811
    """Whoever hands in a context with verification off is refused, not obeyed (C76)."""
    careless = make_context(root_file(tmp_path))
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE

    async def main():
        with pytest.raises(UnavailableError, match="does not verify"):
            async with open_transport_to(server, context=careless):
                pass

    with FaultyServer(serve_ok, context=server_context(tmp_path)) as server:
        run(main)


def test_a_connection_that_can_encrypt_no_more_ends_the_call_as_tls(run, tmp_path, trusting):  # noqa: F811
    """What OpenSSL refuses to send is an outcome of the call, and no foreign exception; the next call is answered."""

    async def main():
        async with open_transport_to(server, context=trusting) as transport:
            await assert_usable(transport, server)
            (connection,) = transport._pool.connections
            with pytest.raises(ssl.SSLWantReadError):  # it has sent its farewell, and waits for the peer's
                connection.tls._object.unwrap()
            with pytest.raises(TransportError) as caught:
                await transport.invoke(REQUEST)
            assert caught.value.outcome is Outcome.TLS
            await assert_usable(transport, server)
            assert server.connections == 2

    with FaultyServer(serve_ok, serve_ok, context=server_context(tmp_path)) as server:
        run(main)


def test_no_handshake_begins_in_mid_connection(trusting):
    """A peer that wants to renegotiate is refused: while that lasts nothing could be sent."""
    assert ssl.OP_NO_RENEGOTIATION in trusting.options


def test_sent_is_after_encryption(run, tmp_path, trusting, monkeypatch):  # noqa: F811
    """Encrypting a request is the caller's own work and no part of the service time."""
    encrypt, encrypted = Tls.encrypt, []

    def noting(tls, plaintext):
        encrypt(tls, plaintext)
        encrypted.append(perf_counter())

    monkeypatch.setattr(Tls, "encrypt", noting)

    async def main():
        async with open_transport_to(server, context=trusting) as transport:
            for body in (b"1,2,3", bytes(1_000_000)):
                reply = await transport.invoke(Request(body))
                assert encrypted[-1] <= reply.sent <= reply.first_byte

    with FaultyServer(serve_ok, context=server_context(tmp_path)) as server:
        run(main)
