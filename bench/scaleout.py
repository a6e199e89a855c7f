"""What do more processes and Dask workers add, and how fast is merging?

    python -m bench.scaleout [--seconds S] [--samples N]

Requests per second of one process, of two, and of one and two Dask workers against a target that responds at once; and
the time and memory to merge and report the samples of eight workers. Compare ratios within one run.
"""

import argparse
import asyncio
import multiprocessing
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
from loadgen.measurement.tally import Window
from loadgen.report.build import build_report
from loadgen.results.directory import ResultsDirectory
from loadgen.results.writer import SAMPLE_FILE_HEADER
from loadgen.scenario.loader import LoadedScenario
from loadgen.scenario.scenario import Scenario
from loadgen.workload.load import ClosedLoop, Load
from loadgen.workload.request import Request
from loadgen.workload.step import Step

REQUESTS = [Request(b"{}" * 50)]


async def measure(
    executor: Executor, out: Path, load: Load, on_window: Callable[[Window], None] = lambda _: None
) -> tuple[Run, float]:
    """Run a load against the null target; return the run, and the seconds until all workers were ready."""
    target = NullTarget()
    step = Step(None, load)
    loaded = LoadedScenario(Scenario(target, REQUESTS, [step]), "scaleout", "", "", Path("scaleout"))
    results = ResultsDirectory.create(out, RunContext.create(loaded, command="bench").make_manifest(Identity("null")))
    recording = results.create_run(1, step, {"started": time.time()})
    began = time.perf_counter()
    async with (
        target.account(run_id="bench") as account,
        account.open(None, connections=load.connections, timeout=60) as endpoint,
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
            on_window=on_window,
            stop=asyncio.Event(),
        )
        return await team.run_step(task), ready


@contextmanager
def dask_workers(count: int) -> Iterator[Callable[[], Executor]]:
    """Run a cluster on this machine, and yield a factory of its executor."""
    dask = import_module("distributed")  # the extra loadgen[dask]
    with (
        dask.LocalCluster(
            n_workers=count, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        dask.Client(cluster) as client,
    ):
        yield lambda: DaskExecutor(client)


def print_throughput(seconds: float) -> None:
    """Print requests per second of each executor."""
    print(
        f"null target, closed loop of 64 clients, {seconds:g} s, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(
        f"{'executor':<16} {'requests/s':>11} {'ratio':>6} {'efficiency':>11} {'CPU of each':>14} "
        f"{'coordinator':>12} {'ready in':>10}"
    )
    executors: list[tuple[str, int, AbstractContextManager[Callable[[], Executor]]]] = [
        ("this process", 1, nullcontext(LocalExecutor)),
        ("1 process", 1, nullcontext(lambda: ProcessExecutor(1))),
        ("2 processes", 2, nullcontext(lambda: ProcessExecutor(2))),
        ("1 Dask worker", 1, dask_workers(1)),
        ("2 Dask workers", 2, dask_workers(2)),
    ]
    first = 0.0
    for name, generators, context in executors:
        with tempfile.TemporaryDirectory() as scratch, context as make:
            before = time.process_time()
            load = ClosedLoop(64, duration=seconds)
            run, ready = asyncio.run(measure(make(), Path(scratch) / "out", load))
            own = (time.process_time() - before) / seconds
        rate = run.scheduled / run.duration
        first = first or rate
        shares = [worker.generator_stats.cpu_share for worker in run.workers] or [run.generator_stats.cpu_share]
        cpu = " ".join(f"{share:.0%}" for share in shares)
        print(
            f"{name:<16} {rate:>11,.0f} {rate / first:>6.2f} {rate / first / generators:>11.0%} {cpu:>14} "
            f"{own if run.workers else 0:>12.0%} {ready:>8.2f} s",
            flush=True,
        )


def print_merge_time(count: int) -> None:
    """Print how long it takes to merge, and then to report, the samples of eight workers at 10,000 requests/s."""
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        duration = count / 10_000
        step = Step(None, ClosedLoop(64, duration=duration))
        loaded = LoadedScenario(Scenario(NullTarget(), REQUESTS, [step]), "scaleout", "", "", Path("scaleout"))
        results = ResultsDirectory.create(
            out, RunContext.create(loaded, command="bench").make_manifest(Identity("null"))
        )
        directory = results.create_run(1, step, {"started": 0.0, "duration": duration}).directory
        for worker in range(8):
            samples = np.zeros(count // 8, SAMPLE)
            samples["seq"] = np.arange(count // 8) * 8 + worker
            samples["scheduled"] = samples["sent"] = np.sort(rng.uniform(0, duration, count // 8))
            samples["done"] = samples["sent"] + rng.lognormal(-4, 0.5, count // 8)
            samples["outcome"] = Outcome.OK
            samples["check"] = checksum(samples)
            (directory / f"samples-{worker + 1:02d}.bin").write_bytes(SAMPLE_FILE_HEADER + samples.tobytes())
        del samples
        # A process of its own, so that the memory used to write the samples is not counted.
        for name in ("merge", "report"):
            _print_child(name, out, count)


def _print_child(name: str, out: Path, count: int) -> None:
    """Merge or report in a process of its own, and print its time, CPU time and memory."""
    began = time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(target=_merge if name == "merge" else _report, args=(out,))
    process.start()
    process.join()
    assert process.exitcode == 0
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print(
        f"{name} of {count:,} samples of 8 workers: {time.perf_counter() - began:.1f} s with the imports; "
        f"processes so far: {used.ru_utime + used.ru_stime:.1f} s of CPU, at most {peak:,.0f} MB",
        flush=True,
    )


def _merge(out: Path) -> None:
    ResultsDirectory.open(out).read_runs()


def _report(out: Path) -> None:
    build_report(ResultsDirectory.open(out))


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
