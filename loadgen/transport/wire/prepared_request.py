"""PreparedRequest: a Request as the bytes of an InvokeEndpoint call.

Rule: pure. What is the same for every call is built once for each Request; the signature is built once for each Request
and second, because SigV4 dates have a resolution of one second; a call only inserts its number.

The bytes equal those that botocore sends for the same arguments, header by header, in the same order, except:

- `amz-sdk-invocation-id` (not signed) is a version 4 UUID whose last twelve digits count up, not a new random one;
- botocore with awscrt writes `host` after User-Agent; without awscrt, and here, Host comes first;
- leading and trailing spaces of a header value are removed, as HTTP does (RFC 9110 section 5.5);
- aiohttp, under aiobotocore, adds `Accept: */*` if there is no Accept; botocore and this module do not.
"""

import calendar
import hashlib
import time
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from loadgen.errors import ConfigError
from loadgen.transport.wire.sigv4 import Signer, canonical_request
from loadgen.workload.request import Request

# Member -> header. Source: botocore service model sagemaker-runtime 2017-05-13, in its order.
_MEMBER_HEADERS = (
    ("content_type", "Content-Type"),
    ("accept", "Accept"),
    ("custom_attributes", "X-Amzn-SageMaker-Custom-Attributes"),
    ("target_model", "X-Amzn-SageMaker-Target-Model"),
    ("target_variant", "X-Amzn-SageMaker-Target-Variant"),
    ("target_container_hostname", "X-Amzn-SageMaker-Target-Container-Hostname"),
    ("inference_id", "X-Amzn-SageMaker-Inference-Id"),
    ("enable_explanations", "X-Amzn-SageMaker-Enable-Explanations"),
    ("inference_component_name", "X-Amzn-SageMaker-Inference-Component"),
    ("session_id", "X-Amzn-SageMaker-Session-Id"),
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Up to this size a copy into one buffer costs less than a second buffer in sendmsg: measured on loopback, 2026.
_JOIN_LIMIT = 16 * 1024
_AMZ_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_DATE_PLACEHOLDER = "\0"  # in place of the timestamp until signing; no header value can contain it


class Origin(NamedTuple):
    """Scheme, host, port and path of an endpoint URL."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        """The value of the Host header, without the port if it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(url: str) -> Origin:
    """Parse an endpoint URL.

    Raises:
        ConfigError: not an http or https URL, or one with credentials, a query or a fragment.

    Example:
        >>> parse_url("https://runtime.sagemaker.us-east-1.amazonaws.com").host_header
        'runtime.sagemaker.us-east-1.amazonaws.com'
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigError("the endpoint URL's port is not a number from 0 to 65535") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username is not None:
        raise ConfigError("invalid endpoint URL", hint="give http:// or https://, a host and an optional port")
    if parts.query or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError("invalid endpoint URL", hint="use ASCII only, without a query or a fragment")
    return Origin(parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme], parts.path)


@dataclass(frozen=True, slots=True)
class InvokeRequestTemplate:
    """The parts that all calls of one endpoint have in common.

    Args:
        origin: the endpoint URL.
        endpoint_name: the endpoint to invoke.
        region: the region in the signature's scope.
        service: the signing name.
        user_agent: the value of the User-Agent header.
        sdk_request: the value of the amz-sdk-request header, which counts attempts.
    """

    origin: Origin
    endpoint_name: str
    region: str
    service: str
    user_agent: str
    sdk_request: str = "attempt=1"

    @property
    def path(self) -> str:
        """The request's path. Source: `POST /endpoints/{EndpointName}/invocations`, joined as botocore joins it."""
        name = quote(self.endpoint_name, safe="-._~")
        return f"{self.origin.path.rstrip('/')}/endpoints/{name}/invocations"


class PreparedRequest:
    """A Request prepared for one endpoint; signed again whenever the second or the credentials change.

    Args:
        request: to send; referenced weakly, except for a large body.
        template: endpoint and headers.
        signer: credentials, region and service.
        id_prefix: the first 24 characters of each invocation id; the call's number follows.
        on_finalize: called when the Request is garbage-collected.
    """

    __slots__ = (
        "_canonical_after_date",
        "_canonical_before_date",
        "_header_lines",
        "_invocation_id_header",
        "_signed_headers",
        "_token_header",
        "body",
        "bytes_after_id",
        "bytes_before_id",
        "request_ref",
        "second",
        "signer",
    )

    def __init__(
        self,
        request: Request,
        template: InvokeRequestTemplate,
        signer: Signer,
        *,
        id_prefix: str,
        on_finalize: Callable[[object], None] | None = None,
    ) -> None:
        given = {
            name: value.strip() for member, name in _MEMBER_HEADERS if (value := getattr(request, member)) is not None
        }
        signed = given | {"host": template.origin.host_header, "x-amz-date": _DATE_PLACEHOLDER}
        if signer.credentials.token:
            signed["x-amz-security-token"] = signer.credentials.token
        canonical, self._signed_headers = canonical_request(
            "POST", template.path, signed, hashlib.sha256(request.body).hexdigest()
        )
        before, after = canonical.split(_DATE_PLACEHOLDER)
        self._canonical_before_date = before.encode()
        self._canonical_after_date = after.encode()
        lines = {"Host": template.origin.host_header, "Accept-Encoding": "identity"} | given
        lines["User-Agent"] = template.user_agent
        token = signer.credentials.token
        self._token_header = f"\r\nX-Amz-Security-Token: {token}" if token else ""
        start = f"POST {template.path} HTTP/1.1\r\n"
        self._header_lines = start + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._invocation_id_header = f"\r\namz-sdk-invocation-id: {id_prefix}"
        rest = f"\r\namz-sdk-request: {template.sdk_request}\r\nContent-Length: {len(request.body)}\r\n\r\n".encode()
        #: weak, so that this object does not keep the Request alive
        self.request_ref = weakref.ref(request, on_finalize)
        self.signer = signer
        #: a large body is sent from its own buffer, without a copy
        self.body = b"" if len(request.body) <= _JOIN_LIMIT else request.body
        self.bytes_after_id = rest if self.body else rest + request.body
        self.bytes_before_id = b""
        self.second = -1

    def sign(self, second: int) -> None:
        """Build `bytes_before_id` for the calls of this second.

        Args:
            second: whole seconds since the epoch.
        """
        timestamp = time.strftime(_AMZ_DATE_FORMAT, time.gmtime(second))
        canonical = b"%b%b%b" % (self._canonical_before_date, timestamp.encode(), self._canonical_after_date)
        authorization = self.signer.authorization(timestamp, canonical, self._signed_headers)
        head = (
            f"{self._header_lines}X-Amz-Date: {timestamp}{self._token_header}"
            f"\r\nAuthorization: {authorization}{self._invocation_id_header}"
        )
        self.bytes_before_id = head.encode()
        self.second = second


def parse_amz_date(timestamp: str) -> int:
    """Return the epoch second of an `X-Amz-Date`, or -1 if it is invalid.

    Example:
        >>> parse_amz_date("20261122T101112Z")
        1795342272
    """
    try:
        return calendar.timegm(time.strptime(timestamp, _AMZ_DATE_FORMAT))
    except ValueError:
        return -1


def new_id_prefix() -> str:
    """Return the first 24 characters of a new version 4 UUID; the call's twelve digits complete it."""
    return str(uuid.uuid4())[:24]
