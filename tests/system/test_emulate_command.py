"""The command `emulate` as a process: its first line, its end, and its usage errors."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadgen.cli.main import main
from tests.support.emulator import eventually, fetch

COMMAND = [sys.executable, "-m", "loadgen", "emulate"]
ROOT = Path(__file__).parents[2]


@contextmanager
def running_emulator(*options):
    """Start the command and yield its process and its URL."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*COMMAND, *options], text=True, cwd=ROOT, **pipes) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_prints_its_url_and_exits_with_0_on_a_signal(number):
    """The first line is the URL of a server that answers; SIGTERM and SIGINT give status 0 and an empty stderr."""
    with running_emulator("--seed", "7", "--profile", "xgboost") as (process, url):
        ledger = json.loads(fetch(f"{url}/ledger")[2])
        assert (ledger["seed"], ledger["profile"], ledger["endpoints"]) == (7, "xgboost", {})
        process.send_signal(number)
        assert (process.wait(10), process.stdout.read(), process.stderr.read()) == (0, "", "")


def test_exit_with_stdin_exits_with_0_at_the_end_of_stdin():
    """With --exit-with-stdin the process exits with status 0 when its stdin is closed."""
    with running_emulator("--exit-with-stdin") as (process, url):
        assert fetch(f"{url}/ledger")[0] == 200
        process.stdin.close()
        assert process.wait(10) == 0


def test_exit_with_stdin_exits_when_the_parent_is_killed():
    """With --exit-with-stdin the process ends when the process that started it is killed with SIGKILL."""
    parent = """
import subprocess, sys
command = [*sys.argv[1:], "--exit-with-stdin"]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), end="", flush=True)
sys.stdin.read()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", parent, *COMMAND], text=True, cwd=ROOT, **pipes) as process:
        url = process.stdout.readline().strip()
        assert fetch(f"{url}/ledger")[0] == 200
        process.kill()
        eventually(lambda: not accepts(url))


def accepts(url):
    try:
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=5):
            return True
    except ConnectionError:
        return False


def test_the_end_of_stdin_is_ignored_by_default():
    """Without --exit-with-stdin the process still serves after its stdin is closed."""
    with running_emulator() as (process, url):
        process.stdin.close()
        assert fetch(f"{url}/ledger")[0] == 200
        assert process.poll() is None


def test_quotas_and_port_take_effect():
    """Service Quotas returns the values of --quotas ordinary, and the server listens on --port."""
    with running_emulator("--quotas", "ordinary") as (_, url):
        payload = b'{"ServiceCode":"sagemaker"}'
        body = fetch(url, payload, X_Amz_Target="ServiceQuotasV20190624.ListServiceQuotas")[2]
        assert sorted(quota["Value"] for quota in json.loads(body)["Quotas"]) == [5.0, 10.0, 3072.0]
        port = url.rsplit(":", 1)[1]
    with running_emulator("--port", port) as (_, again):
        assert again == url


@pytest.mark.parametrize("options", [["--profile", "resnet"], ["--time-scale", "0"]])
def test_invalid_options_are_usage_errors(options, capsys):
    """An unknown profile and a time scale of 0 exit with status 2 before the server listens."""
    assert main(["emulate", *options]) == 2
    assert capsys.readouterr().out == ""


def test_run_jobs_prints_a_token_and_keeps_it_in_a_private_file(monkeypatch, tmp_path):
    """With --run-jobs the lines after the URL name the token and its file: mode 0600 whatever the umask, gone at the end."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("LOADGEN_EMULATOR_TOKEN", raising=False)
    before = os.umask(0)
    try:
        with running_emulator("--run-jobs") as (process, url):
            name, _, token = process.stdout.readline().strip().partition("=")
            path = Path(process.stdout.readline().strip().removeprefix("token file: "))
            assert name == "AWS_SESSION_TOKEN"
            assert path.read_text() == token + "\n"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            target = {"X_Amz_Target": "SageMaker.ListProcessingJobs"}
            assert fetch(url, b"{}", **target)[0] == 403
            assert fetch(url, b"{}", **target, X_Amz_Security_Token=token)[0] == 200
            process.send_signal(signal.SIGTERM)
            assert (process.wait(10), process.stdout.read(), process.stderr.read()) == (0, "", "")
            assert not path.exists()
    finally:
        os.umask(before)


def test_a_given_token_is_used_and_a_directory_that_cannot_be_written_is_reported(monkeypatch, tmp_path):
    """LOADGEN_EMULATOR_TOKEN is the token; without a directory for the file the emulator serves, and stderr says why."""
    (tmp_path / "loadgen").write_text("a file where the directory would be")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("LOADGEN_EMULATOR_TOKEN", "a-token-of-the-test")
    with running_emulator("--host-name", "emulator") as (process, url):
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines == ["AWS_SESSION_TOKEN=a-token-of-the-test\n", "token file: none\n"]
        assert fetch(f"{url}/ledger", X_Amz_Security_Token="a-token-of-the-test", Host="emulator:80")[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert "Not a directory" in process.stderr.read()


def test_an_address_off_loopback_is_served_with_the_token():
    """With --host 0.0.0.0 the URL names loopback, and a request without the token gets 403."""
    with running_emulator("--host", "0.0.0.0") as (process, url):
        token = process.stdout.readline().strip().partition("=")[2]
        assert url.startswith("http://127.0.0.1:")
        assert fetch(f"{url}/ledger")[0] == 403
        assert fetch(f"{url}/ledger", X_Amz_Security_Token=token)[0] == 200
