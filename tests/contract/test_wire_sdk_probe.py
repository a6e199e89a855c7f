"""What the wire transport learns from the SDK: the same bytes, the same trust, fresh keys, and honest refusals."""

import asyncio
import datetime as dt
import re
from contextlib import asynccontextmanager

import botocore
import botocore.session
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.session import get_session
from botocore.auth import AUTH_TYPE_MAPS, SigV4Auth
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import CredentialRetrievalError

from loadgen.errors import AuthError, UnavailableError
from loadgen.transport.wire.prepared_request import InvokeRequestTemplate, PreparedRequest, parse_amz_date, parse_url
from loadgen.transport.wire.sdk_probe import UnsupportedClientError, open_wire_for, wire_settings_from
from loadgen.transport.wire.sigv4 import Credentials, Signer
from loadgen.transport.wire.transport import CredentialsError
from loadgen.workload.request import Request
from tests.support.certificates import root_file, server_context
from tests.support.faulty_server import FaultyServer, serve_ok
from tests.support.wire import REQUEST, assert_usable, run  # noqa: F401 - run is a fixture

ONCE = {"total_max_attempts": 1, "mode": "standard"}
REQUESTS = {
    "plain": REQUEST,
    "nothing but a body": Request(b"x"),
    "empty": Request(b""),
    "binary": Request(bytes(range(256)), content_type="application/x-image", accept="application/json"),
    "4 MB": Request(b"y" * 4 * 1024 * 1024, content_type="application/octet-stream"),
    "every argument": Request(
        b'{"a": 1}',
        content_type="application/json; charset=utf-8",
        accept="*/*",
        custom_attributes="c000b4f9-df62-4c85-a0bf-7c525f9104a4  two  spaces=+%/",
        target_model="models/a b.tar.gz",
        target_variant="Variant-1",
        target_container_hostname="host",
        inference_id="id-1",
        enable_explanations="`true`",
        inference_component_name="component",
        session_id="NEW_SESSION",
    ),
}


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Keys of our own and nothing else from this machine."""
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "Token/with+signs==")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@asynccontextmanager
async def opened_client(url=None, *, session=None, verify=None, **config):
    """An aiobotocore client as loadgen makes it."""
    options = AioConfig(**({"retries": ONCE} | config))
    making = (session or get_session()).create_client(
        "sagemaker-runtime", region_name="eu-west-1", endpoint_url=url, verify=verify, config=options
    )
    async with making as client:
        yield client


def headers_of(head):
    """Header name, in lower case, to value; and the request line."""
    line, *lines = head.decode().split("\r\n")
    return line, {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}


@pytest.mark.parametrize("prefix", ["", "/base"])
@pytest.mark.parametrize("name", REQUESTS)
def test_the_bytes_are_those_that_botocore_sends(monkeypatch, name, prefix):
    """Byte for byte, header order and signature included, but for the number in amz-sdk-invocation-id."""
    # With awscrt installed botocore writes the Host header elsewhere.
    monkeypatch.setitem(AUTH_TYPE_MAPS, "v4", SigV4Auth)
    request = REQUESTS[name]
    with FaultyServer(serve_ok) as server:
        client = botocore.session.get_session().create_client(
            "sagemaker-runtime", region_name="eu-west-1", endpoint_url=server.url + prefix, config=Config(retries=ONCE)
        )
        client.invoke_endpoint(EndpointName="my-endpoint", **request.arguments())["Body"].read()
        client.close()
    _, head, body = server.received[0]
    _, headers = headers_of(head)
    keys = Credentials("AKIDEXAMPLE", "secret", "Token/with+signs==")
    envelope = InvokeRequestTemplate(
        parse_url(server.url + prefix),
        "my-endpoint",
        "eu-west-1",
        "sagemaker",
        headers["user-agent"],
        headers["amz-sdk-request"],
    )
    prepared = PreparedRequest(
        request, envelope, Signer(keys, "eu-west-1", "sagemaker"), id_prefix=headers["amz-sdk-invocation-id"]
    )
    prepared.sign(parse_amz_date(headers["x-amz-date"]))
    assert prepared.bytes_before_id + prepared.bytes_after_id + prepared.body == head + b"\r\n\r\n" + body


@pytest.mark.parametrize("name", sorted(REQUESTS.keys() - {"4 MB"}))  # aiohttp warns of large bodies
def test_the_headers_are_those_that_aiobotocore_sends(run, name):  # noqa: F811
    """The same client, asked itself, sends the same; only aiohttp's `Accept: */*` is its own."""
    request = REQUESTS[name]
    varying = {"amz-sdk-invocation-id", "x-amz-date", "authorization"}

    async def main():
        async with (
            opened_client(server.url) as client,
            open_wire_for(client, "my-endpoint", connections=1) as transport,
        ):
            answer = await client.invoke_endpoint(EndpointName="my-endpoint", **request.arguments())
            await answer["Body"].read()
            assert (await transport.invoke(request)).body == b"hello"

    with FaultyServer(serve_ok) as server:
        run(main)
    by_connection = {number: (headers_of(head), body) for number, head, body in server.received}
    (ours_line, ours), our_body = by_connection[0]
    (their_line, theirs), their_body = by_connection[1]
    assert (ours_line, our_body) == (their_line, their_body)
    if request.accept is None:
        assert theirs.pop("accept") == "*/*"
    assert ours.keys() == theirs.keys()
    assert {n: v for n, v in ours.items() if n not in varying} == {n: v for n, v in theirs.items() if n not in varying}
    signed = re.compile(r"Credential=(\S+?)/\d+/(\S+), SignedHeaders=(\S+), Signature=[0-9a-f]{64}$")
    assert signed.search(ours["authorization"]).groups() == signed.search(theirs["authorization"]).groups()


PLACES = {
    "the default": ({}, "https://runtime.sagemaker.eu-west-1.amazonaws.com"),
    "FIPS": ({"use_fips_endpoint": True}, "https://runtime-fips.sagemaker.eu-west-1.amazonaws.com"),
    "dual stack": ({"use_dualstack_endpoint": True}, "https://runtime.sagemaker.eu-west-1.api.aws"),
}


@pytest.mark.parametrize("name", PLACES)
def test_the_sdk_resolves_the_url(run, name):  # noqa: F811
    """Region, FIPS and dual stack lead where the SDK's own resolver leads; nothing is sent to find out."""
    config, url = PLACES[name]

    async def main():
        async with opened_client(**config) as client:
            settings = await wire_settings_from(client, "my-endpoint")
            assert settings.url == url
            assert (settings.region, settings.service) == ("eu-west-1", "sagemaker")
            assert settings.ssl_context.check_hostname
            assert settings.user_agent.startswith("aiobotocore/")
            assert "secret" not in repr(settings)
            assert "AKID" not in repr(settings)

    run(main)


def test_aws_endpoint_url_is_honoured(run, monkeypatch):  # noqa: F811
    """AWS_ENDPOINT_URL leads the calls to where it points."""

    async def main():
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        async with opened_client() as client, open_wire_for(client, "my-endpoint", connections=2) as transport:
            await assert_usable(transport, server)

    with FaultyServer(serve_ok) as server:
        run(main)


def test_aws_ca_bundle_is_honoured(run, monkeypatch, tmp_path):  # noqa: F811
    """With AWS_CA_BUNDLE a server of that root is trusted; without it, it is not."""

    async def main():
        async with opened_client(server.url) as client:
            with pytest.raises(UnavailableError, match="certificate refused"):
                async with open_wire_for(client, "my-endpoint", connections=1):
                    pass
        monkeypatch.setenv("AWS_CA_BUNDLE", root_file(tmp_path))
        async with (
            opened_client(server.url) as client,
            open_wire_for(client, "my-endpoint", connections=1) as transport,
        ):
            await assert_usable(transport, server)

    with FaultyServer(serve_ok, context=server_context(tmp_path)) as server:
        run(main)


def header_adder(client):
    """A user's hook that adds a header to every call."""
    client.meta.events.register(
        "before-sign.sagemaker-runtime.*", lambda request, **_: request.headers.add_header("X-Trace", "1")
    )


def path_changer(client):
    """A user's hook that sends every call elsewhere."""

    def change(params, **_):
        params["url"] = params["url"].replace("/endpoints/", "/other/")

    client.meta.events.register("before-call.sagemaker-runtime.InvokeEndpoint", change)


def stub_sending(client):
    """A hook that answers in place of the service, as moto's does."""
    client.meta.events.register("before-send.sagemaker-runtime.*", lambda **_: object())


def stub_calling(client):
    """A hook that answers before a request is made, as botocore's Stubber does."""
    client.meta.events.register(
        "before-call.sagemaker-runtime.InvokeEndpoint", lambda **_: (AWSResponse("u", 200, {}, None), {"Body": b""})
    )


UNFIT = {
    "C77 a proxy of the client": ({"proxies": {"http": "http://127.0.0.1:1"}}, None, "a proxy applies"),
    "unsigned": ({"signature_version": botocore.UNSIGNED}, None, "does not sign"),
    "another scheme": ({"signature_version": "v4a"}, None, "another signature version"),
    "a hook adds a header": ({}, header_adder, "x-trace"),
    "a hook changes the path": ({}, path_changer, ""),
    "a hook answers at sending": ({}, stub_sending, "in place of the service"),
    "a hook answers at calling": ({}, stub_calling, "in place of the service"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_honoured_is_refused_with_the_reason(run, name):  # noqa: F811
    """The reason comes out before anything is sent, and the client works on as before (C77)."""
    config, change, reason = UNFIT[name]

    async def main():
        async with opened_client(server.url, **config) as client:
            if change is not None:
                change(client)
            with pytest.raises(UnsupportedClientError) as caught:
                await wire_settings_from(client, "my-endpoint")
            assert reason in caught.value.message
            assert "secret" not in str(caught.value)

    with FaultyServer(serve_ok) as server:
        run(main)
    assert server.connections == 0


@pytest.mark.parametrize(("no_proxy", "is_fit"), [("", False), ("127.0.0.1", True)])
def test_proxies_of_the_environment_count(run, monkeypatch, no_proxy, is_fit):  # noqa: F811
    """HTTP_PROXY makes the wire transport unfit unless NO_PROXY excepts the host (C77)."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)

    async def main():
        async with opened_client("http://127.0.0.1:2") as client:
            if is_fit:
                assert (await wire_settings_from(client, "my-endpoint")).url == "http://127.0.0.1:2"
            else:
                with pytest.raises(UnsupportedClientError, match="a proxy applies"):
                    await wire_settings_from(client, "my-endpoint")

    run(main)


def test_verification_is_never_switched_off(run):  # noqa: F811
    """A client with verify=False is left to the SDK, with the reason (C76)."""

    async def main():
        async with opened_client(verify=False) as client:
            with pytest.raises(UnsupportedClientError, match="does not verify"):
                await wire_settings_from(client, "my-endpoint")

    run(main)


def test_no_credentials_are_an_auth_error(run, monkeypatch):  # noqa: F811
    """Without credentials nothing is sent, and the error has a hint (C43)."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)

    async def main():
        async with opened_client() as client:
            with pytest.raises(AuthError) as caught:
                await wire_settings_from(client, "my-endpoint")
            assert "AWS_PROFILE" in caught.value.hint

    run(main)


def test_expiring_credentials_are_renewed(run):  # noqa: F811
    """Credentials are refreshed before they expire, without a failed call; a failed refresh is reported (C45)."""
    lives = iter([60, 3600])  # seconds; 60 are within botocore's margin, so they are renewed at the first chance

    async def refresh():
        life = next(lives, None)
        if life is None:
            raise CredentialRetrievalError(provider="test", error_msg="secret gone")
        until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=life)
        return {"access_key": f"AKID{life}", "secret_key": "s", "token": "t", "expiry_time": until.isoformat()}

    async def main():
        session = get_session()
        session._credentials = kept = AioRefreshableCredentials.create_from_metadata(
            await refresh(), refresh_using=refresh, method="test"
        )
        async with opened_client(server.url, session=session) as client:
            settings = await wire_settings_from(client, "my-endpoint")
            assert await settings.credentials() == Credentials("AKID3600", "s", "t")
            kept._expiry_time = dt.datetime.now(dt.UTC)
            with pytest.raises(CredentialsError) as caught:
                await settings.credentials()
            assert "secret" not in str(caught.value)

    with FaultyServer(serve_ok) as server:
        run(main)


def test_a_client_in_use_is_not_disturbed(run):  # noqa: F811
    """Calls that others make with the same client while it is asked go out and are answered."""

    async def call(client):
        answer = await client.invoke_endpoint(EndpointName="others", Body=b"theirs")
        return await answer["Body"].read()

    async def main():
        async with opened_client(server.url) as client:
            results = await asyncio.gather(
                call(client), *[wire_settings_from(client, "my-endpoint") for _ in range(5)], call(client)
            )
            assert results[0] == results[-1] == b"hello"
            assert await call(client) == b"hello"

    with FaultyServer(serve_ok) as server:
        run(main)
    assert {body for _, _, body in server.received} == {b"theirs"}
