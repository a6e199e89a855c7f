"""Invalid inputs: generated command lines, scenario files and payload files; each ends in one clear line.

    python -m bench.inputs [--count N] [--seed S]

The last line has the count. Exit status 1 if a guarantee was violated.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from tests.support.invalid_inputs import try_inputs


def main() -> int:
    """Try inputs and print the violations."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.inputs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000, metavar="N", help="number of inputs (20000)")
    parser.add_argument("--seed", type=int, default=1, help="of the inputs (1)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        result = try_inputs(Path(scratch), count=options.count, seed=options.seed)
    for violation in result.violations:
        print(f"VIOLATION {violation}")
    print(f"{result.tried} inputs: {result.accepted} accepted, {len(result.violations)} violations")
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
