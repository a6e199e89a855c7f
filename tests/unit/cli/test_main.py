"""The entry point: a signal gives a status and no traceback wherever it arrives."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.cli import main as entry
from loadgen.cli.signals import Interrupted
from loadgen.errors import ExitStatus

ROOT = Path(__file__).parents[3]

# Runs `python -m loadgen --version`, with a signal at a place that the second line chooses.
_PROGRAM = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test runner in a shell's background has SIGINT ignored
sys.argv = ["loadgen", "--version"]
{place}
runpy.run_module("loadgen", run_name="__main__")
"""
_IN_IMPORT = """
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            os.kill(os.getpid(), signal.{name})
sys.meta_path.insert(0, Finder())
"""
_AT_EXIT = """
import atexit
atexit.register(lambda: os.kill(os.getpid(), signal.{name}))
"""


def run_program(place: str) -> "subprocess.CompletedProcess[str]":
    """Run the program with a signal at a place."""
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(place=place)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", ["loadgen.cli.main", "loadgen.errors", "loadgen.cli.signals", "argparse"])
def test_sigint_during_an_import_has_status_130(module):
    """Ctrl-C in the tenths of a second in which modules load prints no traceback of the importer."""
    done = run_program(_IN_IMPORT.format(module=module, name="SIGINT"))
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(("name", "status"), [("SIGHUP", 0), ("SIGINT", -signal.SIGINT), ("SIGTERM", -signal.SIGTERM)])
def test_a_signal_while_the_interpreter_ends(name, status):
    """A terminal that goes after the end of the run does not change its status; no signal prints a traceback."""
    done = run_program(_AT_EXIT.format(name=name))
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize(
    "name", ["open_missing_descriptors", "lossy_output", "quiet_sdk_logging", "build_parser", "_print_error"]
)
@pytest.mark.parametrize(
    ("interrupt", "status"),
    [(KeyboardInterrupt(), 130), (Interrupted(ExitStatus.TERMINATED), 143), (Interrupted(ExitStatus.INTERRUPTED), 130)],
)
def test_a_signal_outside_of_a_command_has_its_status(monkeypatch, name, interrupt, status):
    """Before the parser, and while an error is printed, SIGINT gives 130 and SIGTERM 143."""

    def interrupted(*_, **__):
        raise interrupt

    monkeypatch.setattr(entry, name, interrupted)
    assert entry.main(["run"] if name != "_print_error" else ["no-such-file.py"]) == status
