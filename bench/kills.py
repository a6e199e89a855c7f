"""Kill -9 at random instants: what a run had recorded is on disk, whole, up to the bound; the report works.

    python -m bench.kills [--count N] [--bound S] [--seed S]

The emulator's own books say what had been answered so long before the kill. The last line has the count.
"""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from loadgen.measurement.run import NO_SAMPLES
from loadgen.results.reader import read_samples
from tests.support.failpoints import open_sandbox, parallel_cases
from tests.support.fork_server import ForkServer, fork_server

BOUND = 0.25  # seconds: what is promised
_POLL_INTERVAL = 0.005


@dataclass(frozen=True, slots=True)
class Loss:
    """What one kill cost.

    Args:
        answered: by the emulator's books, so long before the kill as the bound.
        samples_on_disk: samples on disk.
        violations: promises that were broken.
    """

    answered: int
    samples_on_disk: int
    violations: tuple[str, ...]


async def kill_once(directory: Path, fork_server: ForkServer, *, seed: int, bound: float) -> Loss:
    """Kill a run under load at an instant drawn by the seed, and compare what is on disk with the emulator's books."""
    draw, wrong = random.Random(seed), list[str]()
    async with open_sandbox(directory, fork_server, service=0.002) as on:
        path = on.write_scenario(load="duration=60", sizes=[1024])
        child = on.start(str(path), "--out", "out", "--quiet")
        await on.wait_until(lambda: on.arrivals() > 0)
        seen = [(time.perf_counter(), 0)]
        end = time.perf_counter() + draw.uniform(0.0, 1.0)
        while time.perf_counter() < end:
            seen.append((time.perf_counter(), on.arrivals() - 2))  # two clients: what is not answered yet
            await asyncio.sleep(_POLL_INTERVAL)
        child.signal(signal.SIGKILL)
        killed = time.perf_counter()
        await on.finish(child)
        answered = max(0, *(count for at, count in seen if at <= killed - bound), 0)
        files = list((directory / "out" / "runs").glob("*/samples.bin"))
        samples = read_samples(files[0])[0] if files else NO_SAMPLES
        if len(samples) < answered:
            wrong.append(f"{answered} answered {bound:g} s before, {len(samples)} kept")
        if len(samples) and len(set(samples["seq"].tolist())) != len(samples):
            wrong.append("a sample is there twice")
        if len(samples) > on.arrivals():
            wrong.append(f"{len(samples)} samples of {on.arrivals()} requests")
        status, _, said = await on.run("report", "out")
        if status != 0 or "Traceback" in said:
            wrong.append(f"report: {status}: {said[-200:]}")
        status, _, said = await on.run("cleanup", on.run_id(), "--yes")
        if status != 0 or on.existing_resources():
            wrong.append(f"cleanup: {status}: {said[-200:]}")
    return Loss(answered, len(samples), tuple(wrong))


async def kill_all(directory: Path, fork_server: ForkServer, *, count: int, bound: float, seed: int) -> list[Loss]:
    """Kill so many runs, a few at a time."""
    turn = asyncio.Semaphore(max(1, parallel_cases() // 2))

    async def one(number: int) -> Loss:
        async with turn:
            return await kill_once(directory / str(number), fork_server, seed=seed + number, bound=bound)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(count)]
    return [task.result() for task in tasks]


async def _with_fork_server(directory: Path, count: int, bound: float, seed: int) -> list[Loss]:
    async with fork_server() as mother:
        return await kill_all(directory, mother, count=count, bound=bound, seed=seed)


def main() -> int:
    """Kill, and say what it cost."""
    parser = argparse.ArgumentParser(prog="python -m bench.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=200, metavar="N")
    parser.add_argument("--bound", type=float, default=BOUND, metavar="S", help="seconds that may be lost")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        losses = asyncio.run(_with_fork_server(Path(scratch), options.count, options.bound, options.seed))
    broken = [loss for loss in losses if loss.violations]
    for loss in broken:
        print(f"BROKEN {'; '.join(loss.violations)}")
    kept = sum(loss.samples_on_disk for loss in losses)
    print(f"{len(losses)} kills, {kept:,} samples kept, bound {options.bound:g} s: {len(broken)} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
