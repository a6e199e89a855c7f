"""Whether a response of the control plane can be from AWS, checked before botocore parses it.

A sign-in page, a proxy or a web server at the wrong URL answers with HTML or plain text. botocore's XML parser raises
an error without the HTTP status for it; its JSON parser returns an empty result. A failure of the service itself (5xx)
is left to botocore, which retries it.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError

_HTML_STARTS = (b"<!doctype html", b"<html")
# First byte of a response body by protocol; other protocols are not checked.
_FIRST_BYTES = {"json": b"{", "rest-json": b"{", "query": b"<", "rest-xml": b"<"}


class UnrecognizedResponseError(BotoCoreError):  # type: ignore[misc]
    """The response is not in the service's format. It names the HTTP status and the content type, not the content."""

    fmt = "HTTP {status}, {content_type}, {length} bytes"


class RedirectError(BotoCoreError):  # type: ignore[misc]
    """The response is a redirect, which is not followed. It names the URLs without query and user name."""

    fmt = "HTTP {status}: {url} redirects to {location}"


class DeniedWithoutReasonError(BotoCoreError):  # type: ignore[misc]
    """The response is an HTTP 401 or 403 without a body."""

    fmt = "HTTP {status} without a body"


def register_response_check(client: Any) -> None:
    """Check each response of a client before it is parsed."""
    url = str(client.meta.endpoint_url)

    def on_response(operation_model: Any, response_dict: Mapping[str, Any], **_: object) -> None:
        check_response(str(operation_model.service_model.resolved_protocol), response_dict, url=url)

    client.meta.events.register("before-parse", on_response, unique_id="loadgen-response-check")


def check_response(protocol: str, response: Mapping[str, Any], *, url: str = "") -> None:
    """Refuse a response that cannot be from AWS.

    Args:
        protocol: of the service, such as `query`.
        response: botocore's, with `status_code`, `headers` and `body`; a streamed body is not checked.
        url: of the service, for the message of a redirect.

    Raises:
        RedirectError: a redirect, other than one of S3 to another region, which the SDK handles.
        DeniedWithoutReasonError: HTTP 401 or 403 without a body.
        UnrecognizedResponseError: HTML, or a successful response in another format than the protocol's.
    """
    status, body = response["status_code"], response["body"]
    if status >= 500 or not isinstance(body, bytes):
        return
    start = body.lstrip()[:16].lower()
    if 300 <= status < 400 and not _is_s3_region_redirect(protocol, response["headers"], start):
        location = str(response["headers"].get("location") or "")
        raise RedirectError(status=status, url=_without_query(url), location=_without_query(location) or "no location")
    if status in (401, 403) and not start and protocol != "rest-xml":  # S3 answers HEAD requests without a body
        raise DeniedWithoutReasonError(status=status)
    first_byte = _FIRST_BYTES.get(protocol, start[:1])
    is_other_format = status < 300 and bool(start) and not start.startswith(first_byte)
    # The parsers of the other protocols accept an empty body.
    is_empty = protocol == "query" and not start
    if start.startswith(_HTML_STARTS) or is_other_format or is_empty:
        content_type = str(response["headers"].get("content-type") or "no content type").partition(";")[0]
        raise UnrecognizedResponseError(status=status, content_type=content_type[:80], length=len(body))


def _is_s3_region_redirect(protocol: str, headers: Mapping[str, str], start: bytes) -> bool:
    """Tell whether botocore's S3 client handles a redirect: by the error in the body, or by the bucket's region."""
    return protocol == "rest-xml" and (start.startswith((b"<?xml", b"<error")) or "x-amz-bucket-region" in headers)


def _without_query(url: str) -> str:
    """Return a URL without user name, query and fragment, which can hold credentials."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an invalid URL"
    path = parts.path[:200]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}" if parts.netloc else path
