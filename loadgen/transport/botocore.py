"""BotocoreTransport: one request through aiobotocore, sent once, its instants taken where aiohttp knows them.

Rule: one `invoke` is one attempt, and ends in a Reply, a TransportError or a cancellation. botocore signs and parses;
aiohttp's own trace tells when a connection was at hand, when the head of the request went out and when the head of the
answer was in, so that neither signing nor waiting for a connection counts as service time.

What does not belong here: making clients and finding credentials (aws/session.py), judging replies (outcome.py).
"""

import errno
import json
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
from loadgen.workload.request import Reply, Request

_MESSAGE_CHARACTERS = 1024  # of a server's error text; a page of HTML is no message


class _Trip:
    """The instants of one request, filled in by the trace; 0.0 is "not reached"."""

    __slots__ = ("answer", "answered", "asked", "connected", "is_fresh", "read", "sent")

    def __init__(self) -> None:
        self.asked = 0.0
        self.connected = 0.0
        self.is_fresh = False
        self.sent = 0.0
        self.answered = 0.0
        self.read = 0.0
        self.answer: aiohttp.ClientResponse | None = None

    @property
    def waited(self) -> float:
        return self.connected - self.asked if self.connected else 0.0


# botocore hands nothing of ours through to aiohttp; both run in the caller's task, so its context carries the trip.
_TRIP: ContextVar[_Trip | None] = ContextVar("loadgen_trip", default=None)


def _stamp(member: str) -> Any:
    async def stamp(_session: object, trip: _Trip | None, _params: object) -> None:
        if trip is not None:
            setattr(trip, member, time.perf_counter())

    return stamp


async def _connected_anew(_session: object, trip: Any, _params: object) -> None:
    if trip is not None:
        trip.connected = time.perf_counter()
        trip.is_fresh = True


async def _answered(_session: object, trip: Any, params: aiohttp.TraceRequestEndParams) -> None:
    if trip is not None:
        trip.answered = time.perf_counter()
        trip.answer = params.response


def _trace() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig(trace_config_ctx_factory=lambda trace_request_ctx: trace_request_ctx)  # type: ignore[arg-type]
    trace.on_connection_reuseconn.append(_stamp("connected"))
    trace.on_connection_create_end.append(_connected_anew)
    trace.on_request_headers_sent.append(_stamp("sent"))  # fires when the head is complete, just before it is written
    trace.on_request_end.append(_answered)
    trace.on_response_chunk_received.append(_stamp("read"))  # fires once, when aiohttp has read an error's body whole
    trace.freeze()
    return trace


class _Guarded:
    """An aiohttp session that carries the trip along and follows no redirect: a signature is for one host only."""

    __slots__ = ("_session",)

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def request(self, method: str, **options: Any) -> Any:
        trip = _TRIP.get()
        if trip is not None:
            trip.asked = time.perf_counter()
        return self._session.request(method, allow_redirects=False, trace_request_ctx=trip, **options)


class TracedSession(AIOHTTPSession):  # type: ignore[misc]
    """Trace each request of an aiobotocore client whose `AioConfig(http_session_cls=...)` names this class."""

    async def _get_session(self, proxy_url: str | None) -> _Guarded:
        session = await super()._get_session(proxy_url)
        if not session.trace_configs:
            session.trace_configs.append(_trace())
        return _Guarded(session)


class BotocoreTransport:
    """Send requests to one endpoint through an aiobotocore `sagemaker-runtime` client.

    Args:
        client: made with retries off, `http_session_cls=TracedSession` and a pool as large as the requests in flight.
        endpoint_name: the endpoint to invoke.

    `Reply.waited` is the time from asking for a connection until one was at hand, opening it included; `Reply.fresh`
    tells that it was opened for this request. `Reply.first_byte` is when the whole head of the answer was in. The body
    of an error is not kept, its message is. Safe for any number of concurrent calls.
    """

    def __init__(self, client: Any, endpoint_name: str) -> None:
        self._invoke_endpoint = client.invoke_endpoint
        # botocore's parser raises whatever it meets in an error's body that is not an object of texts.
        client.meta.events.register("before-parse.sagemaker-runtime.InvokeEndpoint", _repair, unique_id="loadgen")
        self._endpoint_name = endpoint_name
        self._is_tls = str(client.meta.endpoint_url).startswith("https:")

    async def invoke(self, request: Request) -> Reply:
        """Send the request once, never again, and read the whole answer.

        Raises:
            TransportError: no whole answer came.
            InternalError: the client repeated a request, or is not traced.
        """
        trip = _Trip()
        token = _TRIP.set(trip)
        try:
            answer = await self._invoke_endpoint(EndpointName=self._endpoint_name, **request.arguments())
            body = await answer["Body"].read()
            trip.read = time.perf_counter()
        except sdk.ClientError as error:
            return _refusal(error.response, trip)
        except (sdk.BotoCoreError, sdk.HTTPClientError, ResponseParserError, aiohttp.ClientError, OSError) as error:
            now = time.perf_counter()
            outcome, detail = _judge(error, trip, is_tls=self._is_tls)
            raise TransportError(outcome, detail, sent=trip.sent or now, done=now, waited=trip.waited) from error
        finally:
            _TRIP.reset(token)
            if trip.answer is not None and not trip.read:
                trip.answer.close()  # aiobotocore forgets a response whose body it failed to read
        meta = answer["ResponseMetadata"]
        _assert_once(meta, trip)
        return Reply(
            meta["HTTPStatusCode"],
            trip.sent,
            trip.answered,
            trip.read,
            size=len(body),
            body=body,
            waited=trip.connected - trip.asked,
            fresh=trip.is_fresh,
            request_id=meta.get("RequestId", ""),
        )


# What botocore reads of an error's body -> the type it must have.
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


def _repair(response_dict: dict[str, Any], **_: object) -> None:
    """Make of an error's body what botocore can parse, whatever a proxy or a container put there."""
    if response_dict["status_code"] < 300:
        return
    body = response_dict["body"]
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        found = {"message": body[:_MESSAGE_CHARACTERS].decode("utf-8", "replace")}
    known = {key: found[key] for key, kind in _ERROR_MEMBERS.items() if isinstance(found.get(key), kind)}
    response_dict["body"] = json.dumps(known).encode()


def _assert_once(meta: Mapping[str, Any], trip: _Trip) -> None:
    if meta.get("RetryAttempts") != 0:
        raise InternalError(
            f"a request was sent {meta.get('RetryAttempts', -1) + 1} times",
            hint="a measured request is sent once: make the client with retries off (total_max_attempts=1)",
        )
    if not trip.sent or not trip.answered:
        raise InternalError("the client does not trace its requests", hint="make it with TracedSession")


def _refusal(response: Mapping[str, Any], trip: _Trip) -> Reply:
    """Turn botocore's parsed error into a Reply. The code may be a bare status, the message may be None."""
    done = trip.read or time.perf_counter()
    meta, error = response["ResponseMetadata"], response.get("Error", {})
    _assert_once(meta, trip)
    original = response.get("OriginalStatusCode", 0)
    return Reply(
        meta["HTTPStatusCode"],
        trip.sent,
        trip.answered,
        done,
        size=_length(meta.get("HTTPHeaders", {})),
        code=str(error.get("Code") or meta["HTTPStatusCode"]),
        message=str(error.get("Message") or "")[:_MESSAGE_CHARACTERS],
        original_status=original if isinstance(original, int) else 0,
        waited=trip.waited,
        fresh=trip.is_fresh,
        request_id=meta.get("RequestId", ""),
    )


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


# --- what a failure was ----------------------------------------------------------------------------------------------

# Operating system error -> outcome: want of something on this machine, and a connection that could not be made.
_WANTS = {
    errno.EMFILE: Outcome.LOCAL_FD,
    errno.ENFILE: Outcome.LOCAL_FD,
    errno.EADDRNOTAVAIL: Outcome.LOCAL_PORT,
}
_NO_WAY = {
    errno.ECONNREFUSED: Outcome.CONNECT_REFUSED,
    errno.EHOSTUNREACH: Outcome.CONNECT_REFUSED,
    errno.ENETUNREACH: Outcome.CONNECT_REFUSED,
    errno.ETIMEDOUT: Outcome.CONNECT_TIMEOUT,
}
_Kinds = tuple[tuple[tuple[type[BaseException], ...], Outcome], ...]
# Exception -> outcome; the first row with any of the causes decides. These come before the connection's own errors,
_ABOVE: _Kinds = (
    ((sdk.ProxyConnectionError, aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError), Outcome.PROXY),
    ((socket.gaierror, aiohttp.ClientConnectorDNSError), Outcome.DNS),
    ((ssl.SSLError, ssl.CertificateError, aiohttp.ClientSSLError, sdk.SSLError), Outcome.TLS),
    ((sdk.NoCredentialsError, sdk.CredentialRetrievalError, sdk.TokenRetrievalError, sdk.SSOError), Outcome.AUTH),
)
# and these after them.
_BELOW: _Kinds = (
    ((sdk.ConnectTimeoutError, aiohttp.ConnectionTimeoutError), Outcome.CONNECT_TIMEOUT),
    ((sdk.IncompleteReadError, http_errors.ContentLengthError), Outcome.TRUNCATED),
    ((http_errors.HttpProcessingError, aiohttp.ClientResponseError, ResponseParserError), Outcome.PROTOCOL),
    ((aiohttp.ClientPayloadError,), Outcome.TRUNCATED),
)
_LOST = (ConnectionError, aiohttp.ClientConnectionError, sdk.ConnectionClosedError, sdk.ResponseStreamingError)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and everything it was raised for: botocore's `error`, aiohttp's `os_error`, Python's cause.

    Not `__context__`: the innermost one is whatever our caller happens to be handling.
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


def _judge(error: BaseException, trip: _Trip, *, is_tls: bool) -> tuple[Outcome, str]:
    """Decide which outcome a failure is, and name its cause in words that hold no address, header or payload."""
    causes = list(_causes(error))
    for decide in (
        _by_errno(_WANTS),
        _by_kind(_ABOVE),
        _by_errno({} if trip.sent else _NO_WAY),
        _cut,
        _by_kind(_BELOW),
    ):
        for cause in causes:
            if (outcome := decide(cause)) is not None:
                return outcome, _named(cause)
    for cause in reversed(causes):
        if isinstance(cause, TimeoutError | sdk.ReadTimeoutError):
            return Outcome.TIMEOUT_BODY if trip.answered else Outcome.TIMEOUT_TTFB, _named(cause)
        if isinstance(cause, _LOST):
            return _lost(causes, trip, is_tls=is_tls), _named(cause)
    return Outcome.OTHER, _named(causes[-1])


def _named(cause: BaseException) -> str:
    word = errno.errorcode.get(getattr(cause, "errno", None) or 0)
    return type(cause).__name__ + (f": {word}" if word else "")


def _by_errno(table: Mapping[int, Outcome]) -> Callable[[BaseException], Outcome | None]:
    return lambda cause: table.get(getattr(cause, "errno", None) or 0)


def _by_kind(table: _Kinds) -> Callable[[BaseException], Outcome | None]:
    return lambda cause: next((outcome for kinds, outcome in table if isinstance(cause, kinds)), None)


def _cut(cause: BaseException) -> Outcome | None:
    # aiohttp has one exception for a chunk that is wrong and one that is missing; only its text tells.
    is_cut = isinstance(cause, http_errors.TransferEncodingError) and cause.message.startswith("Not enough data")
    return Outcome.TRUNCATED if is_cut else None


def _lost(causes: list[BaseException], trip: _Trip, *, is_tls: bool) -> Outcome:
    """Decide what a lost connection was, by how far the request had come."""
    if trip.answered:
        return Outcome.TRUNCATED
    if not trip.connected:
        # The peer hung up while the connection was being opened: past TCP's own handshake only TLS is left.
        return Outcome.TLS if is_tls else Outcome.RESET
    for cause in causes:
        if isinstance(cause, aiohttp.ServerDisconnectedError) and not isinstance(cause.message, str):
            return Outcome.TRUNCATED  # aiohttp hands over the head it had read by then
    return Outcome.RESET if trip.is_fresh else Outcome.STALE_KEEPALIVE
