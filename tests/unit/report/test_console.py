"""Console progress: one line per step without a terminal."""

import re
import unicodedata
from dataclasses import replace

import pytest

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
