"""The verdict on runs of several workers."""

from dataclasses import replace

import pytest

from loadgen.analysis.verdict import judge
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.run import Run, WorkerReport
from loadgen.measurement.tally import Tally
from loadgen.workload.load import ClosedLoop
from loadgen.workload.step import Step
from tests.support.random_samples import random_samples


def run_with(*workers):
    samples = random_samples(500, 3)
    samples["outcome"] = Outcome.OK
    samples["sent"] = samples["scheduled"]
    samples["done"] = samples["sent"] + 1.0
    tally = Tally()
    tally.record_samples(samples, with_response=False)
    return Run(Step(None, ClosedLoop(1, count=500)), 0.0, 11.0, "count", 500, tally, samples=samples, workers=workers)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"lost_reason": "was killed by SIGKILL", "unsent": 40}, "lost"),
        ({"start_delay": 0.3}, "late"),
        ({"clock_uncertainty": 0.2}, "clock"),
    ],
)
def test_a_lost_late_or_unsynchronized_worker_makes_the_run_invalid(change, problem):
    """A lost, late or unsynchronized worker makes the run INVALID; the reason contains the worker's name."""
    fine = WorkerReport("process 1")
    assert judge(run_with(fine, WorkerReport("process 2"))).is_valid
    verdict = judge(run_with(fine, replace(WorkerReport("process 2"), **change)))
    assert [problem in reason.problem for reason in verdict.reasons] == [True]
    assert "process 2" in verdict.reasons[0].observed


def test_a_shard_that_was_started_twice_is_noted():
    """A shard that a scheduler started again was sent once; the verdict has a note with the worker's name."""
    verdict = judge(run_with(WorkerReport("tcp://a"), WorkerReport("tcp://b", duplicate_starts=1)))
    assert verdict.is_valid
    assert any("tcp://b" in note and "2 times" in note for note in verdict.notes)
