"""Dask clusters whose parts are killed, stopped, too old, or larger than one core."""

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from loadgen import ClosedLoop, Emulated, OpenLoop, Scenario, Step, constant, even, judge
from loadgen.distributed import coordinator, protocol
from loadgen.distributed.dask import DaskExecutor
from loadgen.errors import ConfigError, ExitStatus
from loadgen.measurement.outcome import Outcome
from tests.support.dask_clusters import children, process_cluster
from tests.support.emulator import emulated, endpoint_counters, eventually, profile_of_latency
from tests.support.scenario_runs import (
    CONFIG,
    REQUESTS,
    RecordingProgress,
    assert_counts_balance,
    execute,
    list_resources,
)

pytest.importorskip("distributed", reason="needs loadgen[dask]")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def open_loop(emulator, seconds, rate=40):
    return Scenario(
        Emulated(model="quick", url=emulator.url),
        REQUESTS,
        [Step(CONFIG, OpenLoop(even(constant(rate)), duration=seconds))],
    )


def once(action):
    """A progress that calls the action with the first window."""
    done = []

    def on_window(progress, window):
        if not done:
            done.append(action())

    return RecordingProgress(on_window)


def test_a_killed_worker_process_ends_its_load(tmp_path):
    """After kill -9 of a Dask worker its load generator ends within a second, and the other shard is complete."""
    with process_cluster(tmp_path) as cluster, emulated(models={"quick": profile_of_latency(0.01)}) as emulator:
        victim, generators = cluster.workers[0], []

        def kill():
            generators.extend(children(victim.pid))
            victim.kill()
            victim.wait()
            eventually(lambda: not any(os.path.exists(f"/proc/{pid}/fd/0") for pid in generators), within=10)

        finished = execute(
            open_loop(emulator, 4.0), tmp_path / "out", DaskExecutor(address=cluster.address), once(kill)
        )
        (run,) = finished.runs
        counters = endpoint_counters(emulator, run.endpoint)
    assert len(generators) == 1
    assert_counts_balance(run)
    reasons = {worker.name: worker.lost_reason for worker in run.workers}
    assert reasons == {"node-1": "left the Dask cluster", "node-2": ""}
    assert sum(worker.scheduled + worker.unsent for worker in run.workers) == 160
    lost = np.count_nonzero(run.samples["outcome"] == Outcome.LOST_WITH_WORKER)
    assert run.scheduled - lost <= counters["arrivals"] <= run.scheduled
    assert any("node-1" in str(reason) for reason in judge(run).reasons)


def test_a_killed_scheduler_ends_the_run(tmp_path):
    """After kill -9 of the scheduler every worker is lost with the reason, the samples are kept, and the status is 71."""
    with process_cluster(tmp_path) as cluster, emulated(models={"quick": profile_of_latency(0.01)}) as emulator:
        generators = []

        def kill():
            generators.extend(pid for worker in cluster.workers for pid in children(worker.pid))
            cluster.scheduler.kill()

        began = time.perf_counter()
        finished = execute(
            open_loop(emulator, 60.0), tmp_path / "out", DaskExecutor(address=cluster.address), once(kill)
        )
        took = time.perf_counter() - began
        (run,) = finished.runs
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}/fd/0") for pid in generators), within=30)
        assert list_resources(emulator) == []
    assert len(generators) == 2
    assert took < 55
    assert [worker.lost_reason for worker in run.workers] == [
        "was lost with the Dask scheduler, whose connection closed"
    ] * 2
    assert_counts_balance(run)
    assert not judge(run).is_valid
    assert finished.statuses == (ExitStatus.OS_RESOURCE,)


@pytest.mark.parametrize("stopped", ["dask worker", "generator"])
def test_a_worker_paused_for_5_s_loses_no_request(tmp_path, stopped):
    """A pause of 5 s loses no request: of a Dask worker the messages come late, of a generator the run is INVALID."""
    with process_cluster(tmp_path) as cluster, emulated(models={"quick": profile_of_latency(0.01)}) as emulator:

        def pause():
            pid = cluster.workers[0].pid if stopped == "dask worker" else children(cluster.workers[0].pid)[0]
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(5.0, os.kill, (pid, signal.SIGCONT)).start()

        progress = once(pause)
        finished = execute(open_loop(emulator, 8.0), tmp_path / "out", DaskExecutor(address=cluster.address), progress)
        (run,) = finished.runs
        counters = endpoint_counters(emulator, run.endpoint)
    assert_counts_balance(run)
    assert run.scheduled == counters["arrivals"] == 320
    assert [worker.lost_reason for worker in run.workers] == ["", ""]
    assert sum(sum(window.counts.values()) for window in progress.windows) == 320
    late = {worker.name: worker.generator_stats.send_lag_max > 3 for worker in run.workers}
    assert late == {"node-1": stopped == "generator", "node-2": False}
    if stopped == "generator":
        assert not judge(run).is_valid


def test_a_silent_generator_is_killed_after_the_heartbeat_timeout(tmp_path, monkeypatch):
    """A generator that stops for longer than the heartbeat timeout is lost with that reason, and its process is killed."""
    monkeypatch.setattr(coordinator, "_HEARTBEAT_TIMEOUT", 3.0)
    with process_cluster(tmp_path) as cluster, emulated(models={"quick": profile_of_latency(0.01)}) as emulator:
        stopped = []

        def stop():
            stopped.extend(children(cluster.workers[0].pid))
            os.kill(stopped[0], signal.SIGSTOP)

        (run,) = execute(
            open_loop(emulator, 9.0), tmp_path / "out", DaskExecutor(address=cluster.address), once(stop)
        ).runs
        eventually(lambda: not os.path.exists(f"/proc/{stopped[0]}/fd/0"))
    assert_counts_balance(run)
    assert {worker.name: worker.lost_reason for worker in run.workers} == {
        "node-1": "sent no message for 3 s",
        "node-2": "",
    }
    assert sum(worker.scheduled + worker.unsent for worker in run.workers) == 360
    assert not judge(run).is_valid


def test_several_processes_on_each_dask_worker(tmp_path):
    """A Dask worker with three threads runs two processes, or as many as --workers-per-node says; one can be lost."""
    with process_cluster(tmp_path, workers=1, threads=3) as cluster, emulated() as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url), REQUESTS, [Step(CONFIG, ClosedLoop(6, count=40))]
        )
        default, three = (
            execute(scenario, tmp_path / f"{n}", DaskExecutor(address=cluster.address, workers_per_node=n)).runs[0]
            for n in (None, 3)
        )

        def kill():
            os.kill(children(cluster.workers[0].pid)[0], signal.SIGKILL)

        (lossy,) = execute(
            open_loop(emulator, 3.0), tmp_path / "lossy", DaskExecutor(address=cluster.address), once(kill)
        ).runs
    for run, processes in ((default, 2), (three, 3), (lossy, 2)):
        assert_counts_balance(run)
        assert len(run.workers) == processes
        assert len({worker.name for worker in run.workers}) == processes
        assert all(worker.name.startswith("node-1 process ") for worker in run.workers)
    assert default.scheduled == three.scheduled == 40
    assert [worker.lost_reason for worker in lossy.workers] == ["was killed by SIGKILL (status 137)", ""]
    assert sum(worker.scheduled + worker.unsent for worker in lossy.workers) == 120


def test_windows_arrive_as_they_close(tmp_path):
    """A window of two Dask workers reaches the coordinator within 0.3 s of its end, the fastest one at least."""
    arrived = []
    with process_cluster(tmp_path) as cluster, emulated() as emulator:
        progress = RecordingProgress(lambda _, window: arrived.append((time.time(), window.start + window.length)))
        (run,) = execute(
            open_loop(emulator, 4.0), tmp_path / "out", DaskExecutor(address=cluster.address), progress
        ).runs
    delays = [at - run.started - end for at, end in arrived]
    assert min(delays[:-1]) < 0.3, delays


def test_workers_of_another_version_are_refused(tmp_path, monkeypatch):
    """A Dask worker with another version of loadgen gives 78 before anything is deployed, and so does one without it."""
    with process_cluster(tmp_path, workers=1) as cluster, emulated() as emulator:
        with monkeypatch.context() as patch:
            patch.setattr(protocol.VersionInfo, "current", lambda: protocol.VersionInfo("9.9.9", "3.11"))
            with pytest.raises(ConfigError, match=r"node-1 runs loadgen .*this process runs loadgen 9\.9\.9"):
                execute(open_loop(emulator, 1.0), tmp_path / "a", DaskExecutor(address=cluster.address))
        assert list_resources(emulator) == []
    hidden = tmp_path / "hidden"
    (hidden / "loadgen").mkdir(parents=True)
    (hidden / "loadgen/__init__.py").write_text("")
    with process_cluster(tmp_path, workers=1, env={"PYTHONPATH": str(hidden)}) as cluster, emulated() as emulator:
        with pytest.raises(ConfigError, match="cannot import this loadgen"):
            execute(open_loop(emulator, 1.0), tmp_path / "b", DaskExecutor(address=cluster.address))
        assert list_resources(emulator) == []
