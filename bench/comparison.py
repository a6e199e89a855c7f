"""False alarms: how often two measurements of the same thing are called different, by simulation in virtual time.

    python -m bench.comparison [--comparisons N] [--calls N] [--seed S] [--slower PERCENT]

Each comparison takes two measurements of one model and says for nine metrics whether the second one is better, worse,
the same within 5 %, or that it cannot be told. A comparison is a false alarm if any metric is worse. The last columns
show what is found of a second measurement that is slower. Exit status 1 if more than 1 in 100 are false alarms.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.coverage import drifting, independent, strongly_dependent, weakly_dependent
from bench.tables import table
from loadgen.comparison.comparison import Comparison, compare
from loadgen.comparison.verdict import Answer, Margins
from tests.support.compared_runs import interleaved, measured

Values = NDArray[np.float64]
BETWEEN_RUNS = 0.03
_SIGMA = 0.2
_MEDIAN = 0.1  # seconds
_ROUNDS = 24
_SERIES = {
    "independent": independent,
    "correlation 0.5": weakly_dependent,
    "correlation 0.9": strongly_dependent,
    "drift of 20 %": drifting,
}
KINDS = (*_SERIES, "runs differ by 3 %", "interleaved, runs differ by 3 %")
MOST_FALSE_ALARMS = 0.01


@dataclass(frozen=True, slots=True)
class Found:
    """What many comparisons of one kind said.

    Args:
        comparisons: number of comparisons.
        worse: comparisons in which some metric was worse.
        better: likewise better.
        same: comparisons in which the median was the same within the margin.
        unknown: comparisons in which it could not be told.
    """

    comparisons: int
    worse: int
    better: int
    same: int
    unknown: int


def compare_once(kind: str, calls: int, seed: Sequence[int], slower: float = 0.0) -> Comparison:
    """Compare two measurements of a model, of which the second is slower by a share."""
    random = np.random.default_rng(seed)
    factor = 1 + slower
    if kind.startswith("interleaved"):
        # Both are called in the same minutes, which differ from each other as runs do.
        minutes = np.repeat(np.exp(BETWEEN_RUNS * random.standard_normal(_ROUNDS)), -(-calls // _ROUNDS))[:calls]
        base, new = (_MEDIAN * minutes * weakly_dependent(random, _SIGMA, calls) for _ in range(2))
        both = interleaved(base, factor * new, _ROUNDS)
        return compare(both, both, margins=Margins())
    is_varied = kind not in _SERIES
    series = _SERIES.get(kind, independent)
    base, new = (
        _MEDIAN
        * (math.exp(BETWEEN_RUNS * random.standard_normal()) if is_varied else 1)
        * series(random, _SIGMA, calls)
        for _ in range(2)
    )
    margins = Margins(between_runs=BETWEEN_RUNS if is_varied else 0.0)
    return compare(measured("base", base), measured("new", factor * new), margins=margins)


def measure(kind: str, *, comparisons: int, calls: int, seed: int, slower: float = 0.0) -> Found:
    """Make many comparisons of one kind."""
    counts = dict.fromkeys(Answer, 0)
    medians = dict.fromkeys(Answer, 0)
    for number in range(comparisons):
        found = compare_once(kind, calls, (seed, number, calls), slower)
        for answer in Answer:
            counts[answer] += found.count(answer) > 0
        median = next(one for one in found.steps[0].metrics if one.difference.metric.name == "p50")
        medians[median.answer] += 1
    return Found(
        comparisons, counts[Answer.WORSE], counts[Answer.BETTER], medians[Answer.SAME], medians[Answer.UNKNOWN]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and judge."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.comparison",
        description="How often two measurements of the same thing are called different.",
    )
    parser.add_argument("--comparisons", type=int, default=1000, help="comparisons of each kind (default: 1000)")
    parser.add_argument("--calls", type=int, default=1000, help="calls of each measurement (default: 1000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulation (default: 1)")
    parser.add_argument("--slower", type=float, default=8.0, help="percent, for the last columns (default: 8)")
    options = parser.parse_args(arguments)
    rows, most = [], 0.0
    for kind in KINDS:
        same = measure(kind, comparisons=options.comparisons, calls=options.calls, seed=options.seed)
        fewer = max(1, options.comparisons // 10)
        slower = measure(kind, comparisons=fewer, calls=options.calls, seed=options.seed, slower=options.slower / 100)
        rows.append(
            [
                kind,
                f"{same.worse} of {same.comparisons:,}",
                str(same.better),
                f"{100 * same.same / same.comparisons:.0f} %",
                f"{100 * same.unknown / same.comparisons:.0f} %",
                f"{100 * slower.worse / slower.comparisons:.0f} %",
            ]
        )
        most = max(most, same.worse / same.comparisons)
    heading = ["kind", "worse", "better", "p50 same", "p50 cannot be told", f"{options.slower:g} % slower: worse"]
    print(table(heading, rows))
    print(f"\nMost false alarms: {100 * most:.1f} %, at most {100 * MOST_FALSE_ALARMS:g} % allowed.")
    return 0 if most <= MOST_FALSE_ALARMS else 1


if __name__ == "__main__":
    sys.exit(main())
