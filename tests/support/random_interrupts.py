"""SIGINT and SIGTERM at random times, once or twice: status, output, time, and what is left.

The time is drawn over the whole life of a run. `python -m bench.interrupts` repeats this many times.
"""

import asyncio
import json
import os
import random
import signal
import time
from functools import partial
from pathlib import Path

from tests.support.fork_server import ForkServer, run_concurrently
from tests.support.sandbox import Sandbox, open_sandbox

STATUS = {"SIGINT": 130, "SIGTERM": 143}
_LEFTOVERS = 101  # exit status: resources may remain
_GRACE = 0.2
_RUN_DURATION = 1.2  # seconds that a run takes, about
_REMOVAL_LIMIT = 10.0  # seconds from the first signal, after the grace period, until the run must have ended
_SECOND_SIGNAL_LIMIT = 1.0  # seconds from a second signal until the run must have ended


async def interrupt_once(sandbox: Sandbox, out: str, rng: random.Random, second_signal_limit: float) -> list[str]:
    """Start a run, interrupt it, and return the guarantees that did not hold."""
    violations: list[str] = []
    child = sandbox.start(str(sandbox.write_scenario(load="count=30")), "--out", out, "--quiet", "--grace", str(_GRACE))
    kind, is_twice = rng.choice(sorted(STATUS)), rng.random() < 0.3
    number = getattr(signal, kind)
    await child.pid
    await asyncio.sleep(rng.uniform(0, _RUN_DURATION))
    child.signal(number)
    signalled = time.perf_counter()
    if is_twice:
        await asyncio.sleep(rng.uniform(0, 0.2))
        child.signal(number)
        signalled = time.perf_counter()
    status = await sandbox.finish(child)
    took, stderr = time.perf_counter() - signalled, child.stderr.read_text("utf-8", "replace")
    # A signal before Python installs its handlers ends the process itself; one after the end has no effect.
    if status not in {STATUS[kind], _LEFTOVERS, 0, 110, -number}:
        violations.append(f"{kind}: status {status}: {stderr[-300:]}")
    if "Traceback" in stderr:
        violations.append(f"{kind}: a traceback: {stderr[-300:]}")
    if took > (second_signal_limit if is_twice else _GRACE + _REMOVAL_LIMIT):
        violations.append(f"{kind}{' twice' if is_twice else ''}: took {took:.1f} s")
    if status == _LEFTOVERS:
        journal = (sandbox.directory / out / "journal.jsonl").read_text()
        run_id = json.loads(journal.partition("\n")[0])["run_id"]
        if not is_twice or f"cleanup {run_id}" not in stderr:
            violations.append(f"{kind}: status {status} without the list of resources: {stderr[-300:]}")
        cleaned, _, _ = await sandbox.run("cleanup", run_id, "--yes")
        if cleaned != 0:
            violations.append(f"cleanup: status {cleaned}")
    if left := sandbox.existing_resources():
        violations.append(f"{kind}: left {sorted(left)}")
    return violations


async def interrupt_runs(
    directory: Path,
    fork_server: ForkServer,
    *,
    count: int,
    seed: int,
    second_signal_limit: float = _SECOND_SIGNAL_LIMIT,
) -> list[str]:
    """Interrupt so many runs, one for each core at a time; return the guarantees that did not hold."""

    async def one(number: int) -> list[str]:
        async with open_sandbox(directory / str(number), fork_server, service=0.01) as sandbox:
            return await interrupt_once(sandbox, "out", random.Random(seed + number), second_signal_limit)

    found = await run_concurrently([partial(one, number) for number in range(count)], limit=os.cpu_count() or 1)
    return [violation for violations in found for violation in violations]
