"""Whether a response of the control plane can be from AWS, checked before botocore parses it.

A sign-in page, a proxy or a web server at the wrong URL answers with HTML or plain text. botocore's XML parser raises
an error without the HTTP status for it; its JSON parser returns an empty result. A failure of the service itself (5xx)
is left to botocore, which retries it.
"""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError

_HTML_STARTS = (b"<!doctype html", b"<html")
# First byte of a response body by protocol; other protocols are not checked.
_FIRST_BYTES = {"json": b"{", "rest-json": b"{", "query": b"<", "rest-xml": b"<"}


class UnrecognizedResponseError(BotoCoreError):  # type: ignore[misc]
    """The response is not in the service's format. It names the HTTP status and the content type, not the content."""

    fmt = "HTTP {status}, {content_type}, {length} bytes"


def register_response_check(client: Any) -> None:
    """Check each response of a client before it is parsed."""
    client.meta.events.register("before-parse", _on_response, unique_id="loadgen-response-check")


def _on_response(operation_model: Any, response_dict: Mapping[str, Any], **_: object) -> None:
    check_response(str(operation_model.service_model.resolved_protocol), response_dict)


def check_response(protocol: str, response: Mapping[str, Any]) -> None:
    """Refuse a response that cannot be from AWS.

    Args:
        protocol: of the service, such as `query`.
        response: botocore's, with `status_code`, `headers` and `body`; a streamed body is not checked.

    Raises:
        UnrecognizedResponseError: HTML, or a successful response in another format than the protocol's.
    """
    status, body = response["status_code"], response["body"]
    if status >= 500 or not isinstance(body, bytes):
        return
    start = body.lstrip()[:16].lower()
    first_byte = _FIRST_BYTES.get(protocol, start[:1])
    is_other_format = status < 300 and bool(start) and not start.startswith(first_byte)
    # The parsers of the other protocols accept an empty body.
    is_empty = protocol == "query" and not start
    if start.startswith(_HTML_STARTS) or is_other_format or is_empty:
        content_type = str(response["headers"].get("content-type") or "no content type").partition(";")[0]
        raise UnrecognizedResponseError(status=status, content_type=content_type[:80], length=len(body))
