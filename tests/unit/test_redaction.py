"""Secrets and payloads are taken out of texts, wherever they stand."""

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.cli.debug_log import debug_logging
from loadgen.redaction import redact, redact_payload, secrets_in

SECRETS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "Signature=" + "0123456789abcdef" * 4,
    "x-amz-security-token:FwoGZXIvYXdzEBYaD",
    "'X-Amz-Security-Token': b'FwoGZXIvYXdzEBYaD'",
    "X-Amz-Signature=0123456789abcdef",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG",
    "http://user:hunter22@proxy:3128",
]
BARE = ["IOSFODNN7EXAMPLE", "0123456789abcdef", "FwoGZXIvYXdzEBYaD", "wJalrXUtnFEMI", "hunter22"]


@pytest.mark.parametrize("secret", SECRETS)
def test_every_form_of_a_credential_is_taken_out(secret):
    """G17: of a text with one in it, no part of the secret remains, and the rest does."""
    said = redact(f"before {secret} after")
    assert said.startswith("before ")
    assert said.endswith(" after")
    assert not [part for part in BARE if part in said]


@given(st.text(min_size=8), st.text(), st.text())
def test_a_known_secret_is_taken_out_wherever_it_stands(secret, before, after):
    """Whatever stands around it: the value itself is not there any more, unless it was only ever the mark."""
    said = redact(before + secret + after, [secret])
    assert secret not in said or secret in "[redacted]"


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(8, 60), st.text(max_size=30))
def test_no_piece_of_a_payload_stays_in_a_message(body, at, length, around):
    """A service that repeats eight or more bytes of the request is not quoted with them."""
    piece = body[at : at + length].decode("utf-8", "replace")
    said = redact_payload(f"{around}{piece}{around}", body).encode("utf-8", "replace")
    windows = {body[i : i + 8] for i in range(len(body) - 7)} - {b"[redacted]"[i : i + 8] for i in range(3)}
    assert not [window for window in windows if window in said and b"redacted" not in window and b"]" not in window]


def test_an_environment_s_secrets_are_known():
    """Keys and the password of a proxy; nothing else of the environment counts."""
    environment = {
        "AWS_SECRET_ACCESS_KEY": "s" * 20,
        "HTTPS_PROXY": "http://me:longpassword@host:1",
        "PATH": "/usr/bin:/bin",
    }
    assert secrets_in(environment) == ("s" * 20, "longpassword")


def test_logs_show_decisions_and_never_requests():
    """G17: of botocore's debug records those with a request or an answer are kept back, others lose their secrets."""
    stream = io.StringIO()
    with debug_logging(stream, ["canary-secret"]):
        logging.getLogger("botocore.endpoint").debug("Sending http request: %s", {"body": b"canary-payload"})
        logging.getLogger("botocore.parsers").debug("Response body:\n%r", b"canary-payload")
        logging.getLogger("botocore.credentials").debug("Found credentials in canary-secret")
        logging.getLogger("botocore.auth").warning("x-amz-security-token:canary-token")
        try:
            raise ValueError("canary-secret")
        except ValueError:
            logging.getLogger("loadgen").exception("it failed")
    said = stream.getvalue()
    assert "canary" not in said
    assert "Found credentials in [redacted]" in said
    assert "ValueError: [redacted]" in said
    logging.getLogger("botocore.credentials").debug("afterwards nothing is shown")
    assert stream.getvalue() == said
