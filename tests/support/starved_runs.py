"""Runs whose generator is starved on purpose, and clean runs; their verdicts should differ.

`python -m tests.support.starved_runs KIND [--seconds S]` makes one run in this process and prints its verdict as one
line of JSON, with the time for which the kernel kept the process from running although it was ready. An INVALID clean
run is a false alarm only if that time is short. Linux only.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.verdict import judge
from loadgen.engine import engine
from loadgen.interfaces import Transport
from loadgen.measurement.run import Run
from loadgen.measurement.sample import ErrorCode
from loadgen.transport.null import NullTransport
from loadgen.workload.arrivals import even, poisson
from loadgen.workload.load import ClosedLoop, Load, OpenLoop
from loadgen.workload.rate import constant
from loadgen.workload.request import Request
from tests.support.latency_scripts import Constant
from tests.support.loadgen_client import REQUESTS, open_loadgen_transport, run_on_uvloop
from tests.support.oracle import running_oracle

# Seconds, or share of the run, for which the kernel must have kept the process waiting before the INVALID verdict of a
# clean run is accepted: a stall of a quarter of its service time (200 ms), or one part in a hundred of the run.
EXCUSED_WAIT = 0.05
EXCUSED_WAIT_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """The verdict of one run.

    Args:
        kind: key of STARVED or CLEAN.
        verdict: VALID or INVALID.
        reasons: each with its observed value.
        runqueue_wait: seconds for which the process was ready and the kernel ran something else.
        duration: seconds of the run.
    """

    kind: str
    verdict: str
    reasons: tuple[str, ...]
    runqueue_wait: float
    duration: float

    @property
    def is_invalid(self) -> bool:
        """True if the verdict is not VALID."""
        return self.verdict != "VALID"

    @property
    def is_excused(self) -> bool:
        """True if the machine did starve the process, so that INVALID is right."""
        return self.runqueue_wait > min(EXCUSED_WAIT, EXCUSED_WAIT_SHARE * self.duration)


def _runqueue_wait() -> float:
    """Return the seconds for which this process has waited for a core. Source: Linux, Documentation/scheduler/sched-stats.rst."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


class _Samples:
    """A sink that keeps all samples in memory."""

    def __init__(self) -> None:
        self.batches: list[NDArray[np.void]] = []

    def write_samples(self, batch: NDArray[np.void]) -> None:
        self.batches.append(batch.copy())

    def write_error_code(self, error_code: ErrorCode) -> None:
        pass


async def run(load: Load, transport: Transport, requests: Sequence[Request]) -> Run:
    """Run a load with the engine, and return the run with its samples."""
    sink = _Samples()
    done = await engine.run(load, transport, requests, sink=sink)
    return replace(done, samples=np.concatenate(sink.batches))


# --- starved ---------------------------------------------------------------------------------------------------------

_CPU_HOG = "import os, sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"


@asynccontextmanager
async def _cpu_hogs(count: int, seconds: float) -> AsyncIterator[None]:
    """Run busy processes on the core of this process; they end by themselves if they are not ended."""
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})  # inherited
    hogs = [subprocess.Popen([sys.executable, "-S", "-c", _CPU_HOG, str(seconds + 10)]) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


async def cpu_hog(seconds: float) -> Run:
    """Share the core with four busy processes."""
    async with _cpu_hogs(4, seconds):
        return await run(OpenLoop(even(constant(2000)), seconds), NullTransport(0.01), REQUESTS)


async def in_flight_cap(seconds: float) -> Run:
    """Offer twice the rate that 50 requests in flight can carry."""
    latency, in_flight = 0.1, 50
    rate = 2 * in_flight / latency
    return await run(OpenLoop(even(constant(rate)), seconds, in_flight), NullTransport(latency), REQUESTS)


async def stalls(seconds: float) -> Run:
    """Block the event loop for 250 ms every second, as a synchronous call in an async service does."""
    loop = asyncio.get_running_loop()

    for second in range(int(seconds)):
        loop.call_later(second + 0.5, time.sleep, 0.25)
    return await run(OpenLoop(even(constant(100)), seconds), NullTransport(0.05), REQUESTS)


def _leave_descriptors(count: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = sum(1 for _ in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + count, hard))


async def fd_limit(seconds: float) -> Run:
    """Give 100 clients half of the file descriptors that they need."""
    with running_oracle() as oracle:
        oracle.start_script(Constant(0.05))
        async with open_loadgen_transport("botocore", oracle.url, connections=100) as transport:
            _leave_descriptors(50)
            return await run(ClosedLoop(100, duration=seconds), transport, REQUESTS)


async def saturated(seconds: float) -> Run:
    """Call a 20 ms target from 64 aiobotocore clients on one core, which can serve a third of them."""
    with running_oracle() as oracle:
        oracle.start_script(Constant(0.02))
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        async with open_loadgen_transport("botocore", oracle.url, connections=64) as transport:
            return await run(ClosedLoop(64, duration=seconds), transport, REQUESTS)


# --- clean -----------------------------------------------------------------------------------------------------------


async def clean_open(seconds: float) -> Run:
    """Offer 50 requests per second, evenly spaced: a hundredth of what the engine can send."""
    return await run(OpenLoop(even(constant(50)), seconds), NullTransport(0.2), REQUESTS)


async def clean_closed(seconds: float) -> Run:
    """Call a 200 ms target from 8 clients."""
    return await run(ClosedLoop(8, duration=seconds), NullTransport(0.2), REQUESTS)


async def clean_http(seconds: float) -> Run:
    """Send 25 requests per second at random times over HTTP to a 200 ms server."""
    with running_oracle() as oracle:
        oracle.start_script(Constant(0.2))
        async with open_loadgen_transport("wire", oracle.url, connections=50) as transport:
            return await run(OpenLoop(poisson(constant(25), seed=1), seconds, 50), transport, REQUESTS)


RunFactory = Callable[[float], Awaitable[Run]]
STARVED: dict[str, RunFactory] = {
    "hog": cpu_hog,
    "cap": in_flight_cap,
    "stalls": stalls,
    "fds": fd_limit,
    "saturated": saturated,
}
CLEAN: dict[str, RunFactory] = {"clean_open": clean_open, "clean_closed": clean_closed, "clean_http": clean_http}


def run_in_subprocess(kind: str, seconds: float) -> RunVerdict:
    """Make one run in its own process and return its verdict."""
    command = [sys.executable, "-m", "tests.support.starved_runs", kind, "--seconds", str(seconds)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=seconds + 60, cwd=Path(__file__).parents[2]
    )
    return RunVerdict(**json.loads(done.stdout))


def main() -> None:
    """Make one run and print its verdict."""
    parser = argparse.ArgumentParser(description="One starved or clean run, and its verdict.")
    parser.add_argument("kind", choices=[*STARVED, *CLEAN])
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()

    async def work() -> tuple[Run, float]:
        kind = (STARVED | CLEAN)[arguments.kind]
        before = _runqueue_wait()
        done = await kind(arguments.seconds)
        return done, _runqueue_wait() - before

    done, waited = run_on_uvloop(work())
    verdict = judge(done)
    reasons = tuple(f"{reason.problem}: {reason.observed}" for reason in verdict.reasons)
    print(json.dumps(asdict(RunVerdict(arguments.kind, str(verdict), reasons, waited, done.duration))))


if __name__ == "__main__":
    main()
