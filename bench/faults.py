"""The failpoint matrix: every AWS call of a run x everything that can go wrong with it; nothing may be left behind.

    python -m bench.faults [--sample N] [--seed S]

The last line has the count. Exit status 1 when a promise was broken.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.failpoints import FAULTS, SIGNALS, Case, CaseResult, list_calls, parallel_cases, run_case
from tests.support.fork_server import fork_server

VARIANTS = ("", "no journal", "no tags")


def matrix(calls: int) -> list[Case]:
    """Return every case; what is missing at cleanup matters only where a cleanup is needed."""
    cases = [Case(call, fault) for call in range(1, calls + 1) for fault in (*FAULTS, *SIGNALS)]
    cases += [
        Case(call, fault, variant)
        for call in range(1, calls + 1)
        for fault in SIGNALS
        if fault.startswith("SIGKILL")
        for variant in VARIANTS[1:]
    ]
    return cases


async def run_cases(cases: Sequence[Case], directory: Path) -> list[CaseResult]:
    """Try cases, several at a time, and return what they came to, in their order."""
    turn = asyncio.Semaphore(parallel_cases())

    async with fork_server() as mother:

        async def one(number: int, case: Case) -> CaseResult:
            async with turn:
                return await run_case(case, directory / str(number), mother)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number, case)) for number, case in enumerate(cases)]
    return [task.result() for task in tasks]


async def calls_of_a_run(directory: Path) -> list[str]:
    """Return the AWS calls of a run in which nothing goes wrong."""
    async with fork_server() as mother:
        return await list_calls(directory, mother)


def main() -> int:
    """Try the matrix, or a sample of it, and say what it came to."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--sample", type=int, metavar="N", help="only so many cases, drawn by the seed")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        calls = asyncio.run(calls_of_a_run(Path(scratch) / "calls"))
        print(f"a run makes {len(calls)} calls: {' '.join(calls)}", flush=True)
        cases = matrix(len(calls))
        if options.sample is not None:
            cases = random.Random(options.seed).sample(cases, min(options.sample, len(cases)))
        verdicts = asyncio.run(run_cases(cases, Path(scratch)))
    broken = [verdict for verdict in verdicts if verdict.violations]
    for verdict in broken:
        print(f"BROKEN {verdict.case}: status {verdict.status}: {'; '.join(verdict.violations)}")
    seconds = time.perf_counter() - began
    print(f"{len(verdicts)} cases in {seconds:.0f} s: {len(broken)} broken, {len(verdicts) - len(broken)} left nothing")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
