"""What do more processes and Dask workers add, and how fast is merging?

    python -m bench.scaleout [--seconds S] [--samples N]

Requests per second of one process, of two, and of two Dask workers against a target that responds at once; and the time
to merge the samples of two workers. Compare ratios within one run.
"""

import argparse
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


async def measure(executor: Executor, out: Path, clients: int, seconds: float) -> tuple[Run, float]:
    """Run a closed loop against the null target; return the run, and the seconds until all workers were ready."""
    target = NullTarget()
    step = Step(None, ClosedLoop(clients, duration=seconds))
    loaded = LoadedScenario(Scenario(target, REQUESTS, [step]), "scaleout", "", "", Path("scaleout"))
    results = ResultsDirectory.create(out, RunContext.create(loaded, command="bench").make_manifest(Identity("null")))
    recording = results.create_run(1, step, {"started": time.time()})
    began = time.perf_counter()
    async with (
        target.account(run_id="bench") as account,
        account.open(None, connections=clients, timeout=60) as endpoint,
        executor.start(target, REQUESTS, lambda _: None) as team,
    ):
        ready = time.perf_counter() - began
        task = StepTask(
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
        return await team.run_step(task), ready


@contextmanager
def two_dask_workers() -> Iterator[Callable[[], Executor]]:
    """Run a cluster of two workers on this machine, and yield a factory of its executor."""
    dask = import_module("distributed")  # the extra loadgen[dask]
    with (
        dask.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        dask.Client(cluster) as client,
    ):
        yield lambda: DaskExecutor(client)


def print_throughput(seconds: float) -> None:
    """Print requests per second of each executor."""
    print(
        f"null target, closed loop of 64 clients, {seconds:g} s, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'executor':<16} {'requests/s':>11} {'ratio':>6} {'CPU of each':>14} {'ready in':>13}")
    executors: list[tuple[str, AbstractContextManager[Callable[[], Executor]]]] = [
        ("this process", nullcontext(LocalExecutor)),
        ("1 process", nullcontext(lambda: ProcessExecutor(1))),
        ("2 processes", nullcontext(lambda: ProcessExecutor(2))),
        ("2 Dask workers", two_dask_workers()),
    ]
    first = 0.0
    for name, context in executors:
        with tempfile.TemporaryDirectory() as scratch, context as make:
            run, ready = asyncio.run(measure(make(), Path(scratch) / "out", 64, seconds))
        rate = run.scheduled / run.duration
        first = first or rate
        shares = [worker.generator_stats.cpu_share for worker in run.workers] or [run.generator_stats.cpu_share]
        cpu = " ".join(f"{share:.0%}" for share in shares)
        print(f"{name:<16} {rate:>11,.0f} {rate / first:>6.2f} {cpu:>14} {ready:>11.2f} s", flush=True)


def print_merge_time(count: int) -> None:
    """Print how long it takes to read and merge the samples of two workers."""
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
            samples = np.zeros(count // 2, SAMPLE)
            samples["seq"] = np.arange(count // 2) * 2 + worker
            samples["scheduled"] = samples["sent"] = np.sort(rng.uniform(0, 3600, count // 2))
            samples["done"] = samples["sent"] + rng.lognormal(-4, 0.5, count // 2)
            samples["outcome"] = Outcome.OK
            samples["check"] = checksum(samples)
            (directory / f"samples-{worker + 1:02d}.bin").write_bytes(SAMPLE_FILE_HEADER + samples.tobytes())
        del samples
        began = time.perf_counter()
        (run,) = results.read_runs()
        took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print(f"merged {run.scheduled:,} samples of 2 workers in {took:.1f} s ({run.scheduled / took / 1e6:.1f} million/s)")
    print(f"peak memory of this process: {peak:,.0f} MB")


def main() -> None:
    """Measure throughput and merging, and print both."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scaleout", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=6.0, metavar="S", help="duration of each run (6)")
    parser.add_argument("--samples", type=int, default=10_000_000, metavar="N", help="samples to merge (10000000)")
    options = parser.parse_args()
    print_throughput(options.seconds)
    print_merge_time(options.samples)


if __name__ == "__main__":
    main()
