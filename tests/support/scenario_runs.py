"""Scenarios that run in this process against an emulator, with the checks that hold for each of their runs.

`execute` is the command line without arguments, signals and report. The functions named `assert_...` compare a run with
the emulator's ledger, with its own samples, or with another run.
"""

import asyncio
import re
from pathlib import Path

import numpy as np

from loadgen import Request, ServerlessConfig
from loadgen.execution.run_identity import RunContext
from loadgen.execution.scenario_runner import execute_scenario
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, OutcomeCategory
from loadgen.measurement.sample import checksum
from loadgen.scenario.loader import LoadedScenario
from tests.support.emulator import client, endpoint_counters

REQUESTS = [Request(b"x" * size, content_type="application/octet-stream") for size in (10, 200, 3000)]
CONFIG = ServerlessConfig(2048, 50)


class RecordingProgress:
    """Progress that keeps every message, window and finished run.

    Args:
        on_window: called with this object and each window.
    """

    def __init__(self, on_window=lambda *_: None):
        self.messages = []
        self.windows = []
        self.finished_runs = []
        self._on_window = on_window

    def log(self, text):
        self.messages.append(text)

    def step_started(self, step):
        pass

    def window_closed(self, step, window):
        self.windows.append(window)
        self._on_window(self, window)

    def step_finished(self, step, run):
        self.finished_runs.append(run)

    @property
    def pids(self):
        """The process ids of the workers, read from the message that lists them."""
        line = next(line for line in self.messages if "workers:" in line)
        return [int(pid) for pid in re.findall(r"pid (\d+)", line)]


def execute(scenario, out, executor=None, progress=None, stop=None, *, stop_after=None):
    """Run a scenario as the command line does, without its report; stop it after the window of index `stop_after`."""
    context = RunContext.create(LoadedScenario(scenario, "test", "does it work?", "", Path("test.py")), command="test")

    async def main():
        stopping = stop or asyncio.Event()
        watching = progress or RecordingProgress()
        if stop_after is not None:
            watching.window_closed = lambda step, window: stopping.set() if window.index >= stop_after else None
        return await execute_scenario(
            scenario,
            out,
            run_id=context.run_id,
            make_manifest=context.make_manifest,
            progress=watching,
            stop=stopping,
            executor=executor,
        )

    return asyncio.run(main())


def list_resources(emulator):
    """Name the endpoints and endpoint configurations of the emulated account."""
    with client("sagemaker", emulator) as sagemaker:
        endpoints = [e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]]
        configs = [c["EndpointConfigName"] for c in sagemaker.list_endpoint_configs()["EndpointConfigs"]]
    return endpoints + configs


def assert_ledger_agrees(run, emulator):
    """The run's counts by category equal the emulator's ledger over the life of the endpoint."""
    ledger = endpoint_counters(emulator, run.endpoint)
    failed = ledger["failed"] if isinstance(ledger["failed"], int) else sum(ledger["failed"].values())
    counted = {
        "arrivals": run.scheduled,
        "ok": run.count(OutcomeCategory.OK),
        "throttled": run.count(OutcomeCategory.THROTTLED),
        "failed": run.count(OutcomeCategory.FAILED),
    }
    assert counted == {name: ledger[name] for name in ("arrivals", "ok", "throttled")} | {"failed": failed}


def assert_counts_balance(run):
    """Scheduled = records on disk = outcomes = the sum over all workers; no request is recorded twice or damaged."""
    assert run.scheduled == len(run.samples) == run.tally.total == sum(worker.scheduled for worker in run.workers)
    assert len(set(run.samples["seq"].tolist())) == len(run.samples)
    assert np.array_equal(checksum(np.asarray(run.samples)), run.samples["check"])


def assert_same_histograms(one, other):
    """Two runs have the same outcomes and, bit for bit, the same histograms."""
    assert one.tally.counts == other.tally.counts
    for category in COMPLETED_CATEGORIES:
        for a, b in ((one.tally.service, other.tally.service), (one.tally.response, other.tally.response)):
            assert a[category] == b[category]
            assert a[category].encode() == b[category].encode()
