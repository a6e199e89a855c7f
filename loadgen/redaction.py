"""Redaction: what must never reach a log, a report or a terminal is taken out of texts. Pure.

Rule: credentials are recognised by their form and by their value, payloads by their bytes.
"""

import re
from collections.abc import Mapping, Sequence

_REPLACEMENT = "[redacted]"
# Source: IAM user guide, "IAM identifiers" (AKIA, ASIA); SigV4's Authorization header; RFC 3986 userinfo.
_CREDENTIAL_PATTERNS = (
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{8,}"),
    re.compile(r"(?<=Signature=)[0-9a-fA-F]{32,}"),
    re.compile(r"(?i)(?<=x-amz-security-token)(['\"]?\s*[:=]\s*b?['\"]?)[^\s'\",&]+"),
    re.compile(r"(?i)(?<=x-amz-signature=)[0-9a-f]+"),
    re.compile(r"(?i)(?<=aws_secret_access_key)(['\"]?\s*[:=]\s*['\"]?)[^\s'\",&]+"),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
)
_SECRET_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
_MIN_MATCH_BYTES = 8  # bytes of a payload in a row that are no coincidence
_MAX_SCANNED_BYTES = 4096  # of a payload and of a message: both can be megabytes


def secrets_in(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of an environment that must not be shown: keys, and the passwords of proxies."""
    found = [environment.get(name, "") for name in _SECRET_VARIABLES]
    for name, value in environment.items():
        if name.lower().endswith("_proxy") and "@" in value:
            found.append(value.rpartition("@")[0].rpartition("//")[2].partition(":")[2])
    return tuple(secret for secret in found if len(secret) >= _MIN_MATCH_BYTES)


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """Return a text without credentials.

    Example:
        >>> redact("via http://me:hunter2@proxy:3128")
        'via http://[redacted]@proxy:3128'
    """
    for secret in secrets:
        text = text.replace(secret, _REPLACEMENT)
    for form in _CREDENTIAL_PATTERNS:
        text = form.sub(lambda found: (found[1] if found.re.groups else "") + _REPLACEMENT, text)
    return text


def redact_payload(message: str, body: bytes) -> str:
    """Return what a service said about a request without the pieces of the request that it repeats.

    Example:
        >>> redact_payload("cannot parse 'name: Ada Lovelace'", b"name: Ada Lovelace")
        "cannot parse '[redacted]'"
    """
    said, sent = message[:_MAX_SCANNED_BYTES].encode("utf-8", "replace"), body[:_MAX_SCANNED_BYTES]
    kept, at = bytearray(), 0
    while at < len(said):
        length = _match_length(said, at, sent)
        if length:
            kept += _REPLACEMENT.encode()
            at += length
        else:
            kept += said[at : at + 1]
            at += 1
    return redact(kept.decode("utf-8", "replace"))


def _match_length(message: bytes, offset: int, body: bytes) -> int:
    """Return how many bytes from here on stand in what was sent; 0 when they are few."""
    if offset + _MIN_MATCH_BYTES > len(message) or message[offset : offset + _MIN_MATCH_BYTES] not in body:
        return 0
    length = _MIN_MATCH_BYTES
    while offset + length < len(message) and message[offset : offset + length + 1] in body:
        length += 1
    return length
