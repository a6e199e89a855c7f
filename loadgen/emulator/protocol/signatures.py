"""Signature Version 4 on the server's side: whether a request was signed with a key of the account. Pure.

Checked are the Authorization header and presigned query strings, the body's hash, the time, the scope, and the
signatures of the chunks and trailers of an aws-chunked body. A session token is covered by the signature, but its value
is not checked. Source: AWS IAM User Guide, "Create a signed AWS API request"; S3 API reference, "Signature Calculations
for the Authorization Header: Transferring Payload in Multiple Chunks".
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote, unquote_to_bytes

from loadgen.emulator.protocol.signature_errors import SignatureErrors
from loadgen.transport.wire.sigv4 import ALGORITHM, canonical_path, signing_key

_FIELDS = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]*)")
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_MAX_EXPIRES = 7 * 86400  # S3 API reference, X-Amz-Expires
_MAX_SKEW = {"s3": timedelta(minutes=15)}  # S3 error responses, RequestTimeTooSkewed
_DEFAULT_SKEW = timedelta(minutes=5)  # as the messages of the other services say
_UNSIGNED = frozenset({"UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"})
_SIGNED_CHUNKS = frozenset({"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"})
_TARGET_SIGNING_NAMES = {"GraniteServiceVersion20100801": "monitoring", "ServiceQuotasV20190624": "servicequotas"}
_EMPTY_HASH = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One request as it was received.

    Args:
        method: HTTP method.
        path: path as it was sent, percent-encoded.
        query: query string.
        headers: headers by lower-case name; several of one name are joined by commas.
        body: the whole body; empty if it was not kept.
        body_hash: SHA-256 of a body that was not kept, in hex; empty for the one of `body`.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    body_hash: str = ""


@dataclass(frozen=True, slots=True)
class _Signature:
    """What a request says about its signature; `expires` is in seconds, None in an Authorization header."""

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    timestamp: str
    expires: int | None

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def verify_signature(request: SignedRequest, *, keys: Mapping[str, str], region: str, service: str, now: float) -> None:
    """Check the signature of a request.

    Args:
        request: the request.
        keys: access key id -> secret access key.
        region: region of the account.
        service: signing name of the service that the request is for.
        now: epoch seconds.

    Raises:
        ServiceError: there is no valid signature, in the words of the service.
    """
    errors = SignatureErrors(service)
    given = _read_signature(request, errors)
    if not request.path.isascii() or not request.query.isascii():
        raise errors.mismatch("a request line that is not percent-encoded cannot be signed")
    if given.access_key not in keys:
        raise errors.unknown_key(given.access_key)
    _check_time(given, now, errors)
    if given.region != region:
        raise errors.wrong_region(given.region, region)
    if given.service != service:
        raise errors.wrong_service(given.service, service)
    if "host" not in given.signed_headers:
        raise errors.incomplete("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    if missing := [name for name in given.signed_headers if name not in request.headers]:
        raise errors.mismatch(f"signed headers that the request does not have: {', '.join(missing)}")
    if service == "s3":
        unsigned = {name for name in request.headers if name.startswith("x-amz-")} - set(given.signed_headers)
        if unsigned - {"x-amz-content-sha256"}:
            raise errors.unsigned_headers(sorted(unsigned))
    payload_hash = _payload_hash(request, given, errors)
    canonical = _canonical_request(request, given, payload_hash)
    key = signing_key(keys[given.access_key], given.date, given.region, given.service)
    expected = _sign(key, ALGORITHM, given, hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest())
    if not hmac.compare_digest(expected.encode(), given.signature.encode("utf-8", "replace")):
        raise errors.mismatch(f"the canonical request was {canonical!r}")
    if payload_hash in _SIGNED_CHUNKS:
        _check_chunks(request.body, key, given, errors)


def signing_service(authorization: str, query: str) -> str:
    """Return the service in the credential scope of a header or a presigned query string, empty if there is none.

    Example:
        >>> signing_service("AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/s3/aws4_request, ...", "")
        's3'
    """
    _, found, rest = authorization.partition("Credential=")
    if found:
        scope = rest.partition(",")[0].split("/")
    else:
        scope = _query_pairs(query).get("X-Amz-Credential", "").split("/") if "X-Amz-Credential=" in query else []
    return scope[-2] if len(scope) >= 5 else ""


def query_security_token(query: str) -> str:
    """Return the session token in a presigned query string, empty if there is none.

    Example:
        >>> query_security_token("X-Amz-Date=20260101T000000Z&X-Amz-Security-Token=a%2Fb")
        'a/b'
    """
    return _query_pairs(query).get("X-Amz-Security-Token", "") if "X-Amz-Security-Token=" in query else ""


def signing_name(target: str | None, path: str, scope: str) -> str:
    """Return the signing name of the service that a request other than S3's is for.

    It is empty for the emulator's own pages, which need no signature.

    Args:
        target: the header X-Amz-Target, None if there is none.
        path: path of the request.
        scope: service in the credential scope, which tells apart the services of the query protocol.
    """
    if target is not None:
        return _TARGET_SIGNING_NAMES.get(target.partition(".")[0], "sagemaker")
    if path in {"/ledger", "/faults"}:
        return ""
    if path == "/":
        return "sts" if scope == "sts" else "monitoring"
    return "sagemaker"


def _query_pairs(query: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return {unquote(name): unquote(value) for name, _, value in pairs}


def _read_signature(request: SignedRequest, errors: SignatureErrors) -> _Signature:
    authorization, query = request.headers.get("authorization", ""), _query_pairs(request.query)
    expires: int | None = None
    if authorization:
        algorithm, fields = authorization.partition(" ")[0], dict(_FIELDS.findall(authorization))
        timestamp = request.headers.get("x-amz-date", "")
    elif "X-Amz-Algorithm" in query:
        algorithm, timestamp = query["X-Amz-Algorithm"], query.get("X-Amz-Date", "")
        fields = {name: query.get(f"X-Amz-{name}", "") for name in ("Credential", "SignedHeaders", "Signature")}
        text = query.get("X-Amz-Expires", "")
        if not re.fullmatch("[0-9]{1,9}", text) or int(text) > _MAX_EXPIRES:
            raise errors.incomplete(f"X-Amz-Expires must be a number of seconds up to {_MAX_EXPIRES}.")
        expires = int(text)
    else:
        raise errors.missing()
    if algorithm != ALGORITHM:
        raise errors.incomplete(f"Unsupported AWS 'algorithm': '{algorithm[:40]}'.")
    for name in ("Credential", "Signature", "SignedHeaders"):
        if not fields.get(name):
            raise errors.incomplete(f"Authorization header requires '{name}' parameter.")
    access_key, *scope = fields["Credential"].rsplit("/", 4)
    if len(scope) != 4 or scope[3] != "aws4_request":
        raise errors.incomplete(f"Credential must have 5 elements and end with aws4_request, not {len(scope) + 1}.")
    if not re.fullmatch("[0-9]{8}T[0-9]{6}Z", timestamp, re.ASCII):
        raise errors.incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    names = tuple(fields["SignedHeaders"].split(";"))
    return _Signature(access_key, scope[0], scope[1], scope[2], names, fields["Signature"], timestamp, expires)


def _check_time(given: _Signature, now: float, errors: SignatureErrors) -> None:
    try:
        signed = datetime.strptime(given.timestamp, _TIMESTAMP).replace(tzinfo=UTC)
    except ValueError as error:
        raise errors.incomplete("Date must be in ISO-8601 'basic format'.") from error
    current, skew = datetime.fromtimestamp(now, UTC), _MAX_SKEW.get(errors.service, _DEFAULT_SKEW)
    if given.date != given.timestamp[:8]:
        raise errors.mismatch_of_date(given.date, given.timestamp)
    if given.expires is not None and current > signed + timedelta(seconds=given.expires):
        raise errors.request_expired()
    is_early = given.expires is None and current - signed > skew
    if is_early or signed - current > skew:
        raise errors.skewed(given.timestamp, current.strftime(_TIMESTAMP), skew, is_early=is_early)


def _payload_hash(request: SignedRequest, given: _Signature, errors: SignatureErrors) -> str:
    computed = request.body_hash or hashlib.sha256(request.body).hexdigest()
    if errors.service != "s3":
        return computed
    if given.expires is not None:
        return request.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    declared = request.headers.get("x-amz-content-sha256")
    if declared is None:
        raise errors.missing_payload_hash()
    if declared not in _UNSIGNED | _SIGNED_CHUNKS and declared != computed:
        raise errors.wrong_payload_hash(declared, computed)
    return declared


def _canonical_request(request: SignedRequest, given: _Signature, payload_hash: str) -> str:
    # S3 encodes the path once and keeps its segments; every other service normalizes it and encodes it again.
    is_s3 = given.service == "s3"
    path = quote(unquote_to_bytes(request.path), safe="/~") if is_s3 else canonical_path(request.path)
    pairs = [pair.partition("=") for pair in request.query.split("&") if pair]
    query = "&".join(
        f"{name}={value}"
        for name, value in sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
        if name != "X-Amz-Signature"
    )
    lines = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in given.signed_headers)
    signed = ";".join(given.signed_headers)
    return f"{request.method}\n{path}\n{query}\n{lines}\n{signed}\n{payload_hash}"


def _encoded(text: str) -> str:
    # As bytes: they need not be UTF-8.
    return quote(unquote_to_bytes(text), safe="~")


def _sign(key: bytes, algorithm: str, given: _Signature, *lines: str) -> str:
    text = "\n".join((algorithm, given.timestamp, given.scope, *lines))
    return hmac.digest(key, text.encode(), "sha256").hex()


def _check_chunks(body: bytes, key: bytes, given: _Signature, errors: SignatureErrors) -> None:
    """Check the chain of signatures of an aws-chunked body: each covers a chunk and the signature before it."""
    previous, at = given.signature, 0
    while True:
        end = body.find(b"\r\n", at)
        header = re.fullmatch(rb"([0-9a-fA-F]{1,8});chunk-signature=([0-9a-f]{64})", body[at:end] if end >= 0 else b"")
        if header is None:
            raise errors.mismatch("a chunk has no chunk-signature")
        size, signature = int(header[1], 16), header[2].decode()
        chunk, at = body[end + 2 : end + 2 + size], end + 2 + size
        digest = hashlib.sha256(chunk).hexdigest()
        expected = _sign(key, f"{ALGORITHM}-PAYLOAD", given, previous, _EMPTY_HASH, digest)
        if not hmac.compare_digest(expected, signature):
            raise errors.mismatch(f"the chunk of {size} bytes that ends at byte {at}")
        previous = signature
        if not size:
            break
        at += 2
    _check_trailers(body[at:], key, given, previous, errors)


def _check_trailers(text: bytes, key: bytes, given: _Signature, previous: str, errors: SignatureErrors) -> None:
    lines = [line.partition(b":") for line in text.split(b"\r\n") if line]
    trailers = {name.strip().lower(): value.strip() for name, _, value in lines}
    signature = trailers.pop(b"x-amz-trailer-signature", None)
    if signature is None and not trailers:
        return
    covered = b"".join(name + b":" + value + b"\n" for name, value in sorted(trailers.items()))
    expected = _sign(key, f"{ALGORITHM}-TRAILER", given, previous, hashlib.sha256(covered).hexdigest())
    if signature is None or not hmac.compare_digest(expected.encode(), signature):
        raise errors.mismatch("the trailers")
