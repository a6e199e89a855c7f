"""Does the generator know when it lied? Run `python -m bench.verdict [--runs 20] [--seconds 6]`.

Starved runs of four kinds must be INVALID and clean ones of three kinds must not; the counts are on the last line. The
exit status is 1 when a starved run was believed, or a clean one was not although the kernel let it have its core.
"""

import argparse
import itertools
import sys

from bench.starved import CLEAN, STARVED, RunVerdict, run_in_subprocess


def _run_all(kinds: list[str], runs: int, seconds: float) -> list[RunVerdict]:
    found = []
    for kind in itertools.islice(itertools.cycle(kinds), runs):
        judged = run_in_subprocess(kind, seconds)
        why = "; ".join(judged.reasons) or "-"
        print(
            f"{judged.kind:<13} {judged.verdict:<8} kept waiting {judged.runqueue_wait * 1e3:7.1f} ms   {why}",
            flush=True,
        )
        found.append(judged)
    return found


def main() -> None:
    """Make all runs one after another, a line for each, and count."""
    parser = argparse.ArgumentParser(description="Starved and clean runs, and what they say of themselves.")
    parser.add_argument("--runs", type=int, default=20, help="of each sort")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each run")
    arguments = parser.parse_args()
    starved = _run_all(list(STARVED), arguments.runs, arguments.seconds)
    clean = _run_all(list(CLEAN), arguments.runs, arguments.seconds)
    caught = sum(judged.is_invalid for judged in starved)
    accused = [judged for judged in clean if judged.is_invalid]
    excused = sum(judged.is_excused for judged in accused)
    print(
        f"starved: {caught} of {len(starved)} INVALID; clean: {len(accused)} of {len(clean)} INVALID, "
        f"{excused} of them while the kernel kept the process waiting"
    )
    sys.exit(caught < len(starved) or excused < len(accused))


if __name__ == "__main__":
    main()
