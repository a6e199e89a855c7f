"""Worker processes: the shards add up to the whole step, merging is exact, and a lost worker is reported."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from loadgen import (
    ClosedLoop,
    Emulated,
    OpenLoop,
    Scenario,
    ServerlessConfig,
    Step,
    constant,
    even,
    judge,
    poisson,
)
from loadgen.distributed import coordinator, protocol
from loadgen.distributed.local_processes import ProcessExecutor
from loadgen.emulator.settings import Settings
from loadgen.errors import ConfigError, ExitStatus, UsageError
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.sample import WARMUP
from loadgen.report.build import build_report
from loadgen.results.directory import ResultsDirectory
from loadgen.workload.step import ErrorLimit
from tests.support.emulator import QUICK, emulated, endpoint_counters, eventually, profile_of_latency
from tests.support.scenario_runs import (
    CONFIG,
    REQUESTS,
    RecordingProgress,
    assert_counts_balance,
    assert_same_histograms,
    execute,
    list_resources,
)


def test_two_workers_send_what_one_process_would(tmp_path):
    """Two workers send the same requests at the same instants as one process, and the emulator counts each once."""
    steps = [
        Step(CONFIG, OpenLoop(poisson(constant(80), seed=3), duration=1.5), name="open", warmup=0.5),
        Step(CONFIG, ClosedLoop(5, count=83), name="closed", warmup_calls=10),
        Step(CONFIG, ClosedLoop(1, count=7), name="a single client"),
    ]
    with emulated() as emulator:
        scenario = Scenario(Emulated(model="quick", url=emulator.url), REQUESTS, steps, seed=5)
        alone = execute(scenario, tmp_path / "one", None)
        watching = RecordingProgress()
        both = execute(scenario, tmp_path / "two", ProcessExecutor(2), watching)
        assert list_resources(emulator) == []
        ledger = endpoint_counters(emulator, both.runs[0].endpoint)

    assert both.statuses == ()
    assert ledger["arrivals"] == ledger["ok"] == sum(run.scheduled for run in both.runs)
    for one, two in zip(alone.runs, both.runs, strict=True):
        assert_counts_balance(two)
        assert (one.scheduled, one.stop_reason) == (two.scheduled, two.stop_reason)
        assert two.server_counts["arrivals"] == two.scheduled
        first, second = (np.sort(np.asarray(run.samples), order="seq") for run in (one, two))
        for name in ("seq", "request_index", "request_bytes"):
            assert np.array_equal(first[name], second[name])
        assert np.array_equal(first["flags"] & WARMUP, second["flags"] & WARMUP)
    first, second = (np.sort(np.asarray(run.samples), order="seq") for run in (alone.runs[0], both.runs[0]))
    assert second["scheduled"] == pytest.approx(first["scheduled"], abs=1e-9)

    # Merging the workers' histograms gives the same bits as recording all samples in one.
    for joined, read in zip(watching.finished_runs, both.runs, strict=True):
        assert_same_histograms(joined, read)
        assert joined.measurement_start == pytest.approx(read.measurement_start)
    assert sum(sum(window.counts.values()) + window.warmup for window in watching.windows) == ledger["ok"]
    assert [len(run.workers) for run in both.runs] == [2, 2, 1]
    assert [worker.scheduled for worker in both.runs[1].workers] == [42, 41]
    assert all(worker.generator_stats.cpu_share > 0 for run in both.runs for worker in run.workers)
    _, page = build_report(both.results)
    shown = page.read_text("utf-8")
    assert all(f"{run.step.name}, {worker.name}" in shown for run in both.runs for worker in run.workers)
    assert all(
        worker.start_delay < 1.0 and worker.clock_uncertainty == 0 for run in both.runs for worker in run.workers
    )


def kill(number):
    def then(progress, window):
        if window.index == 1 and window.start == 1.0 and len(progress.windows) == 2:
            os.kill(progress.pids[number], signal.SIGKILL)

    return then


@pytest.mark.parametrize(
    "load", [OpenLoop(even(constant(40)), duration=4.0), ClosedLoop(8, duration=4.0), ClosedLoop(8, count=160)]
)
def test_a_killed_worker_is_reported_and_its_shard_is_not_reassigned(tmp_path, load):
    """After kill -9 in-flight requests are lost_with_worker, the other shard is complete, the run is INVALID (C105)."""
    with emulated(models={"quick": profile_of_latency(0.15)}, payload_limit=1 << 22) as emulator:
        scenario = Scenario(Emulated(model="quick", url=emulator.url), REQUESTS, [Step(CONFIG, load)])
        finished = execute(scenario, tmp_path / "out", ProcessExecutor(2), RecordingProgress(kill(0)))
        (run,) = finished.runs
        # The emulator still serves the last requests when the worker is gone.
        eventually(lambda: endpoint_counters(emulator, run.endpoint)["arrivals"] >= run.scheduled - 4)
        arrivals = endpoint_counters(emulator, run.endpoint)["arrivals"]
        assert list_resources(emulator) == []

    assert_counts_balance(run)
    dead, living = run.workers
    assert "SIGKILL" in dead.lost_reason
    assert living.lost_reason == ""
    lost = np.asarray(run.samples)[run.samples["outcome"] == Outcome.LOST_WITH_WORKER]
    # In flight, or completed just before the samples would have been written.
    assert 1 <= len(lost) <= 20
    assert set((lost["seq"] % 2).tolist()) == {0}
    # Each request that arrived has an outcome; a request may be counted as sent and not have left.
    assert run.scheduled - 4 <= arrivals <= run.scheduled
    # The requests with odd numbers are the other worker's shard.
    mine = run.samples["seq"][run.samples["seq"] % 2 == 1]
    assert len(mine) == living.scheduled
    if not isinstance(load, ClosedLoop) or load.count:
        assert len(mine) == 80
        assert dead.scheduled + dead.unsent == 80
    verdict = judge(run)
    assert not verdict.is_valid
    assert "worker lost" in [reason.problem for reason in verdict.reasons]
    assert finished.statuses == ()
    assert_same_histograms(run, ResultsDirectory.open(tmp_path / "out").read_runs()[0])


def test_a_worker_killed_before_the_start_has_sent_nothing(tmp_path):
    """When a worker is killed before the start, its whole shard is unsent, and no request is lost in flight."""

    class Killing(RecordingProgress):
        def log(self, text):
            super().log(text)
            if text.startswith("2 workers:"):
                os.kill(self.pids[1], signal.SIGKILL)

    with emulated() as emulator:
        load = OpenLoop(even(constant(50)), duration=1.0)
        scenario = Scenario(Emulated(model="quick", url=emulator.url), REQUESTS, [Step(CONFIG, load)])
        (run,) = execute(scenario, tmp_path / "out", ProcessExecutor(2), Killing()).runs
        assert endpoint_counters(emulator, run.endpoint)["arrivals"] == run.scheduled
    assert_counts_balance(run)
    # A worker that is lost before the step gets no shard; one lost while it opens the endpoint leaves its shard unsent.
    assert run.scheduled + sum(worker.unsent for worker in run.workers) == 50
    assert not (run.samples["outcome"] == Outcome.LOST_WITH_WORKER).any()
    is_reported = "worker lost" in [reason.problem for reason in judge(run).reasons]
    assert is_reported == (len(run.workers) == 2)


def test_a_stopped_worker_is_killed_after_the_heartbeat_timeout(tmp_path, monkeypatch):
    """A worker that sends no message for the heartbeat timeout is killed and reported as lost."""
    monkeypatch.setattr(coordinator, "_HEARTBEAT_TIMEOUT", 2.0)
    stopped = []

    def then(progress, window):
        if not stopped:
            stopped.append(progress.pids[1])
            os.kill(stopped[0], signal.SIGSTOP)

    with emulated(models={"quick": profile_of_latency(0.02)}) as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url), REQUESTS, [Step(CONFIG, ClosedLoop(4, duration=3.0))]
        )
        (run,) = execute(scenario, tmp_path / "out", ProcessExecutor(2), RecordingProgress(then)).runs
    assert_counts_balance(run)
    assert [worker.lost_reason for worker in run.workers] == ["", "sent no message for 2 s"]
    assert not judge(run).is_valid


def test_when_all_workers_are_lost_the_run_ends_with_71(tmp_path):
    """When every worker is lost the plan ends, the samples are kept, the endpoints are deleted, the status is 71 (C105)."""

    def then(progress, window):
        if window.index == 0 and len(progress.windows) == 1:
            for pid in progress.pids:
                os.kill(pid, signal.SIGKILL)

    with emulated(models={"quick": profile_of_latency(0.02)}) as emulator:
        steps = [Step(ServerlessConfig(memory, 4), ClosedLoop(4, count=10_000)) for memory in (1024, 2048)]
        scenario = Scenario(Emulated(model="quick", url=emulator.url), REQUESTS, steps)
        finished = execute(scenario, tmp_path / "out", ProcessExecutor(2), RecordingProgress(then))
        assert list_resources(emulator) == []
    assert finished.statuses == (ExitStatus.OS_RESOURCE,)
    (run,) = finished.runs
    assert run.stop_reason == "lost"
    assert_counts_balance(run)
    assert run.count(OutcomeCategory.OK) > 10


def test_a_stop_reaches_every_worker(tmp_path):
    """After a stop all workers end their load, the counts balance, and no endpoint is left."""
    stop = asyncio.Event()
    with emulated(models={"quick": profile_of_latency(0.01)}) as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url),
            REQUESTS,
            [Step(CONFIG, ClosedLoop(4, duration=60)), Step(CONFIG, ClosedLoop(4, duration=60))],
        )
        finished = execute(
            scenario, tmp_path / "out", ProcessExecutor(2), RecordingProgress(lambda *_: stop.set()), stop
        )
        assert list_resources(emulator) == []
    assert finished.is_incomplete
    (run,) = finished.runs
    assert [worker.stop_reason for worker in run.workers] == ["stop", "stop"]
    assert run.stop_reason == "stop"
    assert_counts_balance(run)


def test_workers_ignore_sigint(tmp_path):
    """A worker that receives SIGINT continues: only the coordinator reacts to Ctrl-C."""

    def then(progress, window):
        for pid in progress.pids:
            os.kill(pid, signal.SIGINT)

    with emulated(models={"quick": profile_of_latency(0.01)}) as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url), REQUESTS, [Step(CONFIG, ClosedLoop(2, duration=1.5))]
        )
        (run,) = execute(scenario, tmp_path / "out", ProcessExecutor(2), RecordingProgress(then)).runs
    assert [worker.lost_reason for worker in run.workers] == ["", ""]
    assert run.stop_reason == "duration"


def test_an_error_limit_counts_the_errors_of_all_workers(tmp_path):
    """Eight errors over both workers reach the step's limit, which neither worker reaches alone."""
    hungry = replace(QUICK, name="hungry", memory_used_mb=1500)
    with emulated(models={"hungry": hungry}) as emulator:
        step = Step(
            ServerlessConfig(1024, 8),
            ClosedLoop(2, count=100_000, backoff=0.02),
            error_limit=ErrorLimit(share=0.5, at_least=8),
        )
        scenario = Scenario(Emulated(model="hungry", url=emulator.url), REQUESTS, [step])
        (run,) = execute(scenario, tmp_path / "out", ProcessExecutor(2)).runs
    assert run.stop_reason == "errors"
    assert 8 <= run.count(OutcomeCategory.FAILED) == run.scheduled < 2000
    assert [(code.code, code.number) for code in run.error_codes] == [("ModelError", 1)]


@dataclass(frozen=True)
class LocalTarget:
    """A target without `for_workers`."""

    inner: Emulated

    def account(self, *, run_id):
        return self.inner.account(run_id=run_id)


def test_a_target_without_support_for_workers_is_refused(tmp_path):
    """A target that only this process can call is refused with 78 before anything is deployed."""
    with emulated() as emulator:
        target = LocalTarget(Emulated(model="quick", url=emulator.url))
        scenario = Scenario(target, REQUESTS, [Step(CONFIG, ClosedLoop(2, count=2))])
        with pytest.raises(ConfigError, match="one process only"):
            execute(scenario, tmp_path / "out", ProcessExecutor(2))
        assert list_resources(emulator) == []


def test_workers_of_another_version_are_refused(tmp_path, monkeypatch):
    """A worker of another version is refused with 78 before anything is sent (C107)."""
    with emulated() as emulator:
        scenario = Scenario(Emulated(model="quick", url=emulator.url), REQUESTS, [Step(CONFIG, ClosedLoop(2, count=2))])
        monkeypatch.setattr(protocol.VersionInfo, "current", lambda: protocol.VersionInfo("9.9.9", "3.11"))
        with pytest.raises(ConfigError, match=r"9\.9\.9"):
            execute(scenario, tmp_path / "out", ProcessExecutor(2))
        assert list_resources(emulator) == []


@pytest.mark.parametrize("workers", [0, -1, 100_000])
def test_an_invalid_number_of_workers_is_refused(workers):
    """No worker, and more workers than a machine can have cores, are usage errors."""
    with pytest.raises(UsageError):
        ProcessExecutor(workers)


def is_running(pid):
    """Return whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_exit_when_the_coordinator_is_killed(tmp_path):
    """After kill -9 of the coordinator every worker exits, and the samples that they wrote can be read."""
    with emulated(Settings(models={"quick": profile_of_latency(0.01)}, time_scale=1e6)) as emulator:
        file = tmp_path / "scenario.py"
        file.write_text(
            '"""For how long?"""\n'
            "from loadgen import ClosedLoop, Emulated, Request, Scenario, ServerlessConfig, Step\n"
            f"scenario = Scenario(Emulated(model='quick', url={emulator.url!r}), [Request(b'1')],\n"
            "    [Step(ServerlessConfig(2048, 4), ClosedLoop(4, duration=600))])\n"
        )
        out = tmp_path / "out"
        argv = [sys.executable, "-m", "loadgen", str(file), "--out", str(out), "--workers", "2", "--quiet"]
        with subprocess.Popen(
            argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        ) as coordinator_process:
            pids = []
            for line in coordinator_process.stderr:
                pids = [int(pid) for pid in re.findall(r"pid (\d+)", line)]
                if pids:
                    break
            assert len(pids) == 2
            eventually(lambda: sum(p.stat().st_size for p in out.glob("runs/*/samples-0*.bin")) > 64 * 50, within=60)
            assert all(is_running(pid) for pid in pids)
            coordinator_process.kill()
        eventually(lambda: not any(is_running(pid) for pid in pids), within=30)
        arrivals = endpoint_counters(emulator, json.loads(next(out.glob("runs/*/step.json")).read_text())["endpoint"])[
            "arrivals"
        ]
    (run,) = ResultsDirectory.open(out).read_runs()
    assert run.stop_reason == "killed"
    assert len(run.samples) == arrivals
