"""BotocoreTransport: sends requests through aiobotocore, once each, with timestamps from aiohttp's trace.

Rule: one `invoke` is one attempt and ends in a Reply, a TransportError or a cancellation. botocore signs and parses.
aiohttp's trace gives the times at which a connection was acquired, the request head was sent and the response head was
received, so neither signing nor waiting for a connection counts as service time.

Clients and credentials are made in aws/session.py; replies are classified in measurement/outcome.py.
"""

import asyncio
import errno
import json
import math
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import aiohttp
import aiohttp.http_exceptions as http_errors
import botocore.exceptions as sdk
from aiobotocore.httpsession import AIOHTTPSession
from botocore.parsers import ResponseParserError

from loadgen.errors import InternalError
from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome
from loadgen.transport.credential_refresh import describe_refresh_error
from loadgen.transport.os_errors import LOCAL_OUTCOMES, errno_outcome
from loadgen.transport.wire.error_response import container_status
from loadgen.workload.request import Reply, Request

_MAX_MESSAGE_CHARACTERS = 1024  # of a server's error text, which may be an HTML page


class _RequestTrace:
    """Timestamps of one request, set by the trace; 0.0 means not reached."""

    __slots__ = (
        "connected",
        "deadline",
        "head_received",
        "is_new_connection",
        "is_signing",
        "read",
        "requested",
        "response",
        "sent",
        "timeout",
    )

    def __init__(self, deadline: asyncio.Timeout | None = None, timeout: float = math.inf) -> None:
        self.deadline = deadline  # starts when the request is sent
        self.timeout = timeout
        self.requested = 0.0
        self.connected = 0.0
        self.is_new_connection = False
        self.is_signing = False
        self.sent = 0.0
        self.head_received = 0.0
        self.read = 0.0
        self.response: aiohttp.ClientResponse | None = None

    @property
    def pool_wait(self) -> float:
        return self.connected - self.requested if self.connected else 0.0


# botocore passes no object of ours to aiohttp; both run in the caller's task, so a context variable carries the trace.
_CURRENT_TRACE: ContextVar[_RequestTrace | None] = ContextVar("loadgen_request_trace", default=None)


def _set_timestamp(member: str) -> Any:
    async def stamp(_session: object, trace: _RequestTrace | None, _params: object) -> None:
        if trace is not None:
            setattr(trace, member, time.perf_counter())

    return stamp


async def _on_connection_created(_session: object, trace: Any, _params: object) -> None:
    if trace is not None:
        trace.connected = time.perf_counter()
        trace.is_new_connection = True


async def _on_head_sent(_session: object, trace: Any, _params: object) -> None:
    if trace is not None:
        trace.sent = time.perf_counter()
        if trace.deadline is not None and math.isfinite(trace.timeout):
            trace.deadline.reschedule(asyncio.get_running_loop().time() + trace.timeout)


async def _on_request_end(_session: object, trace: Any, params: aiohttp.TraceRequestEndParams) -> None:
    if trace is not None:
        trace.head_received = time.perf_counter()
        trace.response = params.response


def _on_signing_start(**_: object) -> None:
    """Mark that the SDK takes credentials now, which it refreshes when they are due."""
    if (trace := _CURRENT_TRACE.get()) is not None:
        trace.is_signing = True


def _on_signing_end(**_: object) -> None:
    if (trace := _CURRENT_TRACE.get()) is not None:
        trace.is_signing = False


def _trace_config() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig(trace_config_ctx_factory=lambda trace_request_ctx: trace_request_ctx)  # type: ignore[arg-type]
    trace.on_connection_reuseconn.append(_set_timestamp("connected"))
    trace.on_connection_create_end.append(_on_connection_created)
    trace.on_request_headers_sent.append(_on_head_sent)  # fires when the head is complete, just before it is written
    trace.on_request_end.append(_on_request_end)
    trace.on_response_chunk_received.append(
        _set_timestamp("read")
    )  # fires once, when aiohttp has read an error's body whole
    trace.freeze()
    return trace


class _NoRedirectSession:
    """An aiohttp session that attaches the trace and follows no redirect: a signature is valid for one host only."""

    __slots__ = ("_session",)

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def request(self, method: str, **options: Any) -> Any:
        trace = _CURRENT_TRACE.get()
        if trace is not None:
            trace.requested = time.perf_counter()
        return self._session.request(method, allow_redirects=False, trace_request_ctx=trace, **options)


class TracedSession(AIOHTTPSession):  # type: ignore[misc]
    """Trace each request of an aiobotocore client whose `AioConfig(http_session_cls=...)` names this class."""

    async def _get_session(self, proxy_url: str | None) -> _NoRedirectSession:
        session = await super()._get_session(proxy_url)
        if not session.trace_configs:
            session.trace_configs.append(_trace_config())
        return _NoRedirectSession(session)


class BotocoreTransport:
    """Send requests to one endpoint through an aiobotocore `sagemaker-runtime` client.

    Args:
        client: with retries off, `http_session_cls=TracedSession` and a pool as large as the requests in flight.
        endpoint_name: the endpoint to invoke.
        timeout: seconds from `sent` to the last byte of the response; the client's own read timeout starts again with
            each byte that arrives.

    `Reply.pool_wait` is the time until a connection was acquired, including opening it; `Reply.is_new_connection` is
    True if it was opened for this request. `Reply.first_byte` is when the whole response head was received. The body of
    an error is dropped, its message is kept. Safe for any number of concurrent calls.
    """

    def __init__(self, client: Any, endpoint_name: str, *, timeout: float = math.inf) -> None:
        self._timeout = timeout
        self._invoke_endpoint = client.invoke_endpoint
        # botocore's parser raises on an error body that is not an object of strings.
        client.meta.events.register(
            "before-parse.sagemaker-runtime.InvokeEndpoint", _normalize_error_body, unique_id="loadgen"
        )
        client.meta.events.register(
            "before-sign.sagemaker-runtime.InvokeEndpoint", _on_signing_start, unique_id="loadgen-signing-start"
        )
        client.meta.events.register_first(
            "before-send.sagemaker-runtime.InvokeEndpoint", _on_signing_end, unique_id="loadgen-signing-end"
        )
        self._endpoint_name = endpoint_name
        self._is_tls = str(client.meta.endpoint_url).startswith("https:")

    async def invoke(self, request: Request) -> Reply:
        """Send the request once, without retries, and read the whole response.

        Raises:
            TransportError: no complete response was received.
            InternalError: the client retried the request, or is not traced.
        """
        deadline = asyncio.timeout(None)
        trace = _RequestTrace(deadline, self._timeout)
        token = _CURRENT_TRACE.set(trace)
        try:
            async with deadline:
                answer = await self._send(request, trace)
                body = await answer["Body"].read()
                trace.read = time.perf_counter()
        except Exception as error:  # the SDK lets exceptions of its layers pass; what happens to a call is an outcome
            if isinstance(error, TransportError | InternalError):
                raise
            if isinstance(error, sdk.ClientError) and "ResponseMetadata" in error.response:
                return _error_reply(error.response, trace)
            now = time.perf_counter()
            outcome, detail = _classify_error(error, trace, is_tls=self._is_tls)
            if deadline.expired():
                detail = f"service time: {self._timeout:g} s"
            raise TransportError(
                outcome, detail, sent=trace.sent or now, done=now, pool_wait=trace.pool_wait
            ) from error
        finally:
            _CURRENT_TRACE.reset(token)
            if trace.response is not None and not trace.read:
                trace.response.close()  # aiobotocore does not close a response whose body it failed to read
        meta = answer["ResponseMetadata"]
        _check_sent_once(meta, trace)
        return Reply(
            meta["HTTPStatusCode"],
            trace.sent,
            trace.head_received,
            trace.read,
            response_bytes=len(body),
            body=body,
            pool_wait=trace.connected - trace.requested,
            is_new_connection=trace.is_new_connection,
            request_id=meta.get("RequestId", ""),
        )

    async def _send(self, request: Request, trace: _RequestTrace) -> Any:
        """Send the request; an error of the credential chain is an AUTH outcome, not a reply of the endpoint."""
        try:
            return await self._invoke_endpoint(EndpointName=self._endpoint_name, **request.arguments())
        except Exception as error:
            if not trace.is_signing:
                raise
            now = time.perf_counter()
            raise TransportError(Outcome.AUTH, describe_refresh_error(error), sent=now, done=now) from error


# Members that botocore reads of an error body, and the type each must have.
_ERROR_MEMBERS = {
    "message": str,
    "Message": str,
    "code": str,
    "Code": str,
    "__type": str,
    "OriginalStatusCode": int,
    "OriginalMessage": str,
    "LogStreamArn": str,
}


def _normalize_error_body(response_dict: dict[str, Any], **_: object) -> None:
    """Reduce an error body to what botocore can parse, whatever a proxy or a container sent."""
    if response_dict["status_code"] < 300:
        return
    body = response_dict["body"]
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        found = {"message": body[:_MAX_MESSAGE_CHARACTERS].decode("utf-8", "replace")}
    known = {key: found[key] for key, kind in _ERROR_MEMBERS.items() if isinstance(found.get(key), kind)}
    response_dict["body"] = json.dumps(known).encode()


def _check_sent_once(meta: Mapping[str, Any], trace: _RequestTrace) -> None:
    if meta.get("RetryAttempts") != 0:
        raise InternalError(
            f"a request was sent {meta.get('RetryAttempts', -1) + 1} times",
            hint="a measured request is sent once: make the client with retries off (total_max_attempts=1)",
        )
    if not trace.sent or not trace.head_received:
        raise InternalError("the client does not trace its requests", hint="make it with TracedSession")


def _error_reply(response: Mapping[str, Any], trace: _RequestTrace) -> Reply:
    """Convert botocore's parsed error to a Reply. The code may be a bare status, the message None."""
    done = trace.read or time.perf_counter()
    meta, error = response["ResponseMetadata"], response.get("Error", {})
    _check_sent_once(meta, trace)
    return Reply(
        meta["HTTPStatusCode"],
        trace.sent,
        trace.head_received,
        done,
        response_bytes=_content_length(meta.get("HTTPHeaders", {})),
        code=str(error.get("Code") or meta["HTTPStatusCode"]),
        message=str(error.get("Message") or "")[:_MAX_MESSAGE_CHARACTERS],
        original_status=container_status(response.get("OriginalStatusCode")),
        pool_wait=trace.pool_wait,
        is_new_connection=trace.is_new_connection,
        request_id=meta.get("RequestId", ""),
    )


def _content_length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


# --- classification of errors ----------------------------------------------------------------------------------------

_TypeTable = tuple[tuple[tuple[type[BaseException], ...], Outcome], ...]
# Exception -> outcome; the first row that matches a cause decides. These come before the errno of the connection,
_PRE_ERRNO_TYPES: _TypeTable = (
    ((sdk.ProxyConnectionError, aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError), Outcome.PROXY),
    ((socket.gaierror, aiohttp.ClientConnectorDNSError), Outcome.DNS),
    ((ssl.SSLError, ssl.CertificateError, aiohttp.ClientSSLError, sdk.SSLError), Outcome.TLS),
    ((sdk.NoCredentialsError, sdk.CredentialRetrievalError, sdk.TokenRetrievalError, sdk.SSOError), Outcome.AUTH),
)
# and these come after it.
_POST_ERRNO_TYPES: _TypeTable = (
    ((sdk.ConnectTimeoutError, aiohttp.ConnectionTimeoutError), Outcome.CONNECT_TIMEOUT),
    ((sdk.IncompleteReadError, http_errors.ContentLengthError), Outcome.TRUNCATED),
    ((http_errors.HttpProcessingError, aiohttp.ClientResponseError, ResponseParserError), Outcome.PROTOCOL),
    ((aiohttp.ClientPayloadError,), Outcome.TRUNCATED),
)
_DISCONNECT_TYPES = (
    ConnectionError,
    aiohttp.ClientConnectionError,
    sdk.ConnectionClosedError,
    sdk.ResponseStreamingError,
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes: botocore's `error`, aiohttp's `os_error`, Python's `__cause__`.

    Not `__context__`: the innermost one is whatever exception the caller is handling.
    """
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and all(cause is not other for other in seen):
            seen.append(cause)
            yield cause
            wrapped = getattr(cause, "kwargs", None)
            waiting.append(wrapped.get("error") if isinstance(wrapped, dict) else None)
            waiting += [getattr(cause, "os_error", None), cause.__cause__]


def _classify_error(error: BaseException, trace: _RequestTrace, *, is_tls: bool) -> tuple[Outcome, str]:
    """Return the outcome of a failed request, and a description without address, header or payload."""
    causes = list(_causes(error))
    # An error raised before aiohttp is called concerns a file, such as an unreadable CA bundle, not a connection.
    is_connecting = bool(trace.requested) and not trace.sent
    for decide in (
        _by_local_errno,
        _by_type(_PRE_ERRNO_TYPES),
        _by_errno(is_connected=not is_connecting),
        _by_truncation,
        _by_type(_POST_ERRNO_TYPES),
    ):
        for cause in causes:
            if (outcome := decide(cause)) is not None:
                return outcome, _describe_cause(cause)
    for cause in reversed(causes):
        if isinstance(cause, TimeoutError | sdk.ReadTimeoutError):
            return Outcome.TIMEOUT_BODY if trace.head_received else Outcome.TIMEOUT_TTFB, _describe_cause(cause)
        if isinstance(cause, _DISCONNECT_TYPES):
            return _disconnect_outcome(causes, trace, is_tls=is_tls), _describe_cause(cause)
    return Outcome.OTHER, _describe_cause(causes[-1])


def _describe_cause(cause: BaseException) -> str:
    word = errno.errorcode.get(getattr(cause, "errno", None) or 0)
    return type(cause).__name__ + (f": {word}" if word else "")


def _by_local_errno(cause: BaseException) -> Outcome | None:
    outcome = errno_outcome(getattr(cause, "errno", None), is_connected=True)
    return outcome if outcome in LOCAL_OUTCOMES else None


def _by_errno(*, is_connected: bool) -> Callable[[BaseException], Outcome | None]:
    return lambda cause: errno_outcome(getattr(cause, "errno", None), is_connected=is_connected)


def _by_type(table: _TypeTable) -> Callable[[BaseException], Outcome | None]:
    return lambda cause: next((outcome for kinds, outcome in table if isinstance(cause, kinds)), None)


def _by_truncation(cause: BaseException) -> Outcome | None:
    # aiohttp raises the same exception for a malformed chunk and a missing one; only the message differs.
    is_cut = isinstance(cause, http_errors.TransferEncodingError) and cause.message.startswith("Not enough data")
    return Outcome.TRUNCATED if is_cut else None


def _disconnect_outcome(causes: list[BaseException], trace: _RequestTrace, *, is_tls: bool) -> Outcome:
    """Classify a lost connection by how far the request had come."""
    if trace.head_received:
        return Outcome.TRUNCATED
    if not trace.connected:
        # The peer closed while the connection was being opened: after the TCP handshake only the TLS handshake is left.
        return Outcome.TLS if is_tls else Outcome.RESET
    for cause in causes:
        if isinstance(cause, aiohttp.ServerDisconnectedError) and not isinstance(cause.message, str):
            return Outcome.TRUNCATED  # aiohttp passes the partial head it had read
    return Outcome.RESET if trace.is_new_connection else Outcome.STALE_KEEPALIVE
