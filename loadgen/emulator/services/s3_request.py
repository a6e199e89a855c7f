"""S3Request: one request to S3, and the readers of its parts: body, numbers, ranges, XML, copy source. Pure.

Every reader raises a ServiceError of status 400 or above for what it cannot read, or 501 for what the emulator lacks.
"""

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree as ET

from loadgen.emulator.protocol.errors import ServiceError

_MAX_KEY_BYTES = 1024  # user guide, "Naming Amazon S3 objects"
_DIGITS = re.compile("[0-9]+")
_MAX_DIGITS = 18  # a larger number is beyond every limit, and int() refuses some thousands of digits
# Headers that change what an operation does, or would change it in an account that has encryption, ACLs and classes.
_READ_HEADERS = frozenset(
    f"x-amz-{name}"
    for name in (
        *("date", "content-sha256", "security-token", "decoded-content-length", "trailer", "sdk-checksum-algorithm"),
        *("copy-source", "copy-source-range", "copy-source-if-match", "copy-source-if-none-match", "user-agent"),
        *("metadata-directive", "expected-bucket-owner", "source-expected-bucket-owner", "request-payer", "acl"),
        *("server-side-encryption", "server-side-encryption-aws-kms-key-id", "storage-class", "object-ownership"),
    )
)
_READ_PREFIXES = ("x-amz-meta-", "x-amz-checksum-")
_SIGNATURE_PARAMETERS = frozenset(
    {"x-id"}
    | {
        f"X-Amz-{name}"
        for name in (
            *("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"),
            *("Security-Token", "Content-Sha256"),
        )
    }
)
_UNSUPPORTED_CONDITIONS = frozenset({"if-modified-since", "if-unmodified-since", "if-range"})


@dataclass(frozen=True, slots=True)
class S3Request:
    """One request to S3.

    Args:
        method: HTTP method.
        path: path as it was sent, percent-encoded.
        query: query string.
        headers: headers by lower-case name.
        body: the whole body.
        now: epoch seconds.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    now: float

    def place(self) -> tuple[str, str]:
        """Return bucket and key; both may be empty."""
        return _split_path(unquote(_without_surrogates(self.path)).lstrip("/"))

    def parameters(self) -> dict[str, str]:
        """Return the parameters of the query string, without the SDKs' own `x-id` and those of a signature."""
        named = dict(parse_qsl(_without_surrogates(self.query), keep_blank_values=True))
        return {name: value for name, value in named.items() if name not in _SIGNATURE_PARAMETERS}

    def check_headers(self) -> None:
        """Check that no header asks for something that the emulator would not do.

        Raises:
            ServiceError: NotImplemented, with the name of the header.
        """
        for name in self.headers:
            is_read = name in _READ_HEADERS or name.startswith(_READ_PREFIXES)
            if (name.startswith("x-amz-") and not is_read) or name in _UNSUPPORTED_CONDITIONS:
                raise not_implemented(f"header {name[:80]}")

    def metadata(self) -> dict[str, str]:
        """Return the object metadata that the headers give."""
        prefix = "x-amz-meta-"
        return {name.removeprefix(prefix): value for name, value in self.headers.items() if name.startswith(prefix)}

    def content(self) -> bytes:
        """Return the object's or part's bytes, checked against the digests that the request gives.

        Raises:
            ServiceError: IncompleteBody, InvalidDigest or BadDigest.
        """
        given = dict(self.headers)
        body = self.body
        if "aws-chunked" in self.headers.get("content-encoding", ""):
            body, trailers = _unframe(self.body)
            given |= trailers
            decoded = self.headers.get("x-amz-decoded-content-length")
            if decoded is not None and parse_int(decoded) != len(body):
                raise _incomplete_body()
        _check_digests(given, body)
        return body


def not_implemented(what: str) -> ServiceError:
    """Build the error for what S3 has and the emulator lacks."""
    return ServiceError("NotImplemented", f"The emulator does not support this operation of S3: {what}.", 501)


def check_key(key: str) -> None:
    """Check the length of a new object's key.

    Raises:
        ServiceError: KeyTooLongError.
    """
    size = len(key.encode())
    if size > _MAX_KEY_BYTES:
        extra = {"Size": size, "MaxSizeAllowed": _MAX_KEY_BYTES}
        raise ServiceError("KeyTooLongError", "Your key is too long", 400, extra)


def parse_int(text: str, *, least: int = 0, most: int = 10**_MAX_DIGITS) -> int:
    """Return a decimal number of ASCII digits within bounds.

    Raises:
        ServiceError: InvalidArgument.
    """
    number = int(text) if _DIGITS.fullmatch(text) and len(text) <= _MAX_DIGITS else -1
    if not least <= number <= most:
        raise ServiceError("InvalidArgument", f"A number from {least} to {most} was expected.", 400)
    return number


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return first and last byte of a Range header, or None if the header is to be ignored.

    Raises:
        ServiceError: InvalidRange: no byte of the object is in the range.

    Example:
        >>> parse_range("bytes=2-", 5), parse_range("bytes=-2", 5), parse_range("lines=1-2", 5)
        ((2, 4), (3, 4), None)
    """
    requested = re.fullmatch("bytes=([0-9]*)-([0-9]*)", text)
    if requested is None or requested.groups() == ("", ""):
        return None
    first, last = (None if not digits else _large_int(digits) for digits in requested.groups())
    start = first if first is not None else max(0, size - (last or 0))
    end = min(size - 1, last) if first is not None and last is not None else size - 1
    if start > end:
        raise ServiceError("InvalidRange", "The requested range is not satisfiable", 416)
    return start, end


def _large_int(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS


def parse_copy_source(text: str) -> tuple[str, str]:
    """Return bucket and key of an x-amz-copy-source header.

    Raises:
        ServiceError: InvalidArgument, or NotImplemented for a version of an object.
    """
    path, _, query = text.partition("?")
    if query:
        raise not_implemented("a version of the source")
    bucket, key = _split_path(unquote(path).lstrip("/"))
    if not bucket or not key:
        message = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
        raise ServiceError("InvalidArgument", message, 400)
    return bucket, key


def parse_xml(body: bytes, root: str) -> ET.Element:
    """Return the root element of a body.

    Raises:
        ServiceError: MalformedXML: not XML in UTF-8 with this root, or it has a document type.
    """
    malformed = ServiceError("MalformedXML", "The XML you provided was not well-formed.", 400)
    try:
        # As text, so that the declared encoding is not used: it could hide a document type, whose entities expand.
        text = body.decode("utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise malformed
        element = ET.fromstring(text)  # noqa: S314 - see above
    except (ET.ParseError, ValueError) as error:
        raise malformed from error
    if local_name(element) != root:
        raise malformed
    return element


def local_name(element: ET.Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def child_text(element: ET.Element, name: str) -> str:
    """Return the text of the first child of this name, empty if there is none."""
    return next((child.text or "" for child in element if local_name(child) == name), "")


def _split_path(path: str) -> tuple[str, str]:
    bucket, _, key = path.partition("/")
    return bucket, key


def _without_surrogates(text: str) -> str:
    # Bytes of a request line that are not ASCII arrive as surrogates, which cannot be written in a response.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _incomplete_body() -> ServiceError:
    message = "You did not provide the number of bytes specified by the Content-Length HTTP header."
    return ServiceError("IncompleteBody", message, 400)


def _unframe(framed: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the body and the trailers inside the chunk framing aws-chunked (S3 API reference)."""
    chunks, at = [], 0
    while True:
        end = framed.find(b"\r\n", at)
        header = framed[at:end].partition(b";")[0] if end >= 0 else b""
        if not re.fullmatch(b"[0-9a-fA-F]{1,8}", header):
            raise _incomplete_body()
        size, at = int(header, 16), end + 2
        if not size:
            break
        if framed[at + size : at + size + 2] != b"\r\n":
            raise _incomplete_body()
        chunks.append(framed[at : at + size])
        at += size + 2
    lines = framed[at:].decode("latin-1").split("\r\n")
    trailers = (line.partition(":") for line in lines if ":" in line)
    return b"".join(chunks), {name.strip().lower(): value.strip() for name, _, value in trailers}


_DIGESTS: Mapping[str, Callable[[bytes], bytes]] = {
    "content-md5": lambda body: hashlib.md5(body).digest(),  # noqa: S324 - S3's own
    "x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda body: hashlib.sha1(body).digest(),  # noqa: S324 - S3's own
    "x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
}


def _check_digests(given: Mapping[str, str], body: bytes) -> None:
    for name, digest in _DIGESTS.items():
        if name not in given:
            continue
        computed = digest(body)
        try:
            read = base64.b64decode(given[name], validate=True)
        except (binascii.Error, ValueError):
            read = b""
        if len(read) != len(computed):
            raise ServiceError("InvalidDigest", f"The {name} you specified is not valid.", 400)
        if read != computed:
            raise ServiceError("BadDigest", f"The {name} you specified did not match what we received.", 400)
