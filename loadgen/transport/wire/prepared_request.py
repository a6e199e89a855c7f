"""A Request turned into the bytes of one InvokeEndpoint call.

Rule: pure. Everything that does not change from call to call is made once for each Request; the signature is made once
for each Request and second, which SigV4's one-second date makes valid; a call only writes its number into the middle.

The bytes are those that botocore sends for the same arguments, header by header, in botocore's order. The differences:

- `amz-sdk-invocation-id` (not signed) is a version 4 UUID whose last twelve digits count up, not a new random one;
- botocore that signs with awscrt writes `host` after User-Agent; without awscrt Host comes first, and so it does here;
- a header value's leading and trailing spaces are left out, which HTTP drops anyway (RFC 9110 section 5.5);
- aiohttp, under aiobotocore, adds `Accept: */*` when no Accept is given; botocore does not, and neither do we.
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
# Up to this size one copy and one buffer cost less than a second buffer in the system call: measured on loopback, 2026.
_JOIN_LIMIT = 16 * 1024
_AMZ_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_DATE_PLACEHOLDER = "\0"  # stands for the timestamp until it is known; no header value can hold it


class Origin(NamedTuple):
    """The far side of a URL: where to connect and what to call it."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        """The value of the Host header: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(url: str) -> Origin:
    """Read an endpoint URL.

    Raises:
        ConfigError: it is no http or https URL, or carries credentials, a query or a fragment.

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
        raise ConfigError("the endpoint URL cannot be used", hint="give http:// or https://, a host and perhaps a port")
    if parts.query or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError("the endpoint URL cannot be used", hint="it may hold no query, no fragment and only ASCII")
    return Origin(parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme], parts.path)


@dataclass(frozen=True, slots=True)
class InvokeRequestTemplate:
    """What all calls of one endpoint have in common.

    Args:
        origin: the endpoint URL.
        endpoint_name: the endpoint to invoke.
        region: the region in the signature's scope.
        service: the signing name.
        user_agent: the value of the User-Agent header.
        sdk_request: the value of the amz-sdk-request header; it tells that this is the only attempt.
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
    """One Request, prepared for one endpoint; signed anew whenever the second or the credentials change.

    Args:
        request: what is sent; it is not kept alive, but a large body is.
        template: where.
        signer: as whom.
        id_prefix: the first 24 characters of each call's name; its number follows.
        on_finalize: called when the Request is no more, so that this can be dropped.
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
        #: weak: a Request that nobody else holds must not be kept by its preparation
        self.request_ref = weakref.ref(request, on_finalize)
        self.signer = signer
        #: what follows the call's number; a large body is sent from its own buffer
        self.body = b"" if len(request.body) <= _JOIN_LIMIT else request.body
        self.bytes_after_id = rest if self.body else rest + request.body
        self.bytes_before_id = b""
        self.second = -1

    def sign(self, second: int) -> None:
        """Make `head` valid for the calls of this second.

        Args:
            second: whole seconds since the epoch, by the wall clock.
        """
        timestamp = time.strftime(_AMZ_DATE_FORMAT, time.gmtime(second))
        canonical = b"%b%b%b" % (self._canonical_before_date, timestamp.encode(), self._canonical_after_date)
        authorization = self.signer.authorization(timestamp, canonical, self._signed_headers)
        head = f"{self._header_lines}X-Amz-Date: {timestamp}{self._token_header}\r\nAuthorization: {authorization}{self._invocation_id_header}"
        self.bytes_before_id = head.encode()
        self.second = second


def parse_amz_date(timestamp: str) -> int:
    """Return the second since the epoch that an `X-Amz-Date` names, or -1 when it is none.

    Example:
        >>> parse_amz_date("20261122T101112Z")
        1795342272
    """
    try:
        return calendar.timegm(time.strptime(timestamp, _AMZ_DATE_FORMAT))
    except ValueError:
        return -1


def new_id_prefix() -> str:
    """Return the first 24 characters of a new version 4 UUID; twelve digits that count make it whole."""
    return str(uuid.uuid4())[:24]
