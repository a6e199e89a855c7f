"""Drift over rounds: a change that all steps share is told from that of one step."""

from dataclasses import replace

import numpy as np
import pytest

from loadgen.analysis.analysis import analyze
from loadgen.analysis.drift import drift_over_rounds
from loadgen.analysis.prices import PriceBook
from loadgen.measurement.block import Block
from loadgen.measurement.sample import SAMPLE
from loadgen.report.content.drift import drift_table
from loadgen.workload.load import ClosedLoop
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support.example_runs import run_of_samples
from tests.support.fleet_samples import sample_record

PER_BLOCK = 5


def run_in_rounds(memory_mb, base, factors, phase="stability"):
    """Return a run whose latency in round n is base x factors[n - 1]."""
    samples = np.zeros(PER_BLOCK * len(factors), SAMPLE)
    blocks, now = [], 0.0
    for number, factor in enumerate(factors):
        blocks.append(Block(number + 1, PER_BLOCK * number, 1000.0 * number, now, PER_BLOCK))
        for seq in range(PER_BLOCK * number, PER_BLOCK * (number + 1)):
            samples[seq] = sample_record(seq, now, now, now + base * factor)
            now += base * factor
    step = Step(ServerlessConfig(memory_mb), ClosedLoop(1, count=len(samples)), name=f"{memory_mb} MB", phase=phase)
    return replace(run_of_samples(step, samples, started=0.0), blocks=tuple(blocks))


def test_a_common_drift_is_told_from_that_of_one_step():
    """Three steps get 20 % slower in the third of four rounds, and one of them 50 % slower in the last."""
    runs = [
        run_in_rounds(1024, 0.3, [1, 1, 1.2, 1]),
        run_in_rounds(2048, 0.1, [1, 1, 1.2, 1]),
        run_in_rounds(3072, 0.2, [1, 1, 1.2, 1.5]),
    ]
    drift = drift_over_rounds(runs)

    assert drift.rounds == ((1, 1), (2, 2), (3, 3), (4, 4))
    # The third step's own median over the rounds is that of 1, 1, 1.2 and 1.5: 1.1.
    assert drift.common == pytest.approx([1, 1, 1.2, 1])
    assert drift.own[:, 0] == pytest.approx([1, 1, 1, 1])
    assert drift.own[:, 2] == pytest.approx([1 / 1.1, 1 / 1.1, 1 / 1.1, 1.5 / 1.1])


def test_many_rounds_are_grouped():
    """57 rounds are shown in ten groups that cover each round once; each round of a steady drift counts."""
    factors = np.linspace(1, 2, 57)
    drift = drift_over_rounds([run_in_rounds(mb, 0.1, factors) for mb in (1024, 2048)])

    assert len(drift.rounds) == 10
    assert [n for first, last in drift.rounds for n in range(first, last + 1)] == list(range(1, 58))
    assert (np.diff(drift.common) > 0).all()
    assert drift.own == pytest.approx(np.ones((10, 2)))


def test_a_step_that_ended_early_has_dashes():
    """Rounds in which a step was not called any more have no value for it, and the others are unaffected."""
    runs = [run_in_rounds(1024, 0.1, [1, 1]), run_in_rounds(2048, 0.1, [1, 1, 1.1, 1])]
    analysis = analyze(runs, region="us-east-1", prices=PriceBook.builtin())
    table = drift_table(analysis.runs)

    assert [cell.text for cell in table.rows[2]] == ["3", "+10.0", "–", "+0.0"]
    assert [cell.text for cell in table.rows[0]] == ["1", "+0.0", "+0.0", "+0.0"]


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [run_in_rounds(1024, 0.1, [1, 1, 1])],
        [run_in_rounds(mb, 0.1, [1]) for mb in (1024, 2048)],
        [run_in_rounds(1024, 0.1, [1, 1]), replace(run_in_rounds(2048, 0.1, [1, 1]), blocks=())],
    ],
    ids=["no run", "one run", "one round", "in one piece"],
)
def test_without_common_rounds_there_is_no_drift(runs):
    """A single run or round, and runs in one piece, have nothing in common to compare."""
    assert drift_over_rounds(runs) is None


def test_a_comparison_is_part_of_the_report():
    """The runs of a comparison are shown as a scenario's own steps."""
    runs = [run_in_rounds(mb, 0.1, [1, 1], phase="comparison") for mb in (1024, 2048)]
    analysis = analyze(runs, region="us-east-1", prices=PriceBook.builtin())

    assert [row.memory_mb for row in analysis.in_phase("")] == [1024, 2048]
