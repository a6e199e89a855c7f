"""Console progress: one line per step without a terminal, bars in one, and no failure that reaches the run."""

import io
import re
import threading
import unicodedata
from contextlib import redirect_stderr
from dataclasses import replace

import pytest

from loadgen.report import console
from loadgen.report.console import show_progress
from loadgen.workload.load import ClosedLoop
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support import example_runs
from tests.support.report_examples import NAUGHTY


def test_an_unnamed_step_has_a_readable_label(capsys):
    """The line of a step without a name starts with its configuration and load."""
    step = Step(ServerlessConfig(2048, 4), ClosedLoop(6, count=200))
    run = example_runs.stability_run(2048, 200)
    with show_progress(quiet=True) as progress:
        progress.step_started(step)
        progress.step_finished(step, run)
    assert capsys.readouterr().err.startswith("2048 MB, MaxConcurrency 4, 6 clients: 200 requests in ")


@pytest.mark.parametrize(
    ("duration", "shown"),
    [(0.0, " - TPS"), (0.02, " - TPS"), (0.999, " - TPS"), (1.0, " 200.0 TPS"), (4.0, " 50.0 TPS")],
)
def test_a_rate_needs_a_whole_second(capsys, duration, shown):
    """A step that took less than a second has a dash for its TPS, as in the tables (case 16)."""
    run = replace(example_runs.stability_run(2048, 200), duration=duration)
    with show_progress(quiet=True) as progress:
        progress.step_started(run.step)
        progress.step_finished(run.step, run)
    assert shown in capsys.readouterr().err


@pytest.mark.parametrize("text", NAUGHTY)
def test_progress_has_no_control_of_a_terminal(capsys, text):
    """A message and a step label from elsewhere print as one line each, without escape sequences, C1 controls or direction overrides."""
    run = example_runs.stability_run(2048, 200)
    step = replace(run.step, name=text)
    with show_progress(quiet=True) as progress:
        progress.log(text)
        progress.log(f"job failed: {text}")
        progress.step_started(step)
        progress.step_finished(step, run)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 3
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", printed)
    assert not [c for c in printed.replace("\n", "") if unicodedata.category(c) in ("Cf", "Cs", "Zl", "Zp")]


class _Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal to put in place of stderr."""
    monkeypatch.setenv("TERM", "xterm")
    return _Terminal()


@pytest.mark.parametrize(
    ("load", "planned"),
    [(ClosedLoop(2, duration=6), ""), (ClosedLoop(2, count=200), "/200")],
    ids=["duration", "count"],
)
def test_a_bar_shows_the_planned_number_only_if_the_load_determines_it(terminal, load, planned):
    """A closed loop with a duration is drawn, by the thread of the bars too, and a message can be logged meanwhile."""
    died = []
    hook, threading.excepthook = threading.excepthook, died.append
    try:
        with redirect_stderr(terminal), show_progress() as progress:
            progress.step_started(Step(ServerlessConfig(2048, 4), load))
            progress.log("a message")
    finally:
        threading.excepthook = hook
    assert died == []
    assert re.search(rf"\b0{planned}\b", terminal.getvalue())
    assert "a message" in terminal.getvalue()
    assert "cannot be shown" not in terminal.getvalue()


@pytest.mark.parametrize("error", [TypeError("None"), OSError(5, "Input/output error"), ValueError("closed file")])
@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("method", ["print", "render", "set_live", "show_cursor"])
def test_a_failure_to_show_progress_does_not_reach_the_run(terminal, monkeypatch, method, is_terminal, error):
    """Whatever rich or the stream in its place raises: no exception, one line about it, and later messages still come."""

    def fail(*_, **__):
        raise error

    run = example_runs.stability_run(2048, 200)
    monkeypatch.setattr(console.Console, method, fail)
    monkeypatch.setattr(_Terminal, "isatty", lambda _: is_terminal)
    with redirect_stderr(terminal), show_progress() as progress:
        for _ in range(2):
            progress.step_started(run.step)
            progress.log("a message")
            progress.step_finished(run.step, run)
    shown = terminal.getvalue()
    is_used = is_terminal or method in {"print", "render"}
    assert shown.count("progress cannot be shown") == is_used
    assert shown.count("a message") >= 1


def test_a_stream_that_is_closed_in_mid_run_does_not_reach_the_run(terminal):
    """A notebook or test that closes its stderr loses messages, not the run."""
    run = example_runs.stability_run(2048, 200)
    reached = False
    with redirect_stderr(terminal), show_progress() as progress:
        progress.step_started(run.step)
        terminal.close()
        progress.log("a message")
        progress.step_finished(run.step, run)
        reached = True
    assert reached
    assert terminal.closed


def test_tables_that_cannot_be_printed_are_reported(monkeypatch, capsys, tmp_path):
    """A failure to print the tables of the report is one line on stderr."""

    def fail(*_):
        raise UnicodeEncodeError("ascii", "\u2192", 0, 1, "no such character")

    monkeypatch.setattr(console, "render_report", fail)
    console.print_report(None, None, tmp_path)
    assert capsys.readouterr().err.startswith("loadgen: tables cannot be shown (UnicodeEncodeError: ")
