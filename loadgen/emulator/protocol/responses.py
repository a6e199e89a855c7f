"""HTTP responses: results and errors, encoded in each of AWS's protocols. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import count
from typing import Any
from xml.sax.saxutils import escape

import orjson

from loadgen.emulator.protocol.errors import ServiceError

JSON_10 = "application/x-amz-json-1.0"
JSON_11 = "application/x-amz-json-1.1"
PLAIN_JSON = "application/json"
XML = "text/xml"
CLOUDWATCH_NAMESPACE = "http://monitoring.amazonaws.com/doc/2010-08-01/"
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_REASON_PHRASES = {status.value: status.phrase for status in HTTPStatus}
# Characters that XML 1.0 excludes, escaped or not (section 2.2 of the recommendation).
_INVALID_XML_CHARACTERS = dict.fromkeys(
    [*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF, *range(0xD800, 0xE000)], "\N{REPLACEMENT CHARACTER}"
)


class DropConnection(Exception):  # noqa: N818  an instruction to the server, not an error
    """The connection is to be closed without a response."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete HTTP response.

    Args:
        status: HTTP status.
        body: bytes of the body.
        content_type: value of the Content-Type header.
        headers: further headers, as (name, value) without line breaks.
        close_connection: whether the server closes the connection after it.
    """

    status: int
    body: bytes | memoryview = b""
    content_type: str = PLAIN_JSON
    headers: tuple[tuple[str, str], ...] = ()
    close_connection: bool = False

    def encode_head(self, request_id: str, emulator_header: str, *, connection_header: str = "") -> bytes:
        """Return the head as bytes; an empty `connection_header` leaves out the Connection header."""
        lines = [
            f"HTTP/1.1 {self.status} {_REASON_PHRASES.get(self.status, 'Unknown')}",
            f"x-amzn-RequestId: {request_id}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            emulator_header,
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        if connection_header:
            lines.append(f"Connection: {connection_header}")
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"


def request_ids(seed: int) -> Iterator[str]:
    """Yield request ids: distinct UUIDs, reproducible by seed.

    Example:
        >>> next(request_ids(1))
        '00000001-0000-4000-8000-000000000001'
    """
    prefix = f"{seed & 0xFFFFFFFF:08x}-0000-4000-8000-"
    for number in count(1):
        yield f"{prefix}{number:012x}"


def json_response(value: Mapping[str, Any] | None, content_type: str) -> HttpResponse:
    """Encode a result as JSON; None gives an empty body, the response of operations without an output shape."""
    if value is None:
        return HttpResponse(200, b"", content_type)
    # AWS's JSON has timestamps as epoch seconds; orjson would write ISO 8601.
    return HttpResponse(200, orjson.dumps(value, _to_epoch_seconds, orjson.OPT_PASSTHROUGH_DATETIME), content_type)


def _to_epoch_seconds(value: object) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def json_error(error: ServiceError, content_type: str, *, is_query_mode: bool = False) -> HttpResponse:
    """Encode an error for the JSON protocols; query mode adds the header with the query protocol's code."""
    fault = "Sender" if error.status < 500 else "Receiver"
    headers = (("x-amzn-query-error", f"{error.code};{fault}"),) if is_query_mode else ()
    body = orjson.dumps({"__type": error.code, "message": error.message} | error.extra)
    return HttpResponse(error.status, body, content_type, headers)


def rest_error(error: ServiceError) -> HttpResponse:
    """Encode an error for REST JSON, which carries the code in a header."""
    body = orjson.dumps({"message": error.message} | error.extra)
    return HttpResponse(error.status, body, PLAIN_JSON, (("x-amzn-ErrorType", error.code),))


def xml_response(operation: str, value: Mapping[str, Any], *, namespace: str, request_id: str) -> HttpResponse:
    """Encode a result for the query protocol; lists become `member` elements."""
    result = f"<{operation}Result>{_xml_elements(value)}</{operation}Result>"
    metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    text = f'<{operation}Response xmlns="{namespace}">{result}{metadata}</{operation}Response>'
    return HttpResponse(200, text.encode(), XML)


def xml_error(error: ServiceError, *, namespace: str, request_id: str) -> HttpResponse:
    """Encode an error for the query protocol."""
    fault = "Sender" if error.status < 500 else "Receiver"
    inner = _xml_elements({"Type": fault, "Code": error.code, "Message": error.message or ""})
    text = (
        f'<ErrorResponse xmlns="{namespace}"><Error>{inner}</Error><RequestId>{request_id}</RequestId></ErrorResponse>'
    )
    return HttpResponse(error.status, text.encode(), XML)


class XmlEntries(dict[str, float]):
    """A map that the query protocol writes as `entry` elements with key and value."""


def _xml_elements(value: Mapping[str, Any]) -> str:
    return "".join(f"<{name}>{_xml_content(inner)}</{name}>" for name, inner in value.items())


def _xml_content(value: Any) -> str:
    if isinstance(value, XmlEntries):
        return "".join(f"<entry><key>{xml_text(k)}</key><value>{v!r}</value></entry>" for k, v in value.items())
    if isinstance(value, Mapping):
        return _xml_elements(value)
    if isinstance(value, list):
        return "".join(f"<member>{_xml_content(inner)}</member>" for inner in value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return "true" if value else "false"
    return xml_text(str(value))


def xml_text(value: str) -> str:
    """Escape a text for XML; characters that XML excludes become replacement characters."""
    return escape(value.translate(_INVALID_XML_CHARACTERS))
