"""How many workers can send windows to one coordinator?

    python -m bench.many_workers [--workers N ...] [--seconds S]

A scheduler and 8 Dask workers run in one other process, with N load-generating workers in all. Each sends 20 requests
per second to a target that responds at once, so that the windows, samples and heartbeats are real, and the load is not
the limit. Shown are the CPU time of this process, which is the coordinator, of the other process, and how late the
windows of all workers arrived. (64 Dask workers in one process would measure their own timers.)
"""

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import pickle
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.scaleout import measure
from loadgen.distributed.dask import DaskExecutor
from loadgen.distributed.worker import Worker
from loadgen.measurement.tally import Window
from loadgen.workload.arrivals import even
from loadgen.workload.load import OpenLoop
from loadgen.workload.rate import constant

_NODES = 8  # Dask workers
_RATE = 20.0  # requests per second of each worker


class _InProcess:
    """A load-generating worker in this process instead of one of its own, with the methods of ProcessConnection."""

    def __init__(self, number: int) -> None:
        self.name = f"process {number}"
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()

    async def run(self) -> None:
        await Worker(lambda message: self._outbox.put_nowait(pickle.dumps(message))).run(self._messages())

    async def _messages(self) -> AsyncIterator[Any]:
        while True:
            yield pickle.loads(await self._inbox.get())  # of the coordinator

    async def frames(self) -> AsyncIterator[bytes]:
        while True:
            yield await self._outbox.get()

    def send_frame(self, content: bytes) -> None:
        self._inbox.put_nowait(content)

    async def exit_reason(self) -> str:
        return ""


@asynccontextmanager
async def _start_in_process(number: int) -> AsyncIterator[_InProcess]:
    connection = _InProcess(number)
    task = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        task.cancel()


async def _run_cluster(address_file: Path) -> None:
    distributed = import_module("distributed")  # the extra loadgen[dask]
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    # One thread for each Dask worker that inspects all others: real ones are processes of their own.
    import_module("dask").config.set({"distributed.worker.profile.enabled": False})
    actor: Any = import_module("loadgen.distributed.dask_actor")
    actor.start_process = _start_in_process
    # Each would collect the garbage of all others before its start, one after the other.
    worker_module: Any = import_module("loadgen.distributed.worker")
    worker_module.gc_frozen = nullcontext
    local = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    async with AsyncExitStack() as stack:
        scheduler = await stack.enter_async_context(distributed.Scheduler(port=0, dashboard=False, **local))
        for _ in range(_NODES):
            worker = distributed.Worker(scheduler.address, nthreads=1, memory_limit=0, **local)
            await stack.enter_async_context(worker)
        address_file.write_text(json.dumps(scheduler.address))  # noqa: ASYNC240 - once, before the run
        await asyncio.Event().wait()


def _cluster_main(address_file: Path) -> None:
    asyncio.run(_run_cluster(address_file))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_workers(workers: int, seconds: float) -> str:
    """Return the table row of one number of workers."""
    arrived: list[tuple[float, float, float, float]] = []  # now, the end of the window, CPU of this and the other

    def on_window(window: Window) -> None:
        cpu = time.process_time(), _cpu_seconds(cluster.pid or 0)
        arrived.append((time.time(), window.start + window.length, *cpu))

    with tempfile.TemporaryDirectory() as scratch:
        address_file = Path(scratch) / "address.json"
        cluster = multiprocessing.get_context("spawn").Process(target=_cluster_main, args=(address_file,))
        cluster.start()
        try:
            while not address_file.exists() or not address_file.read_text():
                time.sleep(0.1)
            load = OpenLoop(even(constant(_RATE * workers)), duration=seconds)
            executor = DaskExecutor(address=json.loads(address_file.read_text()), workers_per_node=workers // _NODES)
            run, ready = asyncio.run(measure(executor, Path(scratch) / "out", load, on_window))
        finally:
            cluster.kill()
            cluster.join()
    first, *between, _ = arrived  # the last one closes with the run
    delays = sorted(at - run.started - end for at, end, _, _ in (first, *between))
    elapsed, _, own, other = (late - early for late, early in zip(between[-1], first, strict=True))
    lost = sum(bool(worker.lost_reason) for worker in run.workers)
    return (
        f"{workers:>7} {ready:>8.1f} s {own / elapsed:>12.0%} {other / elapsed:>12.0%} "
        f"{delays[len(delays) // 2]:>9.2f} s {delays[-1]:>9.2f} s {lost:>5}"
    )


def main() -> None:
    """Measure each number of workers and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.many_workers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 32, 64, 128], metavar="N", help="multiples of 8")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="duration of each run (10)")
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {_RATE:g} requests/s per worker; CPU per second of run"
    )
    print(f"workers {'ready in':>10} {'coordinator':>12} {'Dask':>12} {'delay p50':>11} {'delay max':>11}  lost")
    for workers in options.workers:
        print(measure_workers(workers, options.seconds), flush=True)


if __name__ == "__main__":
    main()
