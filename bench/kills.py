"""SIGKILL at random times: what a run had recorded is on disk, up to the last 250 ms; `report` and `cleanup` work.

    python -m bench.kills [--count N] [--bound S] [--seed S]

The last line has the count. Exit status 1 if a guarantee was violated.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.support.fork_server import run_with_fork_server
from tests.support.random_kills import BOUND, kill_runs


def main() -> int:
    """Kill runs and print what it cost."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.kills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200, metavar="N", help="number of kills (200)")
    parser.add_argument("--bound", type=float, default=BOUND, metavar="S", help=f"seconds that may be lost ({BOUND:g})")
    parser.add_argument("--seed", type=int, default=1, help="of the times of the kills (1)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = run_with_fork_server(
            lambda server: kill_runs(Path(scratch), server, count=options.count, bound=options.bound, seed=options.seed)
        )
    broken = [result for result in results if result.violations]
    for result in broken:
        print(f"VIOLATION {'; '.join(result.violations)}")
    kept = sum(result.samples_on_disk for result in results)
    print(f"{len(results)} kills, {kept:,} samples on disk, bound {options.bound:g} s: {len(broken)} with violations")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
