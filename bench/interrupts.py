"""SIGINT and SIGTERM at random times: right status, right list of resources, no traceback, nothing left.

    python -m bench.interrupts [--count N] [--seed S]

One signal or two, at times drawn over the whole life of a run. The last line has the count. Exit status 1 if a
guarantee was violated.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.support.fork_server import run_with_fork_server
from tests.support.random_interrupts import interrupt_runs


def main() -> int:
    """Interrupt runs and print the violations."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.interrupts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200, metavar="N", help="number of runs (200)")
    parser.add_argument("--seed", type=int, default=1, help="of the times and signals (1)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        violations = run_with_fork_server(
            lambda server: interrupt_runs(Path(scratch), server, count=options.count, seed=options.seed)
        )
    for violation in violations:
        print(f"VIOLATION {violation}")
    print(f"{options.count} interrupts: {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
