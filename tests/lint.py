"""Lint: run linter, formatter check and type checker.

    python -m tests.lint

Prints the output of each check that failed. Exit status 1 if one failed.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "loadgen", "tests", "bench", "scenarios"),
    ("mypy",),
)


def main() -> int:
    """Run every check and return the exit status."""
    failed = 0
    for check in CHECKS:
        done = subprocess.run([sys.executable, "-m", *check], capture_output=True, text=True, cwd=ROOT, check=False)
        print(f"{' '.join(check)}: {'ok' if done.returncode == 0 else 'failed'}", flush=True)
        if done.returncode != 0:
            print(done.stdout + done.stderr, flush=True)
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
