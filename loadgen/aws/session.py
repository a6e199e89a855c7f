"""One AWS session and its clients, which the other modules take from `Clients`.

Rule: credentials, region, profile and endpoint come from the SDK's own chain; for an emulator the environment is
ignored. Opening all clients took 0.15 s on one core (botocore 1.40), most of it for the first client, so all are opened
at once.
"""

import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
from botocore.exceptions import NoCredentialsError

from loadgen.aws.credential_chain import load_credentials
from loadgen.aws.errors import SDK_ERRORS, to_loadgen_error
from loadgen.aws.http_session import ControlPlaneSession, NoRedirectSession
from loadgen.aws.response_check import register_response_check

# A cold start can take up to four minutes (developer guide, 2023).
READ_TIMEOUT = 300.0
CONNECT_TIMEOUT = 10.0
_CONTROL_TIMEOUT = 60.0
# The emulator's region.
EMULATOR_REGION = "us-east-1"
# Holds the token of an emulator that asks for one. Not AWS_SESSION_TOKEN: with an emulator's URL the credentials of the
# environment are ignored, and those of an AWS account must not be sent to it.
EMULATOR_TOKEN_VARIABLE = "LOADGEN_EMULATOR_TOKEN"  # noqa: S105  a name
# Fixed: botocore builds its own User-Agent for each call, which takes a quarter of the call's time.
_USER_AGENT = f"loadgen/{version('loadgen')} aiobotocore/{version('aiobotocore')}"
# botocore reads AWS_DEFAULT_REGION alone; AWS's CLI and its other SDKs read AWS_REGION first
# (AWS SDKs and Tools reference guide, "AWS Region").
_REGION_SOURCE = ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)
# Service -> attempts of one call. deployment/ retries control-plane calls itself, because a Create must not be sent
# twice unchecked; quotas have a default, so a custom endpoint without them must not delay the start.
_MAX_ATTEMPTS = {"sts": 4, "sagemaker": 1, "sagemaker-runtime": 1, "service-quotas": 2, "cloudwatch": 4}


@dataclass(frozen=True, slots=True)
class AwsConnectionConfig:
    """How to reach the AWS API.

    Args:
        region: overrides the SDK's own chain; None leaves it to the chain.
        emulator_url: of a loadgen emulator, for which the environment is ignored; empty for AWS and custom endpoints.
    """

    region: str | None = None
    emulator_url: str = ""


class Clients:
    """The open clients of one account and region. Made by `open_clients`."""

    def __init__(self, session: Any, connection_config: AwsConnectionConfig, clients: Mapping[str, Any]) -> None:
        self._session = session
        self._connection_config = connection_config
        self._clients = clients

    @property
    def connection_config(self) -> AwsConnectionConfig:
        """How the API is reached; it holds no credentials, so it can be sent to another process."""
        return self._connection_config

    @property
    def sts(self) -> Any:
        """The client of the Security Token Service."""
        return self._clients["sts"]

    @property
    def sagemaker(self) -> Any:
        """The client of the control plane; without retries, because a Create must not be sent twice unchecked."""
        return self._clients["sagemaker"]

    @property
    def quotas(self) -> Any:
        """The client of Service Quotas."""
        return self._clients["service-quotas"]

    @property
    def cloudwatch(self) -> Any:
        """The client of CloudWatch."""
        return self._clients["cloudwatch"]

    @property
    def region(self) -> str:
        """The region of all clients."""
        return str(self.sagemaker.meta.region_name)

    @property
    def control_url(self) -> str:
        """The URL of the control plane."""
        return str(self.sagemaker.meta.endpoint_url)

    @property
    def urls(self) -> tuple[str, str]:
        """The URLs of control plane and runtime; the environment can override either."""
        return self.control_url, str(self._clients["sagemaker-runtime"].meta.endpoint_url)

    async def credentials(self) -> Any:
        """Return the session's credentials, for a transport that signs requests itself.

        `await credentials.get_frozen_credentials()` returns the current access key, secret key and token; the SDK
        refreshes them before they expire.

        Raises:
            AuthError: there are no credentials.
        """
        try:
            found = await self._session.get_credentials()
        except SDK_ERRORS as error:
            raise to_loadgen_error(error, "Loading credentials", now=time.time()) from error
        if found is None:
            raise to_loadgen_error(NoCredentialsError(), "Loading credentials", now=time.time())
        return found

    async def session_token(self) -> str:
        """Return the current session token; empty for long-lived keys.

        Raises:
            AuthError: there are no credentials.
        """
        frozen = await (await self.credentials()).get_frozen_credentials()
        return str(frozen.token or "")

    @asynccontextmanager
    async def s3(self) -> AsyncIterator[Any]:
        """Open an `s3` client."""
        retries = {"total_max_attempts": 4, "mode": "standard"}
        config = _config(self._connection_config, retries=retries, http_session_cls=NoRedirectSession)
        try:
            client_context = self._session.client("s3", **_client_options(self._connection_config), config=config)
            client = await client_context.__aenter__()
        except SDK_ERRORS as error:
            raise to_loadgen_error(error, "Opening the S3 client", now=time.time()) from error
        register_response_check(client)
        try:
            yield client
        finally:
            await client_context.__aexit__(None, None, None)

    @asynccontextmanager
    async def runtime(
        self, *, connections: int, timeout: float = READ_TIMEOUT, http_session: type | None = None
    ) -> AsyncIterator[Any]:
        """Open a `sagemaker-runtime` client that sends each request exactly once.

        Args:
            connections: size of its pool; with fewer than requests in flight, requests queue inside the client.
            timeout: read timeout in seconds.
            http_session: aiobotocore HTTP session class; None for the default.
        """
        # An explicit total_max_attempts outranks AWS_MAX_ATTEMPTS and the profile's (botocore/args.py);
        # `max_attempts: 1` would mean one *re*try.
        config = _config(
            self._connection_config,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=connections,
            read_timeout=timeout,
            user_agent=_USER_AGENT,
            **({"http_session_cls": http_session} if http_session else {}),
        )
        try:
            client_context = self._session.client(
                "sagemaker-runtime", **_client_options(self._connection_config), config=config
            )
            client = await client_context.__aenter__()
        except SDK_ERRORS as error:
            raise to_loadgen_error(error, "Opening the runtime client", now=time.time()) from error
        try:
            yield client
        finally:
            await client_context.__aexit__(None, None, None)


@asynccontextmanager
async def open_clients(connection_config: AwsConnectionConfig) -> AsyncIterator[Clients]:
    """Open one session with its control clients, and close them on exit.

    Raises:
        ConfigError: no region, an unknown profile, a broken configuration file.
        AuthError: credentials that cannot be loaded.
    """
    async with AsyncExitStack() as stack:
        try:
            botocore_session = _botocore_session(connection_config)
            session = _session(connection_config, botocore_session)
            # Before the clients, which would load them too and mix their errors with those of endpoint and region.
            if botocore_session.get_config_variable("region"):
                await load_credentials(botocore_session)
            clients = {}
            for service, attempts in _MAX_ATTEMPTS.items():
                retries = {"total_max_attempts": attempts, "mode": "standard"}
                config = _config(
                    connection_config,
                    retries=retries,
                    read_timeout=_CONTROL_TIMEOUT,
                    max_pool_connections=50,
                    http_session_cls=ControlPlaneSession,
                )
                clients[service] = await stack.enter_async_context(
                    session.client(service, **_client_options(connection_config), config=config)
                )
                register_response_check(clients[service])
        except SDK_ERRORS as error:
            raise to_loadgen_error(error, "Reaching AWS", now=time.time()) from error
        yield Clients(session, connection_config, MappingProxyType(clients))


def _botocore_session(connection_config: AwsConnectionConfig) -> Any:
    if not connection_config.emulator_url:
        return AioSession(session_vars={"region": _REGION_SOURCE})
    # Every setting keeps its default, so that a broken profile cannot stop a run against the emulator.
    settings = {
        name: (None, None, default, conversion)
        for name, (_, _, default, conversion) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
    }
    for name, value in (("config_file", os.devnull), ("credentials_file", os.devnull), ("region", EMULATOR_REGION)):
        settings[name] = (None, None, value, None)
    return AioSession(session_vars=settings)


def _session(connection_config: AwsConnectionConfig, botocore_session: Any) -> Any:
    if connection_config.emulator_url:
        token = os.environ.get(EMULATOR_TOKEN_VARIABLE) or None
        return aioboto3.Session("emulator", "emulator", token, botocore_session=botocore_session)
    return aioboto3.Session(region_name=connection_config.region, botocore_session=botocore_session)


def _client_options(connection_config: AwsConnectionConfig) -> dict[str, Any]:
    """Return endpoint and region of the emulator; empty for the SDK's chain."""
    return (
        {"endpoint_url": connection_config.emulator_url, "region_name": EMULATOR_REGION}
        if connection_config.emulator_url
        else {}
    )


def _config(connection_config: AwsConnectionConfig, **settings: Any) -> Any:
    # A proxy of the environment cannot reach a loopback address.
    proxies: dict[str, Any] = {"proxies": {}} if connection_config.emulator_url else {}
    return AioConfig(connect_timeout=CONNECT_TIMEOUT, tcp_keepalive=True, **proxies, **settings)
