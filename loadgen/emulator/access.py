"""Which requests the emulator accepts: those that name it as host, and with its token where one is needed. Pure.

The commands of Processing jobs run with the rights of the emulator's user, so another local user must not start one.
S3 holds the code and the results of jobs. Off loopback everybody on the network is such a user.
"""

import hmac
import ipaddress
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.settings import Settings
from loadgen.errors import UsageError

TOKEN_HEADER = "X-Amz-Security-Token"  # noqa: S105  the header in which every SDK sends AWS_SESSION_TOKEN
TOKEN_VARIABLE = "LOADGEN_EMULATOR_TOKEN"  # noqa: S105  a name
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_][a-z0-9._-]*)(?::([0-9]{1,5}))?", re.IGNORECASE | re.ASCII)
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The rules of one emulator.

    Args:
        token: the token; empty if no request needs one.
        covers_all: whether every request needs it, or those of Processing jobs and S3 only.
        host_names: names besides those of loopback that a Host header may have.
    """

    token: str = ""
    covers_all: bool = False
    host_names: Collection[str] = ()

    def is_own_host(self, hosts: Sequence[str], origins: Sequence[str], local_address: str) -> bool:
        """Return whether a request is addressed to this emulator, and not sent by a web page of another origin.

        With DNS rebinding, a web page whose name resolves to this machine sends its own name as Host or Origin. Another
        port of this machine is another origin.

        Args:
            hosts: values of the Host headers.
            origins: values of the Origin headers.
            local_address: address on which the connection arrived; empty if unknown.
        """
        found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if found is None or int(found[2] or 0) > _MAX_PORT:
            return False
        name = found[1].lower()
        if name not in (*_LOOPBACK_NAMES, *(known.lower() for known in self.host_names), _literal(local_address)):
            return False
        return not origins or [origin.lower() for origin in origins] == [f"http://{hosts[0].lower()}"]

    def is_permitted(self, given: str, *, is_protected: bool) -> bool:
        """Return whether a request with this token may be handled; compares in constant time.

        Args:
            given: the request's token; empty without one.
            is_protected: whether it is one of Processing jobs or S3.
        """
        if not self.token or not (self.covers_all or is_protected):
            return True
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.token.encode())


def denial(action: str, *, code: str, account_id: str) -> ServiceError:
    """Build the error of a request without the token, in AWS's words.

    Args:
        action: such as `sagemaker:CreateProcessingJob`.
        code: the service's error code.
        account_id: of the emulated account.
    """
    return ServiceError(
        code,
        f"User: arn:aws:iam::{account_id}:user/emulated is not authorized to perform: {action[:80]} because the "
        "request does not carry this emulator's token: set AWS_SESSION_TOKEN (for a target with a url, "
        f"{TOKEN_VARIABLE}) to the one that `python -m loadgen emulate` printed",
        403,
    )


def access_policy(settings: Settings, host: str) -> AccessPolicy:
    """Return the rules of a server that listens on an address; a token that is needed and not given is made.

    Raises:
        UsageError: the host is not an address, or one off loopback without a token.
    """
    is_loopback = _parse_address(host).is_loopback
    if not is_loopback and not settings.token:
        raise UsageError(f"address {host!r}", hint="without a token, the emulator listens on loopback only")
    covers_all = not is_loopback or bool(settings.host_names)
    if not (covers_all or settings.runs_jobs):
        return AccessPolicy()
    return AccessPolicy(settings.token or new_token(), covers_all, settings.host_names)


def new_token() -> str:
    """Return a random token."""
    return secrets.token_urlsafe(32)


def url_host(host: str) -> str:
    """Return the host of a URL by which this machine reaches a server that listens on an address."""
    address = _parse_address(host)
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return _literal(host)


def _parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(host)
    except ValueError as error:
        hint = "give an address: 127.0.0.1 or ::1 for loopback only, 0.0.0.0 (with a token) for every network"
        raise UsageError(f"address {host!r}", hint=hint) from error


def _literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address
