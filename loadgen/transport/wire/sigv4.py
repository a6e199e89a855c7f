"""AWS Signature Version 4 as an Authorization header.

Rule: pure. No clock, no environment, no I/O; timestamp and credentials are arguments. See prepared_request.py for the
other headers, sdk_probe.py for credentials.

Source: "Create a signed AWS API request", AWS IAM User Guide. Services other than S3 encode the path a second time for
the signature, remove dot segments and merge slashes; so does botocore. Tests compare with both.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """One set of AWS keys. Its repr shows none of them.

    Args:
        access_key: the access key id.
        secret_key: the secret access key.
        token: the session token of temporary credentials, or an empty string.
    """

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


def canonical_path(path: str) -> str:
    """Return the path as it is signed: without dot segments and double slashes, each segment encoded again.

    Args:
        path: as it is sent, already percent-encoded.

    Example:
        >>> canonical_path("/endpoints/a%20b//./invocations")
        '/endpoints/a%2520b/invocations'
    """
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if kept:
                kept.pop()
        elif segment not in {"", "."}:
            kept.append(segment)
    slash = "/" if kept and path.endswith("/") else ""
    return quote("/" + "/".join(kept) + slash, safe="/~")


def canonical_request(method: str, path: str, headers: Mapping[str, str], payload_hash: str) -> tuple[str, str]:
    """Return the canonical request without a query string, and the list of its signed headers.

    Args:
        method: in capitals.
        path: as it is sent.
        headers: every header to sign, including `host` and `x-amz-date`; names in any case, each once.
        payload_hash: the body's SHA-256 in lower-case hex.
    """
    values = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    names = sorted(values)
    lines = "".join(f"{name}:{values[name]}\n" for name in names)
    signed = ";".join(names)
    return f"{method}\n{canonical_path(path)}\n\n{lines}\n{signed}\n{payload_hash}", signed


def signing_key(secret_key: str, date: str, region: str, service: str) -> bytes:
    """Derive the key that signs every request of one day, region and service.

    Args:
        secret_key: the secret access key.
        date: such as `20261122`.
        region: such as `us-east-1`.
        service: the signing name.
    """
    key = f"AWS4{secret_key}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


class Signer:
    """Sign for one set of credentials, region and service; the signing key is derived once a day.

    Args:
        credentials: to sign with.
        region: such as `us-east-1`.
        service: the signing name, such as `sagemaker`.

    Example:
        >>> signer = Signer(Credentials("AKID", "secret"), "us-east-1", "sagemaker")
        >>> signer.authorization("20261122T101112Z", b"canonical", "host;x-amz-date")[:44]
        'AWS4-HMAC-SHA256 Credential=AKID/20261122/us'
    """

    __slots__ = ("_date", "_key", "_prefix", "_scope", "credentials", "region", "service")

    def __init__(self, credentials: Credentials, region: str, service: str) -> None:
        self.credentials = credentials
        self.region = region
        self.service = service
        self._date = ""
        self._key = b""
        self._scope = ""
        self._prefix = ""

    def __repr__(self) -> str:
        return f"Signer(region={self.region!r}, service={self.service!r})"

    def authorization(self, timestamp: str, canonical: bytes, signed_headers: str) -> str:
        """Return the value of the Authorization header.

        Args:
            timestamp: UTC to the second, such as `20261122T101112Z`; the same as in the signed `x-amz-date`.
            canonical: the canonical request.
            signed_headers: their names, as `canonical_request` returns them.
        """
        date = timestamp[:8]
        if date != self._date:
            self._key = signing_key(self.credentials.secret_key, date, self.region, self.service)
            self._scope = f"{date}/{self.region}/{self.service}/aws4_request"
            self._prefix = f"{ALGORITHM} Credential={self.credentials.access_key}/{self._scope}, SignedHeaders="
            self._date = date
        digest = hashlib.sha256(canonical).hexdigest()
        text = f"{ALGORITHM}\n{timestamp}\n{self._scope}\n{digest}"
        signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        return f"{self._prefix}{signed_headers}, Signature={signature}"
