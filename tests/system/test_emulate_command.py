"""The command `emulate` in a process of its own: its first line, its end, and its refusals."""

import argparse
import json
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from loadgen.cli import emulate
from loadgen.errors import UsageError
from tests.support.emulator import eventually, fetch

PROGRAM = """
import argparse, sys
from loadgen.cli import emulate
parser = argparse.ArgumentParser()
emulate.add_arguments(parser)
sys.exit(emulate.run(parser.parse_args()))
"""


@contextmanager
def started(*options):
    """Start the command and yield its process and its URL."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *options], text=True, **pipes) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_url_once_it_accepts_and_stops_on_a_signal(number):
    """The first line is a URL that answers at once; SIGTERM and SIGINT end it with status 0 and nothing on stderr."""
    with started("--seed", "7", "--profile", "xgboost") as (process, url):
        shown = json.loads(fetch(f"{url}/ledger")[2])
        assert (shown["seed"], shown["profile"], shown["endpoints"]) == (7, "xgboost", {})
        process.send_signal(number)
        assert (process.wait(10), process.stdout.read(), process.stderr.read()) == (0, "", "")


def test_the_end_of_stdin_is_its_end_when_asked_for():
    """With --with-parent it ends with status 0 when its stdin closes."""
    with started("--exit-with-stdin") as (process, url):
        assert fetch(f"{url}/ledger")[0] == 200
        process.stdin.close()
        assert process.wait(10) == 0


def test_it_dies_with_a_parent_that_is_killed():
    """A process that started it with --with-parent is killed with SIGKILL: the emulator goes too."""
    parent = """
import subprocess, sys
command = [sys.executable, "-c", sys.argv[1], "--exit-with-stdin"]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), end="", flush=True)
sys.stdin.read()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", parent, PROGRAM], text=True, **pipes) as process:
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


def test_without_a_parent_it_outlives_its_stdin():
    """Unless asked to, it does not care about stdin."""
    with started() as (process, url):
        process.stdin.close()
        assert fetch(f"{url}/ledger")[0] == 200
        assert process.poll() is None


def test_the_options_reach_the_account():
    """--quotas ordinary shows in Service Quotas, and --port is the port."""
    with started("--quotas", "ordinary") as (_, url):
        payload = b'{"ServiceCode":"sagemaker"}'
        body = fetch(url, payload, X_Amz_Target="ServiceQuotasV20190624.ListServiceQuotas")[2]
        assert sorted(quota["Value"] for quota in json.loads(body)["Quotas"]) == [5.0, 10.0, 3072.0]
        port = url.rsplit(":", 1)[1]
    with started("--port", port) as (_, again):
        assert again == url


def test_wrong_options_are_refused_before_anything_listens():
    """An unknown profile and an impossible time scale are usage errors."""
    parser = argparse.ArgumentParser()
    emulate.add_arguments(parser)
    for options in (["--profile", "resnet"], ["--time-scale", "0"]):
        with pytest.raises(UsageError):
            emulate.run(parser.parse_args(options))
