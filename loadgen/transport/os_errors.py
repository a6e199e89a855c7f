"""Operating-system errors: the outcome of each errno, before and after a connection exists.

Both transports use this table. An errno without an outcome is left to the transport, which decides by how far the
request had come.
"""

import errno
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from loadgen.measurement.outcome import Outcome


class ErrnoOutcome(NamedTuple):
    """The outcome of one errno.

    Args:
        connecting: while the connection is being opened.
        connected: once it is open; None where the errno alone does not decide.
    """

    connecting: Outcome
    connected: Outcome | None = None


_NO_DESCRIPTOR = ErrnoOutcome(Outcome.FD_EXHAUSTED, Outcome.FD_EXHAUSTED)
_NO_PORT = ErrnoOutcome(Outcome.PORTS_EXHAUSTED, Outcome.PORTS_EXHAUSTED)
_NO_ROUTE = ErrnoOutcome(Outcome.CONNECT_REFUSED)
# Source: socket(2), connect(2), tcp(7). EACCES and EPERM of connect() come from a local firewall rule. ETIMEDOUT on an
# open connection ends a read or a write, whose own timeouts name the phase.
ERRNO_OUTCOMES: Mapping[int, ErrnoOutcome] = MappingProxyType(
    {
        errno.EMFILE: _NO_DESCRIPTOR,
        errno.ENFILE: _NO_DESCRIPTOR,
        errno.ENOBUFS: _NO_DESCRIPTOR,
        errno.ENOMEM: _NO_DESCRIPTOR,
        errno.EADDRNOTAVAIL: _NO_PORT,
        errno.EADDRINUSE: _NO_PORT,
        errno.ECONNREFUSED: _NO_ROUTE,
        errno.EHOSTUNREACH: _NO_ROUTE,
        errno.ENETUNREACH: _NO_ROUTE,
        errno.ENETDOWN: _NO_ROUTE,
        errno.EHOSTDOWN: _NO_ROUTE,
        errno.EACCES: _NO_ROUTE,
        errno.EPERM: _NO_ROUTE,
        errno.EAFNOSUPPORT: _NO_ROUTE,
        errno.ETIMEDOUT: ErrnoOutcome(Outcome.CONNECT_TIMEOUT),
    }
)
# This machine lacks a resource: trying another address cannot help.
LOCAL_OUTCOMES = frozenset({Outcome.FD_EXHAUSTED, Outcome.PORTS_EXHAUSTED})


def errno_outcome(code: int | None, *, is_connected: bool) -> Outcome | None:
    """Return the outcome of an errno, or None where the errno does not decide it.

    Args:
        code: `OSError.errno`.
        is_connected: whether the connection was open when the error came.

    Example:
        >>> errno_outcome(errno.ECONNREFUSED, is_connected=False)
        <Outcome.CONNECT_REFUSED: 21>
        >>> errno_outcome(errno.ECONNREFUSED, is_connected=True)
    """
    found = ERRNO_OUTCOMES.get(code or 0)
    if found is None:
        return None
    return found.connected if is_connected else found.connecting
