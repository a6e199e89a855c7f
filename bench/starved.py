"""Runs whose generator is starved on purpose, and clean ones: does loadgen tell them apart?

`python -m bench.starved KIND [--seconds S]` makes one run in this process and prints its verdict as one line of JSON.
Beside it stands the kernel's own account of how long the process was ready to run and was not let: an INVALID clean run
is a false alarm only when the kernel knows of nothing that kept the process waiting. Linux only.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.oracle import running_oracle
from bench.ours import REQUESTS, open_loadgen_transport, run_on_uvloop
from bench.scripts import Constant
from loadgen.analysis.verdict import judge
from loadgen.engine.engine import run
from loadgen.measurement.run import Run
from loadgen.transport.null import NullTransport
from loadgen.workload.arrivals import even, poisson
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant

# What the kernel must have kept from a process before we believe that an INVALID clean run was right: half of the
# largest lag of the event loop that a VALID run may have (100 ms), or one part in a hundred of the run.
EXCUSED_WAIT = 0.05
EXCUSED_WAIT_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """What one run said of itself.

    Args:
        kind: which run.
        verdict: VALID or INVALID.
        reasons: each with its figure.
        runqueue_wait: seconds for which the process could have run and the kernel ran something else.
        duration: seconds of the run.
    """

    kind: str
    verdict: str
    reasons: tuple[str, ...]
    runqueue_wait: float
    duration: float

    @property
    def is_invalid(self) -> bool:
        """True when the run does not believe its own numbers."""
        return self.verdict != "VALID"

    @property
    def is_excused(self) -> bool:
        """True when the machine did starve the process, whoever wanted it clean."""
        return self.runqueue_wait > min(EXCUSED_WAIT, EXCUSED_WAIT_SHARE * self.duration)


def _runqueue_wait() -> float:
    """Return the seconds this process has waited for a core. Source: Linux, Documentation/scheduler/sched-stats.rst."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


# --- starved ---------------------------------------------------------------------------------------------------------

_CPU_HOG = "import os, sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"


@asynccontextmanager
async def _cpu_hogs(count: int, seconds: float) -> AsyncIterator[None]:
    """Let other processes want the core that this one must stay on; they end by themselves if we do not end them."""
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})  # inherited
    hogs = [subprocess.Popen([sys.executable, "-S", "-c", _CPU_HOG, str(seconds + 10)]) for _ in range(count)]  # noqa: ASYNC220 - before the run
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


async def cpu_hog(seconds: float) -> Run:
    """Share the core with four processes that never rest."""
    async with _cpu_hogs(4, seconds):
        return await run(OpenLoop(even(constant(2000)), seconds), NullTransport(0.01), REQUESTS)


async def in_flight_cap(seconds: float) -> Run:
    """Ask twice the rate that 50 requests in flight can carry."""
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
    """Give 100 clients half of the descriptors that they need."""
    with running_oracle() as oracle:
        oracle.start_script(Constant(0.05))
        async with open_loadgen_transport("botocore", oracle.url, connections=100) as transport:
            _leave_descriptors(50)
            return await run(ClosedLoop(100, duration=seconds), transport, REQUESTS)


async def saturated(seconds: float) -> Run:
    """Let 64 clients call a 20 ms target through aiobotocore on one core, which can serve a third of them."""
    with running_oracle() as oracle:
        oracle.start_script(Constant(0.02))
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        async with open_loadgen_transport("botocore", oracle.url, connections=64) as transport:
            return await run(ClosedLoop(64, duration=seconds), transport, REQUESTS)


# --- clean -----------------------------------------------------------------------------------------------------------


async def clean_open(seconds: float) -> Run:
    """Offer an even 50 requests a second, a hundredth of what the engine can send."""
    return await run(OpenLoop(even(constant(50)), seconds), NullTransport(0.2), REQUESTS)


async def clean_closed(seconds: float) -> Run:
    """Let 8 clients call what takes 200 ms."""
    return await run(ClosedLoop(8, duration=seconds), NullTransport(0.2), REQUESTS)


async def clean_http(seconds: float) -> Run:
    """Send 25 requests a second at random over real HTTP to a server that takes 200 ms."""
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
    """Make one run in a process of its own, and return what it said."""
    command = [sys.executable, "-m", "bench.starved", kind, "--seconds", str(seconds)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=seconds + 60, cwd=Path(__file__).parents[1]
    )
    return RunVerdict(**json.loads(done.stdout))


def main() -> None:
    """Make one run and print one line."""
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
