"""Does the verdict recognise a starved generator?

    python -m bench.verdict [--runs N] [--seconds S]
    python -m bench.verdict --disturbed [--repeat N] [--seconds S] [--kind KIND ...]

Starved runs of five kinds must be INVALID, clean runs of three kinds must not. The last line has the counts. Exit
status 1 if a starved run was VALID, or a clean run was INVALID although the kernel did not keep it waiting.

With --disturbed, runs are disturbed in the ways of bench/disturbances.py, and each figure is compared with what the
server did: off by more than 10 % and 2 ms it is wrong, by less than 5 % or 1 ms right. The table counts the wrong (w)
and the right (r) figures of each kind, and those between (b), that were called VALID (V) and INVALID (I). Exit status 1
if more than 1 in 20 of the wrong figures were VALID, or more than 1 in 20 of the right ones INVALID.
"""

import argparse
import itertools
import sys

from bench.disturbances import DISTURBANCES, DisturbedRun, count_figures, measure_in_subprocess, tabulate
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


ACCEPTED_SHARE = 1 / 20  # of the wrong figures that are called VALID, and of the right ones that are called INVALID


def _run_disturbed(kinds: list[str], repeat: int, seconds: float) -> bool:
    """Make the disturbed runs, print the table, and return whether few enough figures were misjudged."""
    found: list[DisturbedRun] = []
    for kind, latency in [one for one in DISTURBANCES if not kinds or one[0] in kinds] * repeat:
        one = measure_in_subprocess(kind, latency, seconds)
        misjudged = [
            f"{figure.name} {figure.error:+.0%} {'VALID' if figure.is_valid else 'INVALID'}"
            for figure in one.figures
            if (figure.is_wrong and figure.is_valid) or (figure.is_right and not figure.is_valid)
        ]
        print(f"{kind:<16} {latency * 1e3:>5.0f} ms {one.verdict:<8} {'; '.join(misjudged) or '-'}", flush=True)
        found.append(one)
    print(tabulate(found))
    counts = count_figures(found)
    wrong, right = counts.wrong_valid + counts.wrong_invalid, counts.right_valid + counts.right_invalid
    return counts.wrong_valid <= ACCEPTED_SHARE * wrong and counts.right_invalid <= ACCEPTED_SHARE * right


def main() -> None:
    """Make all runs one after the other, print a line for each, and count."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.verdict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20, help="number of starved and of clean runs (20)")
    parser.add_argument("--seconds", type=float, default=6.0, help="duration of each run (6)")
    parser.add_argument("--disturbed", action="store_true", help="disturbed runs, judged figure by figure")
    parser.add_argument("--repeat", type=int, default=1, help="with --disturbed: number of runs of each kind (1)")
    parser.add_argument("--kind", action="append", default=[], help="with --disturbed: only this kind")
    arguments = parser.parse_args()
    if arguments.disturbed:
        sys.exit(not _run_disturbed(arguments.kind, arguments.repeat, arguments.seconds))
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
