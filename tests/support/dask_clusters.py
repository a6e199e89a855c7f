"""Dask clusters of separate processes, so that a test can stop or kill the scheduler and each Dask worker."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.emulator import eventually

distributed = pytest.importorskip("distributed", reason="needs loadgen[dask]")


@dataclass
class ProcessCluster:
    """A scheduler's address, and the processes of the cluster."""

    address: str
    scheduler: subprocess.Popen
    workers: list[subprocess.Popen]


@contextmanager
def process_cluster(directory, workers=2, threads=1, env=None):
    """Run a scheduler and Dask workers without nannies, named node-1, node-2, ..., on free loopback ports."""
    file = Path(directory) / "scheduler.json"
    file.unlink(missing_ok=True)  # of an earlier cluster
    common = ("--scheduler-file", file, "--dashboard-address", "127.0.0.1:0", "--no-dashboard")
    with ExitStack() as stack:
        scheduler = _start(stack, directory, "dask_scheduler", "--host", "127.0.0.1", "--port", 0, *common)
        address = eventually(lambda: _address(file), within=60)
        started = [
            _start(
                stack,
                directory,
                "dask_worker",
                *("--host", "127.0.0.1", "--no-nanny", "--nthreads", threads, "--name", f"node-{number + 1}"),
                *common,
                env=env,
            )
            for number in range(workers)
        ]
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield ProcessCluster(address, scheduler, started)


def children(pid):
    """The process ids of a process's children (Linux)."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _start(stack, directory, program, *argv, env=None):
    log = stack.enter_context((Path(directory) / "dask.log").open("ab"))
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{program}", *map(str, argv)],
        stdout=log,
        stderr=log,
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | (env or {}),
    )
    stack.callback(_end, process)
    return process


def _end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.kill()
    process.wait()


def _address(file):
    try:
        return json.loads(file.read_text())["address"]
    except (OSError, ValueError):
        return ""
