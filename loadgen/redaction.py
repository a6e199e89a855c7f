"""Remove credentials and payloads from texts for logs, reports and terminals. No I/O.

Credentials are recognised by their form and by their value, payloads by their bytes.
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
    re.compile(r"(?i)(?<=authorization)(['\"]?\s*[:=]\s*b?['\"]?(?:bearer|basic)\s+)[^\s'\",]+"),
    re.compile(r"(?i)(?<=secretaccesskey)(['\"]?\s*[:=]\s*['\"]?)[^\s'\",&]+"),
    re.compile(r"(?i)(?<=sessiontoken)(['\"]?\s*[:=]\s*['\"]?)[^\s'\",&]+"),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
)
_MIN_SECRET_LENGTH = 8  # of a value of the environment that is removed wherever it occurs
_MIN_REMEMBERED_LENGTH = 16  # of an access key (IAM API reference, AccessKeyId); test credentials are often words
# Values of the credentials in use, so that a service that repeats them writes them into no file. Process-wide: texts
# are redacted where they arrive, far from the session that holds the credentials.
_remembered: set[str] = set()
_SECRET_VARIABLES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
    "LOADGEN_EMULATOR_TOKEN",
)
_MIN_MATCH_BYTES = 8  # shortest run of payload bytes that is redacted
_MAX_SCANNED_BYTES = 4096  # of a payload and of a message, which can be megabytes


def secrets_in(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secret values of an environment: AWS keys and proxy passwords."""
    found = [environment.get(name, "") for name in _SECRET_VARIABLES]
    for name, value in environment.items():
        if name.lower().endswith("_proxy") and "@" in value:
            found.append(value.rpartition("@")[0].rpartition("//")[2].partition(":")[2])
    return tuple(secret for secret in found if len(secret) >= _MIN_SECRET_LENGTH)


def remember_secrets(*values: str | None) -> None:
    """Have `redact` remove these values from now on; None and values of fewer than 16 characters are ignored."""
    _remembered.update(value for value in values if value and len(value) >= _MIN_REMEMBERED_LENGTH)


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """Return a text without credentials.

    Args:
        text: any text.
        secrets: values to remove besides the known forms of credentials and the remembered values.

    Example:
        >>> redact("via http://me:hunter2@proxy:3128")
        'via http://[redacted]@proxy:3128'
    """
    for secret in (*secrets, *_remembered):
        text = text.replace(secret, _REPLACEMENT)
    for pattern in _CREDENTIAL_PATTERNS:
        text = pattern.sub(lambda match: (match[1] if match.re.groups else "") + _REPLACEMENT, text)
    return text


def redact_payload(message: str, body: bytes) -> str:
    """Return a service's message without the parts of the request body that it repeats.

    Args:
        message: the service's message; what exceeds 4096 characters is cut off.
        body: the request body; its first 4096 bytes are searched for.

    Example:
        >>> redact_payload("cannot parse 'name: Ada Lovelace'", b"name: Ada Lovelace")
        "cannot parse '[redacted]'"
    """
    encoded, body = message[:_MAX_SCANNED_BYTES].encode("utf-8", "replace"), body[:_MAX_SCANNED_BYTES]
    redacted, offset = bytearray(), 0
    while offset < len(encoded):
        length = _match_length(encoded, offset, body)
        redacted += _REPLACEMENT.encode() if length else encoded[offset : offset + 1]
        offset += length or 1
    return redact(redacted.decode("utf-8", "replace"))


def _match_length(message: bytes, offset: int, body: bytes) -> int:
    """Return the length of the longest part of `body` at this offset; 0 when it is shorter than the minimum."""
    if offset + _MIN_MATCH_BYTES > len(message) or message[offset : offset + _MIN_MATCH_BYTES] not in body:
        return 0
    length = _MIN_MATCH_BYTES
    while offset + length < len(message) and message[offset : offset + length + 1] in body:
        length += 1
    return length
