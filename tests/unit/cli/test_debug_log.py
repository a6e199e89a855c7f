"""The log of --debug shows no secret, request or response."""

import io
import logging

import pytest

from loadgen.cli.debug_log import debug_logging, quiet_sdk_logging


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


SDK_LOGGERS = ["botocore.credentials", "botocore.tokens", "aiobotocore.credentials", "aiohttp.client", "urllib3.retry"]


@pytest.mark.parametrize("name", SDK_LOGGERS)
def test_sdk_tracebacks_are_not_printed(name, monkeypatch):
    """Without --debug the SDK's errors reach the scenario's own handlers, and no last resort prints them."""
    printed, handled = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    before = list(logging.getLogger(name.partition(".")[0]).handlers)
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler(printed))
    with quiet_sdk_logging():
        try:
            raise ValueError("refused")
        except ValueError:
            logging.getLogger(name).warning("Refreshing temporary credentials failed", exc_info=True)
        root.addHandler(logging.StreamHandler(handled))
        logging.getLogger(name).warning("for the scenario")
        root.handlers.clear()
    assert printed.getvalue() == ""
    assert handled.getvalue() == "for the scenario\n"
    assert logging.getLogger(name.partition(".")[0]).handlers == before
