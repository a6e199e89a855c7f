"""The same shards as tasks on a Dask cluster: counted by the emulator, never sent twice, honest about a loss."""

import asyncio
import os
import signal
import sys

import numpy as np
import pytest

from loadgen import ClosedLoop, Emulated, OpenLoop, Scenario, Step, constant, even, judge, poisson
from loadgen.distributed.dask import DaskExecutor, run_worker_task
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


def cluster_of(**more):
    """Two workers in processes of their own, on loopback, on free ports."""
    return distributed.LocalCluster(n_workers=2, host="127.0.0.1", dashboard_address="127.0.0.1:0", **more)


@pytest.fixture(scope="module")
def client():
    with cluster_of(threads_per_worker=2) as cluster, distributed.Client(cluster) as opened:
        yield opened


def test_a_cluster_sends_what_one_process_would(tmp_path, client):
    """On two Dask workers: the same requests as alone, counts equal to the emulator's ledger, clocks lined up."""
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


def test_a_task_that_is_run_again_sends_nothing(tmp_path, client):
    """Dask may run a unit twice: the second attempt is given no order, goes home, and is told in the report (C106)."""
    futures = []

    def again(progress, window):
        if not futures:
            running = {key: names for names in client.processing().values() for key in names}
            key = min(str(key) for key in running if str(key).startswith("loadgen-"))
            _, run, unit = key.split("-")
            place = next(address for address, keys in client.processing().items() if key in map(str, keys))
            futures.append(client.submit(run_worker_task, run, int(unit), workers=[place], pure=False))

    with emulated(models={"quick": profile_of_latency(0.01)}) as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url), REQUESTS, [Step(CONFIG, ClosedLoop(4, duration=3.0))]
        )
        (run,) = execute(scenario, tmp_path / "out", DaskExecutor(client), RecordingProgress(again)).runs
        assert endpoint_counters(emulator, run.endpoint)["arrivals"] == run.scheduled
    assert len(futures[0].result(timeout=30)) == 3
    assert sorted(worker.duplicate_starts for worker in run.workers) == [0, 1]
    assert any("was given its share 2 times; it was sent once" in note for note in judge(run).notes)
    assert_counts_balance(run)


@pytest.mark.parametrize("victims", [1, 2])
def test_a_killed_dask_worker_is_told_and_nothing_is_sent_twice(tmp_path, victims):
    """After kill -9 of a worker: what arrived before is kept, INVALID, no share is sent again; of both: 71 (C106)."""
    killed = []

    def then(progress, window):
        if not killed:
            killed.extend(pids[:victims])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    with (
        cluster_of(threads_per_worker=1) as cluster,
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
        # Dask starts workers again; give it the time to run a task again if it would.
        eventually(
            lambda: len(client.nthreads()) == 2 and not set(pids[:victims]) & set(client.run(os.getpid).values())
        )
        books = endpoint_counters(emulator, run.endpoint)
        assert list_resources(emulator) == []
    assert_counts_balance(run)
    dead = [worker for worker in run.workers if worker.lost_reason]
    assert len(dead) == victims
    assert "left the Dask cluster" in dead[0].lost_reason
    # What went out after the last message from there is lost_with_worker; the schedule says which that was.
    assert books["arrivals"] <= run.scheduled
    assert books["arrivals"] >= run.scheduled - np.count_nonzero(run.samples["outcome"] == Outcome.LOST_WITH_WORKER)
    assert sum(worker.scheduled + worker.unsent for worker in run.workers) == 200
    assert not judge(run).is_valid
    assert finished.statuses == ((ExitStatus.OS_RESOURCE,) if victims == 2 else ())


def test_a_cluster_is_reached_by_its_address(tmp_path, client):
    """The address of a scheduler is enough, and a bound on the workers is kept."""
    with emulated() as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url), REQUESTS, [Step(CONFIG, ClosedLoop(4, count=20))]
        )
        crew = DaskExecutor(address=client.scheduler.address, workers=1)
        (run,) = execute(scenario, tmp_path / "out", crew).runs
    assert len(run.workers) == 1
    assert run.scheduled == 20


def test_a_cluster_that_is_not_there_is_told(tmp_path, monkeypatch):
    """Nobody listens at the address: status 69 before anything is deployed, in words that name it."""
    real = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, timeout: real(address, timeout=0.5))
    with emulated() as emulator:
        scenario = Scenario(
            Emulated(model="quick", url=emulator.url), REQUESTS, [Step(CONFIG, ClosedLoop(4, count=20))]
        )
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
            execute(scenario, tmp_path / "out", DaskExecutor(address="tcp://127.0.0.1:1"))
        assert list_resources(emulator) == []


def test_dask_is_an_extra(monkeypatch):
    """Without it the refusal is a configuration error that says what to install (78)."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install 'loadgen\[dask\]'"):
        DaskExecutor(address="tcp://127.0.0.1:8786")


def test_a_crew_without_a_cluster_is_refused():
    """Neither a client nor an address, or no worker at all, cannot be meant."""
    with pytest.raises(UsageError):
        DaskExecutor()
    with pytest.raises(UsageError):
        DaskExecutor(address="tcp://127.0.0.1:8786", workers=0)


def test_a_desk_delivers_once_whatever_is_repeated():
    """A visit that is made twice, as after a broken connection, hands a message over once, and loses no answer."""
    import pickle

    from loadgen.distributed.dask import _Mailbox, _Poll

    async def visits():
        desk = _Mailbox()
        desk.send("answer 1")
        mail = _Poll("a", 0, (pickle.dumps("order 1"),), 0)
        first, again = desk.poll(mail), desk.poll(mail)
        desk.send("answer 2")
        later = desk.poll(_Poll("a", 1, (pickle.dumps("order 2"),), 1))
        inbox = desk.messages()
        return [await anext(inbox), await anext(inbox)], first, again, later

    orders, first, again, later = asyncio.run(visits())
    assert orders == ["order 1", "order 2"]
    assert [pickle.loads(content) for content in first] == ["answer 1"]
    assert again == first
    assert [pickle.loads(content) for content in later] == ["answer 2"]
