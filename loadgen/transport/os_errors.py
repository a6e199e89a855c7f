"""Operating-system errors: which outcome each errno means."""

import errno

from loadgen.measurement.outcome import Outcome

# Operating system error -> outcome. What is not here is a reset: something between us and the peer ended it.
ERRNO_OUTCOMES = {
    errno.EMFILE: Outcome.FD_EXHAUSTED,
    errno.ENFILE: Outcome.FD_EXHAUSTED,
    errno.ENOBUFS: Outcome.FD_EXHAUSTED,
    errno.ENOMEM: Outcome.FD_EXHAUSTED,
    errno.EADDRNOTAVAIL: Outcome.PORTS_EXHAUSTED,
    errno.EADDRINUSE: Outcome.PORTS_EXHAUSTED,
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
LOCAL_OUTCOMES = frozenset({Outcome.FD_EXHAUSTED, Outcome.PORTS_EXHAUSTED})
