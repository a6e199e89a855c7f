"""Console progress: one line per step without a terminal."""

from dataclasses import replace

import pytest

from loadgen.report.console import show_progress
from loadgen.workload.load import ClosedLoop
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support import example_runs


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
