"""Credentials and payloads are removed from texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
def test_every_form_of_a_credential_is_redacted(secret):
    """No part of a credential remains in a text, and the text around it does (G17)."""
    redacted = redact(f"before {secret} after")
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert not [part for part in BARE if part in redacted]


@given(st.text(min_size=8), st.text(), st.text())
def test_a_known_secret_is_redacted_in_any_text(secret, before, after):
    """The value of a given secret is not in the result, unless it is a part of the replacement."""
    redacted = redact(before + secret + after, [secret])
    assert secret not in redacted or secret in "[redacted]"


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(8, 60), st.text(max_size=30))
def test_no_part_of_a_payload_remains_in_a_message(body, at, length, around):
    """Eight or more consecutive bytes of the request body are redacted in a message."""
    piece = body[at : at + length].decode("utf-8", "replace")
    redacted = redact_payload(f"{around}{piece}{around}", body).encode("utf-8", "replace")
    windows = {body[i : i + 8] for i in range(len(body) - 7)} - {b"[redacted]"[i : i + 8] for i in range(3)}
    assert not [window for window in windows if window in redacted and b"redacted" not in window and b"]" not in window]


def test_keys_and_proxy_passwords_are_the_secrets_of_an_environment():
    """secrets_in returns AWS keys and the password of a proxy URL, and no other value."""
    environment = {
        "AWS_SECRET_ACCESS_KEY": "s" * 20,
        "HTTPS_PROXY": "http://me:longpassword@host:1",
        "PATH": "/usr/bin:/bin",
    }
    assert secrets_in(environment) == ("s" * 20, "longpassword")


def test_remembered_values_are_removed_everywhere(monkeypatch):
    """A remembered secret is removed from any text; None and words of test credentials, such as `emulator`, are not remembered."""
    from loadgen import redaction

    monkeypatch.setattr(redaction, "_remembered", set())
    redaction.remember_secrets("a-secret-of-the-profile", None, "emulator", "")
    assert redaction.redact("the emulator got a-secret-of-the-profile") == "the emulator got [redacted]"
