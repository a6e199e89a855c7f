"""Dask workers: shards run as tasks of a cluster, no request is sent twice, and a lost worker is reported."""

import os
import signal
import sys

import numpy as np
import pytest

from loadgen import ClosedLoop, Emulated, OpenLoop, Scenario, Step, constant, even, judge, poisson
from loadgen.distributed.dask import DaskExecutor
from loadgen.distributed.dask_actor import ProcessesActor
from loadgen.errors import ConfigError, ExitStatus, UnavailableError, UsageError
from loadgen.measurement.outcome import Outcome
from tests.support.emulator import emulated, endpoint_counters, eventually, profile_of_latency
from tests.support.scenario_runs import (
    CONFIG,
    REQUESTS,
    RecordingProgress,
    assert_counts_balance,
    assert_same_histograms,
    execute,
    list_resources,
)

distributed = pytest.importorskip("distributed", reason="needs loadgen[dask]")


def local_cluster(**more):
    """Start a cluster of two worker processes on free loopback ports."""
    return distributed.LocalCluster(n_workers=2, host="127.0.0.1", dashboard_address="127.0.0.1:0", **more)


@pytest.fixture(scope="module")
def client():
    with local_cluster(threads_per_worker=2) as cluster, distributed.Client(cluster) as opened:
        yield opened


def test_a_cluster_sends_what_one_process_would(tmp_path, client):
    """Two Dask workers send the same requests as one process, the ledger agrees, and the clocks are synchronised."""
    steps = [
        Step(CONFIG, OpenLoop(poisson(constant(60), seed=3), duration=1.5), name="open"),
        Step(CONFIG, ClosedLoop(5, count=63), name="closed"),
    ]
    with emulated() as emulator:
        scenario = Scenario(Emulated(model="quick", url=emulator.url), REQUESTS, steps, seed=5)
        alone = execute(scenario, tmp_path / "one", None)
        watching = RecordingProgress()
        both = execute(scenario, tmp_path / "two", DaskExecutor(client), watching)
        assert list_resources(emulator) == []
    assert both.statuses == ()
    addresses = set(client.nthreads())
    for one, two, joined in zip(alone.runs, both.runs, watching.finished_runs, strict=True):
        assert_counts_balance(two)
        assert_same_histograms(joined, two)
        assert two.scheduled == one.scheduled == two.server_counts["arrivals"] == two.server_counts["ok"]
        first, second = (np.sort(np.asarray(run.samples), order="seq") for run in (one, two))
        assert first["request_index"].tolist() == second["request_index"].tolist()
        assert {worker.name for worker in two.workers} == addresses
        assert all(0 < worker.clock_uncertainty < 5 and worker.duplicate_starts == 0 for worker in two.workers)
    assert sum(sum(window.counts.values()) for window in watching.windows) == sum(run.scheduled for run in both.runs)


def test_a_repeated_actor_sends_nothing(tmp_path, client):
    """When Dask creates an actor twice, the second one starts nothing, sends nothing, and is reported (C106)."""
    futures = []

    def again(progress, window):
        if not futures:
            address, key = min(
                (address, str(key))
                for address, keys in client.has_what().items()
                for key in keys
                if str(key).startswith("loadgen-")
            )
            futures.append(
                client.submit(ProcessesActor, key.removeprefix("loadgen-"), workers=[address], actor=True, pure=False)
            )

    with emulated(models={"quick": profile_of_latency(0.01)}) as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url), REQUESTS, [Step(CONFIG, ClosedLoop(4, duration=3.0))]
        )
        (run,) = execute(scenario, tmp_path / "out", DaskExecutor(client), RecordingProgress(again)).runs
        assert endpoint_counters(emulator, run.endpoint)["arrivals"] == run.scheduled
    assert futures[0].status == "finished"
    assert sorted(worker.duplicate_starts for worker in run.workers) == [0, 1]
    assert eventually(lambda: [key for keys in client.has_what().values() for key in keys] == [futures[0].key])
    assert any("was started 2 times; it sent its shard once" in note for note in judge(run).notes)
    assert_counts_balance(run)


@pytest.mark.parametrize("victims", [1, 2])
def test_a_killed_dask_worker_is_reported_and_nothing_is_sent_twice(tmp_path, victims):
    """After kill -9 of a Dask worker its samples are kept, no shard is sent again, INVALID; after that of both 71 (C106)."""
    killed = []

    def then(progress, window):
        if not killed:
            killed.extend(pids[:victims])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    with (
        local_cluster(threads_per_worker=1) as cluster,
        distributed.Client(cluster) as client,
        emulated(models={"quick": profile_of_latency(0.02)}) as emulator,
    ):
        first = sorted(client.nthreads())
        found = client.run(os.getpid)
        pids = [found[address] for address in first]
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url),
            REQUESTS,
            [Step(CONFIG, OpenLoop(even(constant(40)), duration=5.0))],
        )
        finished = execute(scenario, tmp_path / "out", DaskExecutor(client), RecordingProgress(then))
        (run,) = finished.runs
        # Dask restarts the workers, and could run a task again.
        eventually(
            lambda: len(client.nthreads()) == 2 and not set(pids[:victims]) & set(client.run(os.getpid).values())
        )
        counters = endpoint_counters(emulator, run.endpoint)
        assert list_resources(emulator) == []
    assert_counts_balance(run)
    dead = [worker for worker in run.workers if worker.lost_reason]
    assert len(dead) == victims
    assert "left the Dask cluster" in dead[0].lost_reason
    # The requests that were sent after the worker's last message are lost_with_worker, according to the schedule.
    assert counters["arrivals"] <= run.scheduled
    assert counters["arrivals"] >= run.scheduled - np.count_nonzero(run.samples["outcome"] == Outcome.LOST_WITH_WORKER)
    assert sum(worker.scheduled + worker.unsent for worker in run.workers) == 200
    assert not judge(run).is_valid
    assert finished.statuses == ((ExitStatus.OS_RESOURCE,) if victims == 2 else ())


def test_a_cluster_is_reached_by_its_address(tmp_path, client):
    """The address of a scheduler is enough, and at most `workers` Dask workers are used."""
    with emulated() as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url), REQUESTS, [Step(CONFIG, ClosedLoop(4, count=20))]
        )
        executor = DaskExecutor(address=client.scheduler.address, workers=1)
        (run,) = execute(scenario, tmp_path / "out", executor).runs
    assert len(run.workers) == 1
    assert run.scheduled == 20


def test_an_unreachable_scheduler_is_refused(tmp_path, monkeypatch):
    """An address without a scheduler is refused with 69 and its name, before anything is deployed."""
    real = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, **more: real(address, **(more | {"timeout": 0.5})))
    with emulated() as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url), REQUESTS, [Step(CONFIG, ClosedLoop(4, count=20))]
        )
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
            execute(scenario, tmp_path / "out", DaskExecutor(address="tcp://127.0.0.1:1"))
        assert list_resources(emulator) == []


def test_dask_is_an_extra(monkeypatch):
    """Without Dask the executor is refused with 78 and the command that installs it (C13)."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install 'loadgen\[dask\]'"):
        DaskExecutor(address="tcp://127.0.0.1:8786")


def test_an_executor_without_a_cluster_is_refused():
    """Neither a client nor an address, and no worker at all, are usage errors."""
    with pytest.raises(UsageError):
        DaskExecutor()
    with pytest.raises(UsageError):
        DaskExecutor(address="tcp://127.0.0.1:8786", workers=0)
