"""The failpoint matrix: every AWS call of a run x everything that can fail at it; nothing may be left behind.

    python -m bench.faults [--sample N] [--seed S]

The last line has the count. Exit status 1 if a guarantee was violated.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.support.failpoint_matrix import CaseResult, list_calls, matrix, run_cases
from tests.support.fork_server import ForkServer, run_with_fork_server


async def _run(directory: Path, fork_server: ForkServer, sample: int | None, seed: int) -> list[CaseResult]:
    calls = await list_calls(directory / "calls", fork_server)
    print(f"a run makes {len(calls)} calls: {' '.join(calls)}", flush=True)
    cases = matrix(len(calls))
    if sample is not None:
        cases = random.Random(seed).sample(cases, min(sample, len(cases)))
    return await run_cases(cases, directory, fork_server)


def main() -> int:
    """Run the matrix, or a sample of it, and print the violations."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, metavar="N", help="run N random cases instead of all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (1)")
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        results = run_with_fork_server(lambda server: _run(Path(scratch), server, options.sample, options.seed))
    broken = [result for result in results if result.violations]
    for result in broken:
        print(f"VIOLATION {result.case}: status {result.status}: {'; '.join(result.violations)}")
    seconds = time.perf_counter() - began
    print(f"{len(results)} cases in {seconds:.0f} s: {len(broken)} with violations")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
