"""The log of --debug shows no secret, request or response."""

import io
import logging

from loadgen.cli.debug_log import debug_logging


def test_debug_log_drops_requests_and_redacts_secrets():
    """Records with a request or response are dropped, the others are redacted, and the end restores the loggers (G17)."""
    stream = io.StringIO()
    with debug_logging(stream, ["canary-secret"]):
        logging.getLogger("botocore.endpoint").debug("Sending http request: %s", {"body": b"canary-payload"})
        logging.getLogger("botocore.parsers").debug("Response body:\n%r", b"canary-payload")
        logging.getLogger("botocore.credentials").debug("Found credentials in canary-secret")
        logging.getLogger("botocore.auth").warning("x-amz-security-token:canary-token")
        try:
            raise ValueError("canary-secret")
        except ValueError:
            logging.getLogger("loadgen").exception("failed")
    logged = stream.getvalue()
    assert "canary" not in logged
    assert "Found credentials in [redacted]" in logged
    assert "ValueError: [redacted]" in logged
    logging.getLogger("botocore.credentials").debug("after the context")
    assert stream.getvalue() == logged
