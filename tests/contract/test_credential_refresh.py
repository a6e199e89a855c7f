"""Credentials that cannot be refreshed during a run, by both transports to AWS."""

import asyncio
import datetime as dt
import json
import subprocess

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.session import get_session
from botocore.exceptions import ClientError, CredentialRetrievalError, UnauthorizedSSOTokenError
from botocore.parsers import ResponseParserError

from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome
from loadgen.transport.botocore import BotocoreTransport, TracedSession
from loadgen.transport.wire.sdk_probe import wire_settings_from
from loadgen.transport.wire.transport import CredentialsError
from loadgen.workload.request import Request
from tests.support.scripted_server import ok_response, scripted_server

REFRESH_ERRORS = [
    (ClientError({"Error": {"Code": "ExpiredToken", "Message": "canary"}}, "AssumeRole"), "AssumeRole: ExpiredToken"),
    (ClientError({"Error": {}}, "GetRoleCredentials"), "GetRoleCredentials: ClientError"),
    (CredentialRetrievalError(provider="custom-process", error_msg="canary"), "CredentialRetrievalError"),
    (UnauthorizedSSOTokenError(), "UnauthorizedSSOTokenError"),
    (ResponseParserError("canary"), "ResponseParserError"),
    (RuntimeError("the refreshed credentials are still expired"), "RuntimeError"),
    (json.JSONDecodeError("canary", "canary", 0), "JSONDecodeError"),
    (FileNotFoundError(2, "canary"), "FileNotFoundError"),
    (ConnectionResetError(104, "canary"), "ConnectionResetError"),
    (TimeoutError("canary"), "TimeoutError"),
    (EOFError(), "EOFError"),
    (KeyError("canary"), "KeyError"),
    (AttributeError("canary"), "AttributeError"),
    (subprocess.TimeoutExpired("canary", 1), "TimeoutExpired"),
]
REFRESH_IDS = [text for _, text in REFRESH_ERRORS]


def session_that_expires(error):
    """Return a session with credentials, and a function after which each refresh raises the error."""

    async def refresh():
        raise error

    until = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    metadata = {"access_key": "AKID", "secret_key": "s", "token": "t", "expiry_time": until}
    session = get_session()
    session._credentials = kept = AioRefreshableCredentials.create_from_metadata(metadata, refresh, "test")

    def expire():
        kept._expiry_time = dt.datetime.now(dt.UTC)

    return session, expire


def client_of(session, url, **config):
    options = AioConfig(retries={"total_max_attempts": 1, "mode": "standard"}, **config)
    return session.create_client("sagemaker-runtime", region_name="eu-west-1", endpoint_url=url, config=options)


@pytest.mark.parametrize(("error", "reason"), REFRESH_ERRORS, ids=REFRESH_IDS)
def test_the_botocore_transport_counts_a_failed_refresh_as_auth(error, reason):
    """Whatever a refresh raises is one `auth` request, not sent, with operation and code and no text of a provider."""

    async def main():
        session, expire = session_that_expires(error)
        async with (
            scripted_server(lambda _: [ok_response(b"z")]) as side,
            client_of(session, side.url, http_session_cls=TracedSession) as client,
        ):
            transport = BotocoreTransport(client, "an-endpoint")
            assert (await transport.invoke(Request(b"x"))).status == 200
            expire()
            for _ in range(2):
                with pytest.raises(TransportError) as caught:
                    await transport.invoke(Request(b"x"))
                assert caught.value.outcome is Outcome.AUTH
                assert caught.value.detail == f"credentials cannot be refreshed ({reason})"
            assert len(side.requests) == 1

    asyncio.run(main())


@pytest.mark.parametrize(("error", "reason"), REFRESH_ERRORS, ids=REFRESH_IDS)
def test_the_wire_transport_knows_a_failed_refresh(error, reason):
    """Whatever a refresh raises is a CredentialsError, which the transport counts as `auth`."""

    async def main():
        session, expire = session_that_expires(error)
        async with client_of(session, "http://127.0.0.1:1") as client:
            settings = await wire_settings_from(client, "an-endpoint")
            expire()
            with pytest.raises(CredentialsError) as caught:
                await settings.credentials()
            assert str(caught.value) == f"credentials cannot be refreshed ({reason})"

    asyncio.run(main())
