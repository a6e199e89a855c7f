"""From a scenario to saved runs, compared with the emulator's ledger."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from loadgen import ClosedLoop, Emulated, Scenario, ServerlessBenchmark, ServerlessConfig, Step
from loadgen.analysis.analysis import analyze
from loadgen.analysis.prices import PriceBook
from loadgen.errors import ExitStatus, QuotaError
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.results.directory import ResultsDirectory
from tests.support.emulator import QUICK, deploy, emulated, fetch, profile_of_latency
from tests.support.scenario_runs import REQUESTS, RecordingProgress, assert_ledger_agrees, execute, list_resources


def test_counts_equal_the_ledger(tmp_path):
    """For several memory sizes and client counts, each run's ok and throttled counts equal the ledger's."""
    with emulated(models={"quick": profile_of_latency(0.004)}) as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url),
            REQUESTS,
            [
                Step(ServerlessConfig(memory, slots), ClosedLoop(clients, count=60, backoff=0.001))
                for memory, slots, clients in ((1024, 1, 1), (2048, 1, 3), (2048, 4, 4), (3072, 4, 9), (6144, 20, 32))
            ],
        )
        finished = execute(scenario, tmp_path / "out")

        assert [run.stop_reason for run in finished.runs] == ["count"] * 5
        for run in finished.runs:
            assert_ledger_agrees(run, emulator)
        assert any(run.count(OutcomeCategory.THROTTLED) for run in finished.runs)
        assert list_resources(emulator) == []
    assert finished.statuses == ()
    for run in finished.runs:
        assert run.server_counts["arrivals"] == run.scheduled == len(run.samples) == 60
        assert run.server_counts["hidden_retries"] == 0
        sizes = [len(REQUESTS[index].body) for index in run.samples["request_index"]]
        assert run.samples["request_bytes"].tolist() == sizes
        assert sum(sizes) == run.server_counts["bytes_in"]


def test_every_size_is_sent_the_same_payloads(tmp_path):
    """The n-th payload depends on the seed only, so that all memory sizes are compared on the same requests."""
    with emulated() as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url),
            REQUESTS,
            [Step(ServerlessConfig(m), ClosedLoop(1, count=30)) for m in (1024, 2048)],
            seed=11,
        )
        first, second = execute(scenario, tmp_path / "out").runs
    assert first.samples["request_index"].tolist() == second.samples["request_index"].tolist()
    assert len(set(first.samples["request_index"].tolist())) == 3


def test_cold_calls_equal_the_ledger_and_cloudwatch(tmp_path):
    """The number of calls that waited for a cold start equals the ledger's, and the count of ModelSetupTime."""
    model = replace(profile_of_latency(0.02), cold_start=0.3)
    with emulated(models={"cold": model}, time_scale=1.0, delete_time=0.0) as emulator:
        scenario = Scenario(
            Emulated(model="cold", url=emulator.url),
            REQUESTS,
            [Step(ServerlessConfig(2048, 4), ClosedLoop(4, count=40))],
        )
        (run,) = execute(scenario, tmp_path / "out").runs
    cold = int(((run.samples["done"] - run.samples["sent"]) > 0.2).sum())
    assert cold == run.server_counts["cold"] == run.metrics.values["ModelSetupTime"].sample_count
    assert cold == 3  # one instance is warm when the endpoint is in service; MaxConcurrency 4 needs three more


def test_a_size_with_too_little_memory_is_stopped_and_not_recommended(tmp_path):
    """Three out-of-memory errors stop that memory size only, and it is excluded from the recommendation."""
    hungry = replace(QUICK, name="hungry", memory_used_mb=1500)
    with emulated(models={"hungry": hungry}) as emulator:
        scenario = ServerlessBenchmark(
            Emulated(model="hungry", url=emulator.url),
            REQUESTS,
            memory_sizes=[1024, 2048, 3072],
            invocations=30,
            max_concurrency=[2],
            multipliers=[1],
            concurrency_invocations=20,
            backoff=0.001,
        )
        finished = execute(scenario, tmp_path / "out")
        for run in finished.runs:
            assert_ledger_agrees(run, emulator)
    small, *rest = finished.runs
    assert (small.stop_reason, dict(small.tally.counts)) == ("errors", {Outcome.MODEL_OOM: 3})
    assert [run.count(OutcomeCategory.OK) for run in rest] == [30, 30, 20]
    analysis = analyze(finished.runs, region="us-east-1", prices=PriceBook.builtin())
    assert analysis.recommendation.memory_mb != 1024
    assert 1024 in analysis.recommendation.excluded


def test_a_failed_deployment_is_reported_and_the_other_steps_run(tmp_path):
    """The run has the FailureReason verbatim, the exit status is 69, and no endpoint is left."""
    with emulated() as emulator:
        fault = {
            "operation": "CreateEndpoint",
            "kind": "fail_deploy",
            "times": 1,
            "message": "Image size 13127985835 is greater than supported size 10737418240",
            "endpoint_contains": "-2048-",
        }
        assert fetch(f"{emulator.url}/faults", json.dumps(fault).encode(), method="POST")[0] < 300
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url),
            REQUESTS,
            [Step(ServerlessConfig(m), ClosedLoop(1, count=5)) for m in (1024, 2048, 3072)],
        )
        finished = execute(scenario, tmp_path / "out")
        assert list_resources(emulator) == []
    assert [run.stop_reason for run in finished.runs] == ["count", "not deployed", "count"]
    assert "Image size 13127985835 is greater than supported size 10737418240" in finished.runs[1].failure
    assert finished.statuses == (ExitStatus.UNAVAILABLE,)


def test_a_quota_that_is_too_small_is_reported_before_anything_is_created(tmp_path):
    """Six sizes on an account with ordinary quotas are refused with 75, and nothing is created."""
    with emulated(quotas="ordinary") as emulator:
        scenario = ServerlessBenchmark(Emulated(model="quick", url=emulator.url), REQUESTS)
        with pytest.raises(QuotaError, match="3072"):
            execute(scenario, tmp_path / "out")
        assert list_resources(emulator) == []


def test_more_endpoints_than_the_quota_are_deployed_in_waves(tmp_path):
    """Eight endpoints on an account that allows five, and ten of MaxConcurrency in all, are all measured."""
    with emulated(quotas="ordinary") as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url),
            REQUESTS,
            [
                Step(ServerlessConfig(m, c), ClosedLoop(2, count=6))
                for m in (1024, 2048, 3072)
                for c in (2, 4, 6)
                if (m, c) != (3072, 6)
            ],
        )
        finished = execute(scenario, tmp_path / "out")
    assert [run.count(OutcomeCategory.OK) for run in finished.runs] == [6] * 8


@pytest.mark.parametrize(
    ("in_use", "measured"),
    [
        ([5], [2, 4]),  # 5 of 10 are free: one at a time
        ([1, 1, 1, 1], [1, 1, 1]),  # one endpoint of 5 is free
        ([4], [2, 2, 2, 4]),
        ([1], [1, 9]),
    ],
)
def test_what_a_quota_in_use_refuses_is_deployed_when_the_rest_of_its_wave_is_gone(tmp_path, in_use, measured):
    """Endpoints of others use a part of a quota: what is refused is deployed later, and every step is measured."""
    with emulated(quotas="ordinary") as emulator:
        for number, max_concurrency in enumerate(in_use):
            deploy(emulator, f"other{number}", max_concurrency=max_concurrency)
        steps = [Step(ServerlessConfig(1024 * n, c), ClosedLoop(1, count=4)) for n, c in zip((1, 2, 3, 1), measured)]
        finished = execute(Scenario(Emulated(model="quick", url=emulator.url), REQUESTS, steps), tmp_path / "out")
        assert [name for name in list_resources(emulator) if "other" not in name] == []
    assert [run.step for run in finished.runs] == steps
    assert [run.count(OutcomeCategory.OK) for run in finished.runs] == [4] * len(steps)
    assert finished.statuses == ()


def test_a_quota_that_others_use_up_is_the_cause_of_a_failed_run(tmp_path):
    """With the whole quota in use each endpoint is at last tried alone, and AWS's refusal is the cause of status 75."""
    progress = RecordingProgress()
    with emulated(quotas="ordinary") as emulator:
        deploy(emulator, "other", max_concurrency=10)
        steps = [Step(ServerlessConfig(m, 2), ClosedLoop(1, count=4)) for m in (1024, 2048, 3072)]
        finished = execute(
            Scenario(Emulated(model="quick", url=emulator.url), REQUESTS, steps), tmp_path / "out", progress=progress
        )
    assert [run.stop_reason for run in finished.runs] == ["not deployed"] * 3
    assert finished.statuses == (ExitStatus.TRY_LATER,) * 3
    assert all("current utilization of 10 Units" in run.failure for run in finished.runs)
    assert "trying again with 1 at a time" in "\n".join(progress.messages)
    assert sum(message.startswith("not deployed:") for message in progress.messages) == 3


def test_a_stopped_scenario_keeps_its_samples_and_deletes_its_endpoints(tmp_path):
    """After a stop the step in progress ends with `stop` and balanced counts, no other step runs, no endpoint is left."""
    with emulated(models={"quick": profile_of_latency(0.01)}) as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url),
            REQUESTS,
            [Step(ServerlessConfig(m), ClosedLoop(1, duration=60)) for m in (1024, 2048)],
        )
        finished = execute(scenario, tmp_path / "out", stop_after=0)
        assert list_resources(emulator) == []
    assert finished.is_incomplete
    assert [run.stop_reason for run in finished.runs] == ["stop"]
    (run,) = finished.runs
    assert run.scheduled == run.tally.total == len(run.samples) > 0


def test_several_runs_share_one_emulator(run_in_sandbox):
    """Five processes that each run an open loop on two endpoints against one emulator all complete every request."""

    async def main(sandbox):
        path = sandbox.write_scenario(load="", sizes=[1024, 2048])
        text = path.read_text().replace("ClosedLoop(2, )", "OpenLoop(even(constant(20)), duration=1)")
        path.write_text(text.replace("import ClosedLoop,", "import OpenLoop, constant, even,"))
        children = [sandbox.start(str(path), "--quiet", "--out", f"out-{n}") for n in range(5)]
        statuses = [await sandbox.finish(child) for child in children]
        assert set(statuses) <= {0, 110}, [child.stderr.read_text() for child in children]
        for n in range(5):
            runs = ResultsDirectory.open(sandbox.directory / f"out-{n}").read_runs()
            assert [run.tally.counts[Outcome.OK] + run.tally.counts[Outcome.THROTTLED] for run in runs] == [20, 20]
        assert sandbox.arrivals() == 5 * 2 * 20
        assert sandbox.existing_resources() == set()

    run_in_sandbox(main, service=0.005)


@pytest.mark.parametrize("moment", ["deploying", "under load"])
def test_an_emulator_of_the_run_that_is_killed_is_the_cause(tmp_path, moment):
    """When a run's own emulator is killed, status 69 and the first cause name the signal, and nothing may remain."""

    def kill_emulator():
        for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
            if b"emulate" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)

    progress = RecordingProgress(lambda *_: kill_emulator())
    if moment == "deploying":
        progress.log = lambda text: kill_emulator() if text.startswith("deploying") else None
    steps = [Step(ServerlessConfig(m), ClosedLoop(1, duration=60)) for m in (1024, 2048)]
    finished = execute(Scenario(Emulated("instant"), REQUESTS, steps), tmp_path / "out", progress=progress)
    assert finished.leftovers == ()
    assert finished.statuses[0] is ExitStatus.UNAVAILABLE
    assert "the emulator was killed by SIGKILL" in finished.causes[0].message
    assert "the emulator was killed by SIGKILL" in finished.incomplete_reason
    assert ExitStatus.RESOURCE_LEAK not in finished.statuses
    assert not any(run.data_errors for run in finished.runs)
