"""Operating-system errors: which outcome each errno means."""

import errno

from loadgen.measurement.outcome import Outcome

# Operating system error -> outcome. What is not here is a reset: something between us and the peer ended it.
_ERRNO = {
    errno.EMFILE: Outcome.LOCAL_FD,
    errno.ENFILE: Outcome.LOCAL_FD,
    errno.ENOBUFS: Outcome.LOCAL_FD,
    errno.ENOMEM: Outcome.LOCAL_FD,
    errno.EADDRNOTAVAIL: Outcome.LOCAL_PORT,
    errno.EADDRINUSE: Outcome.LOCAL_PORT,
    errno.ECONNREFUSED: Outcome.CONNECT_REFUSED,
    errno.EHOSTUNREACH: Outcome.CONNECT_REFUSED,
    errno.ENETUNREACH: Outcome.CONNECT_REFUSED,
    errno.ENETDOWN: Outcome.CONNECT_REFUSED,
    errno.EHOSTDOWN: Outcome.CONNECT_REFUSED,
    errno.EACCES: Outcome.CONNECT_REFUSED,
    errno.EPERM: Outcome.CONNECT_REFUSED,
    errno.EAFNOSUPPORT: Outcome.CONNECT_REFUSED,
    errno.ETIMEDOUT: Outcome.CONNECT_TIMEOUT,
}
# These are ours, whichever address is tried: another one cannot help.
_LOCAL = frozenset({Outcome.LOCAL_FD, Outcome.LOCAL_PORT})
