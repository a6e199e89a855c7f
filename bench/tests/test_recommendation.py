"""The bench of recommendations: it runs, and counts right and wrong answers as they are."""

import json
import sys

import pytest

from bench import recommendation


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["recommendation", *arguments])
    with pytest.raises(SystemExit) as caught:
        recommendation.main()
    return caught.value.code


def test_the_bench_simulates_every_kind_of_model(monkeypatch, tmp_path, capsys):
    """Ten benchmarks of 20 calls: one of each kind for each objective, and the counts of the last line are theirs."""
    file = tmp_path / "answers.json"

    assert run(monkeypatch, "--benchmarks", "10", "--calls", "20", "--json", str(file)) in {0, 1}

    answers = json.loads(file.read_text())
    sure = [one for one in answers if one["probability"] >= 0.9]
    right = sum(one["is_right"] for one in sure)
    assert len({(one["kind"], one["objective"]) for one in answers}) == 30
    assert f"stated with 0.9 or more: {right} of {len(sure)} right" in capsys.readouterr().out
    assert right >= len(sure) - 2


def test_wrong_answers_fail_the_bench(monkeypatch, capsys):
    """When every recommendation counts as wrong, the exit status is 1."""
    monkeypatch.setattr(recommendation.SimulatedBenchmark, "is_right", lambda *_: False)

    assert run(monkeypatch, "--benchmarks", "2", "--calls", "20") == 1
    assert " 0 of " in capsys.readouterr().out
