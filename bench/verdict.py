"""Does the verdict recognise a starved generator?

    python -m bench.verdict [--runs N] [--seconds S]

Starved runs of five kinds must be INVALID, clean runs of three kinds must not. The last line has the counts. Exit
status 1 if a starved run was VALID, or a clean run was INVALID although the kernel did not keep it waiting.
"""

import argparse
import itertools
import sys

from tests.support.starved_runs import CLEAN, STARVED, RunVerdict, run_in_subprocess


def _run_all(kinds: list[str], runs: int, seconds: float) -> list[RunVerdict]:
    found = []
    for kind in itertools.islice(itertools.cycle(kinds), runs):
        judged = run_in_subprocess(kind, seconds)
        reasons = "; ".join(judged.reasons) or "-"
        print(
            f"{judged.kind:<13} {judged.verdict:<8} run queue {judged.runqueue_wait * 1e3:7.1f} ms   {reasons}",
            flush=True,
        )
        found.append(judged)
    return found


def main() -> None:
    """Make all runs one after the other, print a line for each, and count."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.verdict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20, help="number of starved and of clean runs (20)")
    parser.add_argument("--seconds", type=float, default=6.0, help="duration of each run (6)")
    arguments = parser.parse_args()
    starved = _run_all(list(STARVED), arguments.runs, arguments.seconds)
    clean = _run_all(list(CLEAN), arguments.runs, arguments.seconds)
    caught = sum(judged.is_invalid for judged in starved)
    invalid = [judged for judged in clean if judged.is_invalid]
    excused = sum(judged.is_excused for judged in invalid)
    print(
        f"starved: {caught} of {len(starved)} INVALID; clean: {len(invalid)} of {len(clean)} INVALID, "
        f"{excused} of them because the kernel kept the process waiting"
    )
    sys.exit(caught < len(starved) or excused < len(invalid))


if __name__ == "__main__":
    main()
