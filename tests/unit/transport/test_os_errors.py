"""Operating-system errors: both transports give one errno the same outcome."""

import errno
import os

import aiohttp
import botocore.exceptions as sdk
import pytest

from loadgen.measurement.outcome import Outcome
from loadgen.transport.botocore import _classify_error, _RequestTrace
from loadgen.transport.os_errors import ERRNO_OUTCOMES, LOCAL_OUTCOMES, errno_outcome
from loadgen.transport.wire.connector import _to_connect_error


@pytest.mark.parametrize("code", sorted(ERRNO_OUTCOMES), ids=errno.errorcode.__getitem__)
def test_both_transports_agree_on_an_errno_of_connect(code):
    """An errno of connect() has one outcome, whichever transport connects (C97, C98)."""
    os_error = OSError(code, os.strerror(code))
    trace = _RequestTrace()
    trace.requested = 1.0
    error = sdk.EndpointConnectionError(endpoint_url="http://x", error=aiohttp.ClientConnectorError(None, os_error))
    outcome, _ = _classify_error(error, trace, is_tls=False)
    assert outcome is _to_connect_error(os_error).outcome is ERRNO_OUTCOMES[code].connecting


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (errno.ENOBUFS, Outcome.FD_EXHAUSTED),  # the botocore transport called these four a reset or `other`
        (errno.ENOMEM, Outcome.FD_EXHAUSTED),
        (errno.EADDRINUSE, Outcome.PORTS_EXHAUSTED),
        (errno.EPERM, Outcome.CONNECT_REFUSED),
        (errno.ETIMEDOUT, Outcome.CONNECT_TIMEOUT),
        (errno.ECONNRESET, None),
    ],
)
def test_an_errno_of_connect_means_what_the_kernel_manual_says(code, outcome):
    """A lack of memory or ports is this machine's, a firewall rule refuses the connection (C97, C98)."""
    assert errno_outcome(code, is_connected=False) is outcome


def test_an_unreadable_file_is_not_a_refused_connection():
    """EACCES of a file that botocore reads before it connects, such as a CA bundle, is not `connect_refused`."""
    error = PermissionError(errno.EACCES, "Permission denied")
    assert _classify_error(error, _RequestTrace(), is_tls=True)[0] is Outcome.OTHER


def test_on_an_open_connection_only_a_lack_on_this_machine_is_decided_by_errno():
    """Whether an open connection was reset, stale or cut short depends on the request, not on the errno (C97)."""
    for code, outcomes in ERRNO_OUTCOMES.items():
        is_local = outcomes.connecting in LOCAL_OUTCOMES
        assert errno_outcome(code, is_connected=True) is (outcomes.connecting if is_local else None)
    assert errno_outcome(None, is_connected=True) is None
