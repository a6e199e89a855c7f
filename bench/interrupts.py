"""Interrupts at random instants: the right status, the right list, no traceback, nothing left behind.

    python -m bench.interrupts [--count N] [--seed S]

One signal or two, at instants drawn by the seed over the whole life of a run. The last line has the count.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.support.failpoints import Sandbox, open_sandbox, parallel_cases
from tests.support.fork_server import ForkServer, fork_server

STATUS = {"SIGINT": 130, "SIGTERM": 143}
_GRACE = 0.2
_RUN_DURATION = 1.2  # seconds that a run takes, about
_REMOVAL_LIMIT = 10.0  # seconds that everything after a first signal may take here
_SECOND_SIGNAL_LIMIT = 1.0  # and everything after a second one


async def interrupt_once(sandbox: Sandbox, name: str, rng: random.Random, second_signal_limit: float) -> list[str]:
    """Start a run in a directory of this name, interrupt it, and say what was wrong."""
    violations: list[str] = []
    child = sandbox.start(
        str(sandbox.write_scenario(load="count=30")), "--out", name, "--quiet", "--grace", str(_GRACE)
    )
    kind, is_twice = rng.choice(sorted(STATUS)), rng.random() < 0.3
    await child.pid
    await asyncio.sleep(rng.uniform(0, _RUN_DURATION))
    child.signal(getattr(signal, kind))
    told = time.perf_counter()
    if is_twice:
        await asyncio.sleep(rng.uniform(0, 0.2))
        child.signal(getattr(signal, kind))
        told = time.perf_counter()
    status = await sandbox.finish(child)
    took, said = time.perf_counter() - told, child.stderr.read_text("utf-8", "replace")
    # A signal that comes before Python hears any ends the process itself; one that comes after the end finds nothing.
    if status not in {STATUS[kind], 101, 0, 110, -getattr(signal, kind)}:
        violations.append(f"{kind}: status {status}: {said[-300:]}")
    if "Traceback" in said:
        violations.append(f"{kind}: a traceback: {said[-300:]}")
    if took > (second_signal_limit if is_twice else _GRACE + _REMOVAL_LIMIT):
        violations.append(f"{kind}{' twice' if is_twice else ''}: took {took:.1f} s")
    if status == 101:
        run_id = json.loads((sandbox.directory / name / "journal.jsonl").read_text().partition("\n")[0])["run_id"]
        if not is_twice or f"cleanup {run_id}" not in said:
            violations.append(f"{kind}: 101 without its list: {said[-300:]}")
        cleaned, _, _ = await sandbox.run("cleanup", run_id, "--yes")
        if cleaned != 0:
            violations.append(f"cleanup ended with {cleaned}")
    if left := sandbox.existing_resources():
        violations.append(f"{kind}: left {sorted(left)}")
    return violations


async def interrupt_all(
    directory: Path,
    fork_server: ForkServer,
    *,
    count: int,
    seed: int,
    second_signal_limit: float = _SECOND_SIGNAL_LIMIT,
) -> list[str]:
    """Interrupt so many runs, a few at a time, and say what was wrong."""
    turn = asyncio.Semaphore(max(1, parallel_cases() // 2))

    async def one(number: int) -> list[str]:
        async with turn, open_sandbox(directory / str(number), fork_server, service=0.01) as on:
            return await interrupt_once(on, "out", random.Random(seed + number), second_signal_limit)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(count)]
    return [wrong for task in tasks for wrong in task.result()]


async def _with_fork_server(directory: Path, count: int, seed: int) -> list[str]:
    async with fork_server() as mother:
        return await interrupt_all(directory, mother, count=count, seed=seed)


def main() -> int:
    """Interrupt, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m bench.interrupts", description=__doc__)
    parser.add_argument("--count", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        wrong = asyncio.run(_with_fork_server(Path(scratch), options.count, options.seed))
    for line in wrong:
        print(f"BROKEN {line}")
    print(f"{options.count} interrupts: {len(wrong)} broken promises")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
