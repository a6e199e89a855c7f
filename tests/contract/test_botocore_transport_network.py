"""What the network does to a call through aiobotocore: each fault has its own outcome."""

import asyncio
import datetime as dt
import errno
import ipaddress
import os
import resource
import socket
import ssl

import aiohttp
import botocore.exceptions as sdk
import pytest

from loadgen.aws.session import AwsConnectionConfig, open_clients
from loadgen.errors import InternalError
from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome
from loadgen.transport.botocore import BotocoreTransport, TracedSession, _classify_error, _RequestTrace
from loadgen.workload.request import Request
from tests.support.botocore_calls import error_response, open_botocore_transport
from tests.support.scripted_server import ConnectionAction, ok_response, scripted_server, wait_until


def test_a_refused_connection_is_told():
    """A port without a listener is `connect_refused`, and the request was not sent (C75)."""

    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            async with open_botocore_transport(f"http://127.0.0.1:{unused.getsockname()[1]}") as transport:
                with pytest.raises(TransportError) as caught:
                    await transport.invoke(Request(b"x"))
        assert caught.value.outcome is Outcome.CONNECT_REFUSED
        assert caught.value.sent == caught.value.done

    asyncio.run(main())


def test_a_name_that_does_not_resolve_is_dns(monkeypatch):
    """A host without an address is `dns` (C74)."""

    async def no_such_host(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def main() -> None:
        async with open_botocore_transport("http://nowhere.invalid:80") as transport:
            with pytest.raises(TransportError) as caught:
                await transport.invoke(Request(b"x"))
        assert caught.value.outcome is Outcome.DNS

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", no_such_host)
    asyncio.run(main())


def self_signed(folder: os.PathLike[str]) -> ssl.SSLContext:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = os.path.join(folder, "both.pem")
    with open(path, "wb") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_an_untrusted_certificate_is_tls(tmp_path):
    """A self-signed server is refused before any request is sent, never talked to unverified (C76)."""

    async def main() -> None:
        async with (
            scripted_server(lambda _: [ok_response()], tls=self_signed(tmp_path)) as side,
            open_botocore_transport(side.url) as transport,
        ):
            with pytest.raises(TransportError) as caught:
                await transport.invoke(Request(b"x"))
            assert side.requests == []
        assert caught.value.outcome is Outcome.TLS

    asyncio.run(main())


def test_a_server_that_speaks_no_tls_is_tls():
    """HTTPS to a plain port fails as `tls`; it does not fall back to plain text (C76)."""

    async def main() -> None:
        async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        async with (
            server,
            open_botocore_transport(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as transport,
        ):
            with pytest.raises(TransportError) as caught:
                await transport.invoke(Request(b"x"))
        assert caught.value.outcome is Outcome.TLS

    asyncio.run(main())


def test_an_unreachable_proxy_is_proxy(monkeypatch):
    """A proxy named in the environment is used, and its absence is `proxy` (C77)."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://sagemaker.example:80")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")

        async def main() -> None:
            async with (
                open_clients(AwsConnectionConfig(region="us-east-1")) as clients,
                clients.runtime(connections=1, timeout=5.0, http_session=TracedSession) as client,
            ):
                with pytest.raises(TransportError) as caught:
                    await BotocoreTransport(client, "x").invoke(Request(b"x"))
            assert caught.value.outcome is Outcome.PROXY

        asyncio.run(main())


def test_running_out_of_descriptors_is_fd_exhausted():
    """With no descriptor left for a socket the outcome is `fd_exhausted`: this machine's fault, not the target's (C97)."""

    async def main() -> None:
        async with scripted_server(lambda _: [ok_response()]) as side, open_botocore_transport(side.url) as transport:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            highest = max(int(name) for name in os.listdir("/proc/self/fd"))
            spare = [os.dup(0) for _ in range(highest)]  # fill the gaps below the limit
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, hard))
                gaps = []
                while True:
                    try:
                        gaps.append(os.dup(0))
                    except OSError:
                        break
                spare += gaps
                with pytest.raises(TransportError) as caught:
                    await transport.invoke(Request(b"x"))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for fd in spare:
                    os.close(fd)
            assert caught.value.outcome is Outcome.FD_EXHAUSTED
            assert "EMFILE" in caught.value.detail

    asyncio.run(main())


def test_a_cancelled_call_is_cancelled():
    """Cancellation passes through as itself, and the connection in use is not used again."""

    async def main() -> None:
        async with (
            scripted_server(
                lambda heard: [ConnectionAction.HANG] if heard.body == b"hang" else [ok_response()]
            ) as side,
            open_botocore_transport(side.url, connections=1) as transport,
        ):
            call = asyncio.create_task(transport.invoke(Request(b"hang")))
            await wait_until(lambda: len(side.requests) == 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (await transport.invoke(Request(b"x"))).is_new_connection

    asyncio.run(main())


def test_a_client_that_repeats_requests_is_a_bug_of_ours():
    """If a client were made with retries on, the second attempt is noticed and stops the run."""

    async def main() -> None:
        from aiobotocore.config import AioConfig

        answers = iter([error_response(500, "InternalFailure"), ok_response()])
        async with (
            scripted_server(lambda _: [next(answers)]) as side,
            open_clients(AwsConnectionConfig(emulator_url=side.url)) as clients,
            clients._session.client(
                "sagemaker-runtime",
                endpoint_url=side.url,
                region_name="us-east-1",
                aws_access_key_id="k",
                aws_secret_access_key="s",
                config=AioConfig(retries={"max_attempts": 1}, http_session_cls=TracedSession),
            ) as client,
        ):
            with pytest.raises(InternalError, match="sent 2 times"):
                await BotocoreTransport(client, "x").invoke(Request(b"x"))

    asyncio.run(main())


def test_a_client_without_a_trace_is_a_bug_of_ours():
    """Without the trace the instants would be guesses; that is refused instead of reported."""

    async def main() -> None:
        async with (
            scripted_server(lambda _: [ok_response()]) as side,
            open_clients(AwsConnectionConfig(emulator_url=side.url)) as clients,
            clients.runtime(connections=1) as client,
        ):
            with pytest.raises(InternalError, match="trace"):
                await BotocoreTransport(client, "x").invoke(Request(b"x"))

    asyncio.run(main())


def _reached(stage: str) -> _RequestTrace:
    trace = _RequestTrace()
    for member in ("requested", "connected", "sent", "head_received"):
        if stage == "nothing":
            break
        setattr(trace, member, 1.0)
        if member == stage:
            break
    return trace


def _connector_error(number: int) -> sdk.EndpointConnectionError:
    cause = aiohttp.ClientConnectorError(None, OSError(number, os.strerror(number)))
    return sdk.EndpointConnectionError(endpoint_url="http://secret", error=cause)


TABLE = [
    (_connector_error(errno.EADDRNOTAVAIL), "requested", Outcome.PORTS_EXHAUSTED),
    (_connector_error(errno.ENFILE), "requested", Outcome.FD_EXHAUSTED),
    (_connector_error(errno.EHOSTUNREACH), "requested", Outcome.CONNECT_REFUSED),
    (_connector_error(errno.ETIMEDOUT), "requested", Outcome.CONNECT_TIMEOUT),
    (sdk.ConnectTimeoutError(endpoint_url="http://secret"), "requested", Outcome.CONNECT_TIMEOUT),
    (_connector_error(errno.ECONNRESET), "requested", Outcome.TLS),
    (sdk.NoCredentialsError(), "nothing", Outcome.AUTH),
    (sdk.CredentialRetrievalError(provider="sso", error_msg="over"), "nothing", Outcome.AUTH),
    (sdk.ParamValidationError(report="no"), "nothing", Outcome.OTHER),
    (OSError("strange"), "sent", Outcome.OTHER),
]


@pytest.mark.parametrize(("error", "stage", "outcome"), TABLE, ids=lambda value: getattr(value, "name", None))
def test_the_table_of_failures_is_total(error, stage, outcome):
    """Errors that loopback cannot produce have their outcomes too; an unknown one is OTHER, never OK (C71, C98)."""
    found, detail = _classify_error(error, _reached(stage), is_tls=True)
    assert found is outcome
    assert detail
    assert "secret" not in detail
