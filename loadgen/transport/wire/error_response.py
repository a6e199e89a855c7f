"""Error responses of InvokeEndpoint: error code, message and request id.

Rule: pure and total: an HTML error page, an empty body or a JSON list still gives a code.

Source: botocore/parsers.py, RestJSONParser: the code is in the header x-amzn-errortype, else in the body; the part
before a colon and after a number sign counts. Without either, the code is the status, as in botocore.
"""

import json
from typing import Any, NamedTuple

from loadgen.transport.wire.http1 import header_value

_MAX_MESSAGE_CHARACTERS = 1024  # of a server's error text, which may be an HTML page
_MAX_PARSED_BYTES = 64 * 1024  # a longer error body is truncated and not parsed


class ErrorResponse(NamedTuple):
    """Code, message and original status of an error response; None if it names no original status."""

    code: str
    message: str
    original_status: int | None


def request_id(head: bytes, head_lower: bytes) -> str:
    """Return the service's request id, or an empty string.

    Args:
        head: status line and headers.
        head_lower: the same in lower case.
    """
    value = header_value(head, head_lower, b"x-amzn-requestid")
    return "" if value is None else value.decode("latin-1")


def parse_error_response(status: int, head: bytes, body: bytes) -> ErrorResponse:
    r"""Parse an error response. Total: every response gives a code.

    Example:
        >>> head = b"HTTP/1.1 400 \r\nx-amzn-ErrorType: ThrottlingException\r\n\r\n"
        >>> parse_error_response(400, head, b'{"message":null}')
        ErrorResponse(code='ThrottlingException', message='', original_status=None)
    """
    members = _parse_members(body)
    header = header_value(head, head.lower(), b"x-amzn-errortype")
    code: Any = header.decode("latin-1") if header is not None else _first_present(members, "code", "Code", "__type")
    message = _first_present(members, "message", "Message")
    original = members.get("OriginalStatusCode")
    return ErrorResponse(
        _error_shape_name(code) or str(status) if isinstance(code, str) else str(code or status),
        str(message or "")[:_MAX_MESSAGE_CHARACTERS],
        container_status(original),
    )


def container_status(value: object) -> int | None:
    """Return OriginalStatusCode if it can be the status of a container: 0 to 999."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 999 else None


def _parse_members(body: bytes) -> dict[str, Any]:
    text = body[:_MAX_PARSED_BYTES].decode("utf-8", "replace")
    try:
        members = json.loads(text) if len(body) <= _MAX_PARSED_BYTES else None
    except (ValueError, RecursionError):
        members = None
    return members if isinstance(members, dict) else {"message": text}


def _first_present(members: dict[str, Any], *names: str) -> Any:
    return next((members[name] for name in names if name in members), None)


def _error_shape_name(code: str) -> str:
    return code.split(":", 1)[0].rsplit("#", 1)[-1].strip()
