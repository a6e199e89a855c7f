"""Sizes measured in rounds against the emulator: ledger, order, failures, quotas, resume, spend limit, workers."""

import asyncio
import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path

from loadgen import ClosedLoop, Emulated, Scenario, ServerlessBenchmark, ServerlessConfig, Step
from loadgen.distributed.local_processes import ProcessExecutor
from loadgen.errors import ExitStatus
from loadgen.execution import scenario_runner
from loadgen.execution.preflight import RunPolicy
from loadgen.execution.scenario_runner import run_scenario
from loadgen.scenario.loader import LoadedScenario
from loadgen.scenario.rounds import Rounds
from tests.support.emulator import emulated, fetch, profile_of_latency
from tests.support.scenario_runs import (
    REQUESTS,
    RecordingProgress,
    assert_ledger_agrees,
    execute,
    list_resources,
)

SIZES = (1024, 2048, 3072)


def benchmark(emulator, **settings):
    settings = {"memory_sizes": SIZES, "invocations": 30, "include_concurrency": False, "seed": 3} | settings
    return ServerlessBenchmark(Emulated(model="quick", url=emulator.url), REQUESTS, **settings)


@dataclass(frozen=True, slots=True)
class ScenarioInRounds(Scenario):
    """A scenario whose steps are measured in rounds of four calls."""

    def plan(self):
        yield Rounds(self.steps, 4)


def execute_with_policy(scenario, out, policy, stop=None, progress=None):
    loaded = LoadedScenario(scenario, "test", "does it work?", "", Path("test.py"))
    return asyncio.run(
        run_scenario(
            loaded,
            out,
            command="test",
            progress=progress or RecordingProgress(),
            stop=stop or asyncio.Event(),
            policy=policy,
        )
    )


def wall_clock_of_blocks(runs):
    """Return (start, memory size) of every block, in the order of the wall clock."""
    return sorted((block.started, run.step.config.memory_mb) for run in runs for block in run.blocks)


def test_a_benchmark_in_rounds_agrees_with_the_ledger(tmp_path):
    """Each size has one run whose counts equal the ledger's, with the same payloads, in three rounds of ten calls."""
    with emulated(models={"quick": profile_of_latency(0.004)}) as emulator:
        finished = execute(benchmark(emulator, rounds=3), tmp_path / "out")

        for run in finished.runs:
            assert_ledger_agrees(run, emulator)
            assert run.server_counts["arrivals"] == run.scheduled == len(run.samples) == 30
            assert run.metrics.values["Invocations"].total == 30
        assert list_resources(emulator) == []
    assert finished.statuses == ()
    assert [run.step.config.memory_mb for run in finished.runs] == list(SIZES)
    assert [run.stop_reason for run in finished.runs] == ["count"] * 3
    assert {tuple(run.samples["request_index"].tolist()) for run in finished.runs} == {
        tuple(finished.runs[0].samples["request_index"].tolist())
    }
    order = [size for _, size in wall_clock_of_blocks(finished.runs)]
    assert [set(order[n : n + 3]) for n in (0, 3, 6)] == [set(SIZES)] * 3
    assert order[3:6] == order[:3][::-1]


def test_confidence_ends_sizes_early_with_the_same_choice(tmp_path):
    """With confidence=0.95 sizes of 40, 12 and 10 ms are decided with fewer calls, each in the ledger.

    The latency falls more than the price rises to 2048 MB, and less beyond: 2048 MB is best either way.
    """
    profile = replace(profile_of_latency(0.04), model_latency=((1024, 0.04), (2048, 0.012), (3072, 0.01)))
    with emulated(models={"quick": profile}) as emulator:
        finished = execute(benchmark(emulator, confidence=0.95, invocations=45), tmp_path / "early")
        everything = execute(benchmark(emulator, invocations=45), tmp_path / "all")
        for run in finished.runs:
            assert_ledger_agrees(run, emulator)

    early, late = (benchmark(emulator).recommended_memory_mb(one.runs) for one in (finished, everything))
    assert early == late == 2048
    assert sum(run.scheduled for run in finished.runs) < sum(run.scheduled for run in everything.runs)
    assert {run.stop_reason for run in finished.runs} == {"decided"}
    assert all(run.stop_detail for run in finished.runs)


def test_one_round_measures_each_size_in_one_piece(tmp_path):
    """With rounds=1 the sizes are measured one after the other, without blocks."""
    with emulated() as emulator:
        runs = execute(benchmark(emulator, rounds=1), tmp_path / "out").runs

    assert [run.step.config.memory_mb for run in runs] == list(SIZES)
    assert [run.blocks for run in runs] == [()] * 3
    assert [run.scheduled for run in runs] == [30] * 3
    runs = sorted(runs, key=lambda run: run.started)
    assert all(one.ended <= other.started for one, other in itertools.pairwise(runs))


def test_a_size_that_is_not_deployed_does_not_stop_the_others(tmp_path):
    """The other sizes are measured in rounds; the failed one has a run with the FailureReason."""
    with emulated() as emulator:
        fault = {"operation": "CreateEndpoint", "kind": "fail_deploy", "times": 1, "message": "Image is too large"}
        body = json.dumps(fault | {"endpoint_contains": "-2048-"}).encode()
        assert fetch(f"{emulator.url}/faults", body, method="POST")[0] < 300
        finished = execute(benchmark(emulator, rounds=3), tmp_path / "out")
        assert list_resources(emulator) == []

    assert [run.stop_reason for run in finished.runs] == ["count", "not deployed", "count"]
    assert "Image is too large" in finished.runs[1].failure
    assert [len(run.blocks) for run in finished.runs] == [3, 0, 3]
    assert finished.statuses == (ExitStatus.UNAVAILABLE,)


def test_each_wave_is_measured_in_rounds(tmp_path):
    """Seven endpoints on an account that allows five need two waves; the steps of each share its rounds."""
    with emulated(quotas="ordinary") as emulator:
        scenario = ScenarioInRounds(
            Emulated(model="quick", url=emulator.url),
            REQUESTS,
            [Step(ServerlessConfig(m, c), ClosedLoop(1, count=12)) for m in (1024, 2048) for c in (1, 2, 3)]
            + [Step(ServerlessConfig(3072, 1), ClosedLoop(1, count=12))],
        )
        runs = execute(scenario, tmp_path / "out").runs

    assert [[block.count for block in run.blocks] for run in runs] == [[4, 4, 4]] * 7
    spans = sorted((run.started, run.ended) for run in runs)
    first_wave = sum(start < min(end for _, end in spans) for start, _ in spans)
    assert 1 < first_wave < 7
    assert max(end for _, end in spans[:first_wave]) < spans[first_wave][0]


def test_an_interrupted_benchmark_is_resumed(tmp_path, monkeypatch):
    """After a stop in the second round every size has a part; the resumed run measures all of them anew, in rounds."""
    with emulated(models={"quick": profile_of_latency(0.02)}) as emulator:
        stop = asyncio.Event()

        def stop_in_second_round(progress, _window):
            if len(progress.windows) == 1:
                stop.set()

        scenario = benchmark(emulator, invocations=75, rounds=3)
        stopped = execute_with_policy(
            scenario, tmp_path / "out", RunPolicy(), stop, RecordingProgress(stop_in_second_round)
        )
        assert [run.stop_reason for run in stopped.runs] == ["stop"] * 3
        assert all(0 < run.scheduled < 75 for run in stopped.runs)
        assert all(run.blocks and run.scheduled == len(run.samples) for run in stopped.runs)

        progress = RecordingProgress()
        with monkeypatch.context() as patch:  # by another process: the one that was interrupted has ended
            patch.setattr(scenario_runner, "check_interrupted", lambda _: None)
            resumed = execute_with_policy(scenario, tmp_path / "out", RunPolicy(resume=True), progress=progress)
        assert list_resources(emulator) == []
    assert "resumed: 0 completed steps kept, 3 incomplete steps moved to interrupted/" in progress.messages
    assert [(run.scheduled, len(run.blocks), run.stop_reason) for run in resumed.runs] == [(75, 3, "count")] * 3
    assert not resumed.is_incomplete


def test_a_spend_limit_ends_all_sizes(tmp_path):
    """When the limit is reached in a round no size is called any more, and each run keeps its calls."""
    with emulated(models={"quick": profile_of_latency(0.01)}) as emulator:
        finished = execute_with_policy(
            benchmark(emulator, invocations=300, rounds=10), tmp_path / "out", RunPolicy(max_spend=2e-5)
        )
        assert list_resources(emulator) == []

    assert finished.statuses == (ExitStatus.THRESHOLD,)
    assert finished.is_incomplete
    assert {run.stop_reason for run in finished.runs} == {"stop"}
    assert all(0 < run.scheduled < 300 for run in finished.runs)


def test_several_workers_measure_one_size_after_the_other(tmp_path):
    """Worker processes do not take turns: the sizes are measured in one piece each, and a message says so."""
    progress = RecordingProgress()
    with emulated() as emulator:
        finished = execute(benchmark(emulator, rounds=3), tmp_path / "out", ProcessExecutor(2), progress)

    assert [run.blocks for run in finished.runs] == [()] * 3
    assert [run.scheduled for run in finished.runs] == [30] * 3
    assert any("not in rounds" in message for message in progress.messages)
