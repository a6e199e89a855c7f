"""SIGKILL at random times: which samples a run has on disk afterwards, and whether `report` and `cleanup` still work.

The emulator's ledger gives the number of requests that had been answered a given time before the kill.
`python -m bench.kills` repeats this many times.
"""

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loadgen.measurement.run import NO_SAMPLES
from loadgen.results.reader import read_samples
from tests.support.fork_server import ForkServer, run_concurrently
from tests.support.sandbox import open_sandbox

BOUND = 0.25  # seconds of samples that a killed run may lose: guide/08-safety.md
_CLIENTS = 2  # of the sandbox's scenario
_POLL_INTERVAL = 0.005


@dataclass(frozen=True, slots=True)
class KillResult:
    """What one kill cost.

    Args:
        answered: requests that the emulator had answered at least `bound` seconds before the kill.
        samples_on_disk: samples that can be read afterwards.
        violations: guarantees that did not hold.
    """

    answered: int
    samples_on_disk: int
    violations: tuple[str, ...]


async def kill_once(directory: Path, fork_server: ForkServer, *, seed: int, bound: float) -> KillResult:
    """Kill a run under load at a random time, and compare what is on disk with the emulator's ledger."""
    rng, violations = random.Random(seed), list[str]()
    async with open_sandbox(directory, fork_server, service=0.002) as sandbox:
        path = sandbox.write_scenario(load="duration=60", sizes=[1024])
        child = sandbox.start(str(path), "--out", "out", "--quiet")
        await sandbox.wait_until(lambda: sandbox.arrivals() > 0)
        counts = [(time.perf_counter(), 0)]
        end = time.perf_counter() + rng.uniform(0.0, 1.0)
        while time.perf_counter() < end:
            counts.append((time.perf_counter(), sandbox.arrivals() - _CLIENTS))  # those may not be answered yet
            await asyncio.sleep(_POLL_INTERVAL)
        child.signal(signal.SIGKILL)
        killed = time.perf_counter()
        await sandbox.finish(child)
        answered = max(0, *(count for at, count in counts if at <= killed - bound), 0)
        files = list((directory / "out" / "runs").glob("*/samples.bin"))
        samples = read_samples(files[0])[0] if files else NO_SAMPLES
        if len(samples) < answered:
            violations.append(f"{answered} requests answered {bound:g} s before the kill, {len(samples)} samples")
        if len(samples) and len(set(samples["seq"].tolist())) != len(samples):
            violations.append("a sample is recorded twice")
        if len(samples) > sandbox.arrivals():
            violations.append(f"{len(samples)} samples of {sandbox.arrivals()} requests")
        status, _, stderr = await sandbox.run("report", "out")
        if status != 0 or "Traceback" in stderr:
            violations.append(f"report: status {status}: {stderr[-200:]}")
        status, _, stderr = await sandbox.run("cleanup", sandbox.run_id(), "--yes")
        if status != 0 or sandbox.existing_resources():
            violations.append(f"cleanup: status {status}: {stderr[-200:]}")
    return KillResult(answered, len(samples), tuple(violations))


async def kill_runs(
    directory: Path, fork_server: ForkServer, *, count: int, bound: float = BOUND, seed: int
) -> list[KillResult]:
    """Kill so many runs, one for each core at a time."""
    works = [
        partial(kill_once, directory / str(number), fork_server, seed=seed + number, bound=bound)
        for number in range(count)
    ]
    return await run_concurrently(works, limit=os.cpu_count() or 1)
