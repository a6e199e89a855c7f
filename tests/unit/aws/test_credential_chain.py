"""The SDK's credential chain: each way it fails is one line with profile and cause, and status 77."""

import asyncio
import getpass
import io
import sys
from pathlib import Path

import pytest

from loadgen.aws import credential_chain
from loadgen.aws.session import AwsConnectionConfig, open_clients
from loadgen.errors import AuthError
from tests.support.emulator import eventually

CONFIG = """
[profile base]
aws_access_key_id = AKIDBASE
aws_secret_access_key = example
[profile mfa]
role_arn = arn:aws:iam::111122223333:role/bench
source_profile = base
mfa_serial = arn:aws:iam::111122223333:mfa/dana
[profile absent]
credential_process = /opt/no/such-tool --token canary
[profile chatty]
credential_process = /bin/echo please sign in first: canary
[profile list]
credential_process = /bin/echo [1]
[profile text]
credential_process = /bin/echo '"canary"'
[profile date]
credential_process = /bin/echo '{"Version":1,"AccessKeyId":"a","SecretAccessKey":"s","SessionToken":"t","Expiration":"canary"}'
[profile quotes]
credential_process = /bin/echo 'canary
[profile fails]
credential_process = /bin/false
[profile through]
role_arn = arn:aws:iam::111122223333:role/bench
source_profile = absent
[profile directory]
credential_process = /
[profile waits]
credential_process = /bin/sh -c "echo $$ > pid; sleep 600 & echo $! > child; wait"
[profile waits-behind]
role_arn = arn:aws:iam::111122223333:role/bench
source_profile = waits
[profile web]
role_arn = arn:aws:iam::111122223333:role/bench
web_identity_token_file = /no/such-token
"""
CASES = {
    "mfa": "asks for an MFA code for arn:aws:iam::111122223333:mfa/dana",
    "absent": "/opt/no/such-tool: No such file or directory",
    "chatty": "credential_process did not print JSON",
    "list": "AttributeError",
    "text": "AttributeError",
    "date": "",
    "quotes": "",
    "fails": "custom-process",
    "through": "/opt/no/such-tool: No such file or directory",
    "directory": "/: Permission denied",
    "web": "/no/such-token",
}


@pytest.fixture
def open_with(monkeypatch, tmp_path):
    """Return a function that opens the clients with the configuration file and these variables."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config").write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    # A terminal of whoever runs the tests must not be asked, and nothing may open one.
    monkeypatch.setattr(sys, "stdin", io.StringIO("123456\n"))
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: pytest.fail("a prompt without a terminal"))

    def opened(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

        async def main() -> None:
            async with open_clients(AwsConnectionConfig()):
                pass

        asyncio.run(main())

    return opened


@pytest.mark.parametrize("profile", CASES)
def test_a_broken_profile_is_one_line(open_with, profile):
    """The error names profile and cause, and nothing that a credential program was given or printed (C43)."""
    with pytest.raises(AuthError) as caught:
        open_with(AWS_PROFILE=profile)
    assert caught.value.message.startswith(f"Loading credentials of profile {profile}: ")
    assert CASES[profile] in caught.value.message
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/creds"},
        {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/creds",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/no/token",
        },
    ],
)
def test_broken_container_credentials_are_one_line(open_with, variables):
    """A container's variables that name another host or a missing file are an AuthError (C43)."""
    with pytest.raises(AuthError, match="Loading credentials of profile default: "):
        open_with(**variables)


@pytest.mark.parametrize("profile", ["waits", "waits-behind"])
def test_a_credential_program_that_waits_is_ended(open_with, monkeypatch, tmp_path, profile):
    """Without a terminal a program that does not end is a denial within a limit; it and what it started are killed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(credential_chain, "_CHAIN_TIMEOUT", 1.0)
    with pytest.raises(AuthError, match=rf"profile {profile}: no credentials within 1 s, and there is no terminal"):
        open_with(AWS_PROFILE=profile)
    for file in ("pid", "child"):
        eventually(lambda file=file: not is_running(int((tmp_path / file).read_text())))


def is_running(pid):
    """Tell whether a process exists and has not ended; one that nobody has waited for yet is a zombie, state Z."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("stdin", [None, "closed", "pipe"])
def test_no_prompt_without_a_terminal(open_with, monkeypatch, capsys, stdin):
    """Whatever standard input is, an MFA code that is due prints nothing, and the error says what to do."""
    if stdin != "pipe":
        monkeypatch.setattr(sys, "stdin", None if stdin is None else io.StringIO())
    if stdin == "closed":
        sys.stdin.close()
    with pytest.raises(AuthError, match="asks for an MFA code for arn:aws:iam::111122223333:mfa/dana") as caught:
        open_with(AWS_PROFILE="mfa")
    assert "aws sso login" in caught.value.hint
    assert capsys.readouterr() == ("", "")


def test_a_terminal_is_asked(open_with, monkeypatch):
    """On a terminal the SDK's prompt for the MFA code is shown once, and its end of input is an error."""
    prompts = []

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def ask(prompt):
        prompts.append(prompt)
        raise EOFError

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", ask)
    with pytest.raises(AuthError, match="asks for an MFA code"):
        open_with(AWS_PROFILE="mfa")
    assert prompts == ["Enter MFA code for arn:aws:iam::111122223333:mfa/dana: "]
