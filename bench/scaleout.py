"""What more processes are worth: `python -m bench.scaleout` tells.

Requests per second of one process, of two, and of two Dask workers against a target that answers at once; and how long
the samples of ten million requests take to be joined. Every figure is of this machine, in this minute: read ratios.
"""

import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path

import numpy as np

from bench.null_target import NullTarget
from loadgen.distributed.dask import DaskExecutor
from loadgen.distributed.local_processes import ProcessExecutor
from loadgen.execution.executor import Executor, LocalExecutor, StepTask
from loadgen.execution.run_identity import RunContext
from loadgen.interfaces import Identity
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.run import Run
from loadgen.measurement.sample import SAMPLE, checksum
from loadgen.results.directory import ResultsDirectory
from loadgen.results.writer import SAMPLE_FILE_HEADER
from loadgen.scenario.loader import LoadedScenario
from loadgen.scenario.scenario import Scenario
from loadgen.workload.load import ClosedLoop
from loadgen.workload.request import Request
from loadgen.workload.step import Step

REQUESTS = [Request(b"{}" * 50)]
SECONDS = 6.0
SAMPLES = 10_000_000


async def measure(executor: Executor, out: Path, clients: int) -> tuple[Run, float]:
    """Run a closed loop against the null target; return the run, and the seconds that assembling took."""
    target = NullTarget()
    step = Step(None, ClosedLoop(clients, duration=SECONDS))
    loaded = LoadedScenario(Scenario(target, REQUESTS, [step]), "scaleout", "", "", Path("scaleout"))
    results = ResultsDirectory.create(out, RunContext.create(loaded, command="bench").make_manifest(Identity("null")))
    recording = results.create_run(1, step, {"started": time.time()})
    began = time.perf_counter()
    async with (
        target.account(run_id="bench") as account,
        account.open(None, connections=clients, timeout=60) as endpoint,
        executor.start(target, REQUESTS, lambda _: None) as team,
    ):
        assembled = time.perf_counter() - began
        assignment = StepTask(
            step,
            endpoint,
            lambda: target,
            account.identity,
            REQUESTS,
            recording,
            seed=0,
            timeout=60.0,
            grace=1.0,
            on_window=lambda _: None,
            stop=asyncio.Event(),
        )
        return await team.run_step(assignment), assembled


@contextmanager
def two_dask_workers() -> Iterator[Callable[[], Executor]]:
    """Run a cluster of two workers on this machine, and yield what makes its crew."""
    dask = import_module("distributed")  # an extra
    with (
        dask.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        dask.Client(cluster) as client,
    ):
        yield lambda: DaskExecutor(client)


def print_throughput() -> None:
    """Print requests per second by crew."""
    print(
        f"null target, closed loop of 64 clients, {SECONDS:g} s, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'crew':<16} {'requests/s':>11} {'ratio':>6} {'CPU of each':>14} {'assembled in':>13}")
    crews: list[tuple[str, AbstractContextManager[Callable[[], Executor]]]] = [
        ("this process", nullcontext(LocalExecutor)),
        ("1 process", nullcontext(lambda: ProcessExecutor(1))),
        ("2 processes", nullcontext(lambda: ProcessExecutor(2))),
        ("2 Dask workers", two_dask_workers()),
    ]
    first = 0.0
    for name, context in crews:
        with tempfile.TemporaryDirectory() as scratch, context as make:
            run, assembled = asyncio.run(measure(make(), Path(scratch) / "out", 64))
        rate = run.scheduled / run.duration
        first = first or rate
        shares = [worker.generator_stats.cpu_share for worker in run.workers] or [run.generator_stats.cpu_share]
        cpu = " ".join(f"{share:.0%}" for share in shares)
        print(f"{name:<16} {rate:>11,.0f} {rate / first:>6.2f} {cpu:>14} {assembled:>11.2f} s", flush=True)


def print_merge_time() -> None:
    """Print how long it takes to read and join the samples of two workers."""
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        step = Step(None, ClosedLoop(64, duration=3600.0))
        loaded = LoadedScenario(Scenario(NullTarget(), REQUESTS, [step]), "scaleout", "", "", Path("scaleout"))
        results = ResultsDirectory.create(
            out, RunContext.create(loaded, command="bench").make_manifest(Identity("null"))
        )
        directory = results.create_run(1, step, {"started": 0.0, "duration": 3600.0}).directory
        for worker in range(2):
            samples = np.zeros(SAMPLES // 2, SAMPLE)
            samples["seq"] = np.arange(SAMPLES // 2) * 2 + worker
            samples["scheduled"] = samples["sent"] = np.sort(rng.uniform(0, 3600, SAMPLES // 2))
            samples["done"] = samples["sent"] + rng.lognormal(-4, 0.5, SAMPLES // 2)
            samples["outcome"] = Outcome.OK
            samples["check"] = checksum(samples)
            (directory / f"samples-{worker + 1:02d}.bin").write_bytes(SAMPLE_FILE_HEADER + samples.tobytes())
        del samples
        began = time.perf_counter()
        (run,) = results.read_runs()
        took = time.perf_counter() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print(f"joined {run.scheduled:,} samples of 2 workers in {took:.1f} s ({run.scheduled / took / 1e6:.1f} million/s)")
    print(f"most memory of this process: {most:,.0f} MB")


if __name__ == "__main__":
    print_throughput()
    print_merge_time()
