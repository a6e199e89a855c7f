"""SDK probe: takes the settings of the wire transport from an aiobotocore client.

Rule: the client builds and signs one request, which is captured before it is sent. The wire transport's request for the
same arguments is compared with it, header by header, including the signature. If the two differ, or the client does
something unsupported (a proxy, another signing scheme), UnsupportedClientError carries the reason and the caller uses
the SDK's transport. A new SDK, a plug-in or a hook can disable the wire transport, not make it send other requests.

It uses the client's public events, except that the trusted certificates are read from `client._endpoint.http_session`.
Supported: aiobotocore 2.25 and newer.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import botocore
from botocore.exceptions import BotoCoreError, UnknownSignatureVersionError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from loadgen.errors import AuthError, ConfigError
from loadgen.transport.credential_refresh import describe_refresh_error
from loadgen.transport.wire.http1 import BODY_LIMIT
from loadgen.transport.wire.prepared_request import InvokeRequestTemplate, PreparedRequest, parse_amz_date, parse_url
from loadgen.transport.wire.sigv4 import Credentials, Signer
from loadgen.transport.wire.timeouts import Timeouts
from loadgen.transport.wire.tls import make_context
from loadgen.transport.wire.transport import (
    CredentialsError,
    CredentialsProvider,
    WireSettings,
    WireTransport,
    open_wire,
)
from loadgen.workload.request import Request

# Every argument is set, so that every header is compared.
_PROBE = Request(
    b"probe",
    content_type="text/csv",
    accept="text/csv",
    custom_attributes="a b",
    target_model="m",
    target_variant="v",
    target_container_hostname="h",
    inference_id="i",
    enable_explanations="e",
    inference_component_name="c",
    session_id="s",
)
# Headers that the SDK's HTTP library adds after this point, or that differ from call to call.
_UNCOMPARED_HEADERS = frozenset({"accept-encoding", "host", "amz-sdk-invocation-id", "connection"})


class UnsupportedClientError(ConfigError):
    """The wire transport cannot replace this client; the message is the reason and is shown in the report."""


class _ProbeCapturedError(Exception):
    """Ends the probe call inside the SDK before a request is sent."""


@dataclass(slots=True)
class _Probe:
    events: Any
    signer: Any = None
    signature_version: Any = None
    request: Any = None
    is_answered_by_hook: bool = False


# Other tasks may use the client: only the call made in this context is captured.
_CURRENT_PROBE: ContextVar[_Probe | None] = ContextVar("loadgen_wire_probe", default=None)


async def wire_settings_from(client: Any, endpoint_name: str) -> WireSettings:
    """Return the wire settings of a `sagemaker-runtime` client. Sends nothing.

    Args:
        client: an open aiobotocore client, which also refreshes the credentials.
        endpoint_name: the endpoint to invoke.

    Raises:
        UnsupportedClientError: the client does something that the wire transport does not support.
        AuthError: there are no credentials.
    """
    probe = await _capture_request(client, endpoint_name)
    request = probe.request
    url = str(request.url)
    headers = {name.lower(): _to_text(value) for name, value in request.headers.items()}
    if probe.signature_version is botocore.UNSIGNED:
        raise UnsupportedClientError("the client does not sign its requests")
    scope = headers.get("authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
    if probe.signature_version != "v4" or len(scope) != 5:
        raise UnsupportedClientError(f"the client uses another signature version, {probe.signature_version}")
    end = url.rfind("/endpoints/")
    if end < 0:
        raise UnsupportedClientError("the SDK would send another request: different URL")
    settings = WireSettings(
        url=url[:end],
        region=scope[2],
        service=scope[3],
        credentials=_credentials_provider(probe.signer, service=scope[3], region=scope[2]),
        user_agent=headers.get("user-agent", ""),
        sdk_request=headers.get("amz-sdk-request", ""),
    )
    envelope = InvokeRequestTemplate(
        parse_url(settings.url), endpoint_name, scope[2], scope[3], settings.user_agent, settings.sdk_request
    )
    await _check_same_request(settings, envelope, url, headers)
    _check_no_proxy(client, settings.url)
    if envelope.origin.scheme == "http":
        return settings
    return WireSettings(
        settings.url,
        settings.region,
        settings.credentials,
        settings.user_agent,
        settings.service,
        settings.sdk_request,
        make_context(_ca_bundle(client)),
    )


@asynccontextmanager
async def open_wire_for(
    client: Any,
    endpoint_name: str,
    *,
    connections: int,
    timeouts: Timeouts | None = None,
    body_limit: int = BODY_LIMIT,
) -> AsyncIterator[WireTransport]:
    """Open a wire transport that sends the requests this client would send.

    Args:
        client: an open aiobotocore `sagemaker-runtime` client; it must stay open as long as the transport.
        endpoint_name: the endpoint to invoke.
        connections: maximum number of requests in flight.
        timeouts: None for the defaults.
        body_limit: maximum bytes of a response body.

    Raises:
        UnsupportedClientError: the SDK's transport must be used; the message is the reason.
        AuthError, UnavailableError, ResourceError: as `open_wire`.
    """
    settings = await wire_settings_from(client, endpoint_name)
    async with open_wire(
        settings, endpoint_name, connections=connections, timeouts=timeouts, body_limit=body_limit
    ) as transport:
        yield transport


async def _capture_request(client: Any, endpoint_name: str) -> _Probe:
    """Let the client build one request, and capture it before it is sent."""
    events, service = client.meta.events, client.meta.service_model.service_id.hyphenize()
    hooks: dict[str, Any] = {
        f"before-sign.{service}.InvokeEndpoint": _on_sign,
        f"before-send.{service}.InvokeEndpoint": _on_send,
    }
    probe = _Probe(events)
    token = _CURRENT_PROBE.set(probe)
    for event, hook in hooks.items():
        events.register_last(event, hook, unique_id=f"loadgen-wire-{event}-{id(probe)}")
    try:
        await client.invoke_endpoint(EndpointName=endpoint_name, **_PROBE.arguments())
    except _ProbeCapturedError:
        if not probe.is_answered_by_hook:
            return probe
    except UnknownSignatureVersionError as error:
        raise UnsupportedClientError("the client uses another signature version, which is not installed") from error
    except BotoCoreError as error:
        raise AuthError(f"the SDK cannot sign a request: {error}", hint="log in, or set AWS_PROFILE") from error
    except Exception as error:  # of the credential chain
        reason = describe_refresh_error(error)
        raise AuthError(f"the SDK cannot sign a request: {reason}", hint="log in, or set AWS_PROFILE") from error
    finally:
        for event, hook in hooks.items():
            events.unregister(event, hook, unique_id=f"loadgen-wire-{event}-{id(probe)}")
        _CURRENT_PROBE.reset(token)
    raise UnsupportedClientError("a hook of the client replies to requests in place of the service")


def _on_sign(request_signer: Any, signature_version: Any, **_: Any) -> None:
    probe = _CURRENT_PROBE.get()
    if probe is not None:
        probe.signer, probe.signature_version = request_signer, signature_version


async def _on_send(request: Any, event_name: str, **_: Any) -> None:
    probe = _CURRENT_PROBE.get()
    if probe is not None and probe.request is None:
        probe.request = request
        # Emit the event again, without the probe: does another hook reply in place of the service?
        answers = await probe.events.emit(event_name, request=request)
        probe.is_answered_by_hook = any(answer is not None for _, answer in answers)
        raise _ProbeCapturedError


def _credentials_provider(signer: Any, *, service: str, region: str) -> CredentialsProvider:
    async def credentials() -> Credentials:
        try:
            auth = await signer.get_auth_instance(service, region, signature_version="v4")
        except Exception as error:  # a provider of the SDK's chain, or a plug-in, may raise anything
            raise CredentialsError(describe_refresh_error(error)) from error
        keys = auth.credentials
        if keys is None:
            raise CredentialsError("no credentials")
        return Credentials(keys.access_key, keys.secret_key, keys.token or "")

    return credentials


async def _check_same_request(
    settings: WireSettings, template: InvokeRequestTemplate, url: str, sdk_headers: dict[str, str]
) -> None:
    """Compare the wire transport's request with the SDK's: URL, headers and signature must be equal."""
    try:
        credentials = await settings.credentials()
    except CredentialsError as error:
        raise AuthError(str(error), hint="log in, or set AWS_PROFILE") from error
    prepared = PreparedRequest(_PROBE, template, Signer(credentials, settings.region, settings.service), id_prefix="")
    prepared.sign(parse_amz_date(sdk_headers.get("x-amz-date", "")))
    lines = (
        (prepared.bytes_before_id + prepared.bytes_after_id).partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    )
    ours = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    names = {
        name for name in ours.keys() | sdk_headers.keys() if ours.get(name) != sdk_headers.get(name)
    } - _UNCOMPARED_HEADERS
    if url != settings.url.rstrip("/") + template.path.removeprefix(template.origin.path.rstrip("/")):
        names.add("URL")
    if names:
        # Names only: the values may be secrets.
        raise UnsupportedClientError(f"the SDK would send another request: different {', '.join(sorted(names))}")


def _check_no_proxy(client: Any, url: str) -> None:
    proxies = client.meta.config.proxies
    applying = get_environ_proxies(url) if proxies is None else proxies
    if applying.get(url.partition(":")[0]):
        raise UnsupportedClientError(
            "a proxy applies to this URL", hint="set NO_PROXY for it to use the wire transport"
        )


def _ca_bundle(client: Any) -> str | None:
    """Return the client's CA bundle."""
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    verify = getattr(session, "_verify", None)
    if verify is None:
        raise UnsupportedClientError("the CA bundle of this version of aiobotocore cannot be read")
    if verify is False:
        raise UnsupportedClientError("the client does not verify certificates, which the wire transport always does")
    if getattr(session, "_cert_file", None):
        raise UnsupportedClientError("the client uses a client certificate")
    return str(get_cert_path(verify))


def _to_text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
