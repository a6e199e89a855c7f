"""Is the stated probability of a recommendation true, and how many calls does early elimination save?

    python -m bench.recommendation [--benchmarks N] [--calls N ...] [--json FILE]

Simulated benchmarks of ten kinds of models, whose true best size is known, for each objective. Each is judged twice:
after all calls, and with sizes eliminated after each round at a confidence of 0.95. An answer is right if the true
score of the recommended size is within 5 % of the lowest one. Exit status 1 if of the answers stated with 0.9 or more
fewer than 90 % are right, or if early elimination errs in more than 5 % of the benchmarks.
"""

import argparse
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.tables import table
from loadgen.analysis.elimination import eliminate
from loadgen.analysis.size_choice import OBJECTIVES, Objective, choose_size
from tests.support.simulated_models import KINDS, SIZES, SimulatedBenchmark, simulate

_CONFIDENCE = 0.95
_EDGES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Answer:
    """One recommendation: what it stated, and whether it was right."""

    kind: str
    objective: str
    calls: int
    probability: float
    is_right: bool
    eliminated_is_right: bool
    eliminated_calls: float  # share of the calls


def _answer(kind: str, objective: Objective, calls: int, seed: int) -> Answer:
    benchmark = simulate(kind, calls, seed)
    full = choose_size(benchmark.series(), objective)
    counts = _eliminate_in_rounds(benchmark, objective, calls)
    early = choose_size(benchmark.series(counts), objective)
    weight = objective.weight
    return Answer(
        *(kind, objective.name, calls, full.probability or 0.0),
        is_right=benchmark.is_right(full.memory_mb, weight),
        eliminated_is_right=benchmark.is_right(early.memory_mb, weight),
        eliminated_calls=sum(counts.values()) / calls / len(SIZES),
    )


def _eliminate_in_rounds(benchmark: SimulatedBenchmark, objective: Objective, calls: int) -> dict[int, int]:
    """Return the calls of each size when sizes are eliminated as a benchmark in rounds does it."""
    block = max(5, min(20, calls // 5))
    counts, active = dict.fromkeys(SIZES, 0), list(SIZES)
    done = looked = look = 0
    while done < calls:
        done = min(calls, done + block)
        counts |= dict.fromkeys(active, done)
        if done < 1.1 * looked and done < calls:
            continue
        look, looked = look + 1, done
        found = eliminate(
            benchmark.series(dict.fromkeys(active, done)),
            objective,
            confidence=_CONFIDENCE,
            look=look,
            eligible=active,
        )
        active = [size for size in active if size not in found.dropped]
        if found.is_decided:
            break
    return counts


def _reliability(answers: Sequence[Answer]) -> str:
    rows = []
    for low, high in itertools.pairwise(_EDGES):
        inside = [one for one in answers if low <= one.probability < high or one.probability == high == 1.0]
        if inside:
            right = sum(one.is_right for one in inside) / len(inside)
            stated = sum(one.probability for one in inside) / len(inside)
            rows.append([f"{low:g} to {high:g}", str(len(inside)), f"{stated:.3f}", f"{right:.3f}"])
    return table(["stated probability", "answers", "mean stated", "right"], rows)


def _by_kind(answers: Sequence[Answer]) -> str:
    groups: dict[tuple[str, int], list[Answer]] = defaultdict(list)
    for one in answers:
        groups[one.kind, one.calls].append(one)
    rows = [
        [
            f"{kind}, {calls:,} calls",
            f"{sum(one.is_right for one in group) / len(group):.2f}",
            f"{sum(one.probability for one in group) / len(group):.2f}",
            f"{sum(one.eliminated_is_right for one in group) / len(group):.2f}",
            f"{100 * sum(one.eliminated_calls for one in group) / len(group):.0f} %",
        ]
        for (kind, calls), group in groups.items()
    ]
    return table(["model", "right", "mean stated", "right with elimination", "calls made"], rows)


def main() -> None:
    """Simulate, print both tables, and judge."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.recommendation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--benchmarks", type=int, default=400, help="number of simulated benchmarks (400)")
    parser.add_argument("--calls", type=int, nargs="+", default=[20, 45, 200, 1000], help="calls of each size")
    parser.add_argument("--json", type=Path, help="write every answer to this file")
    arguments = parser.parse_args()
    cells = [(kind, calls) for calls in arguments.calls for kind in KINDS]
    answers = []
    for number in range(arguments.benchmarks):
        kind, calls = cells[number % len(cells)]
        answers += [_answer(kind, Objective(name), calls, number) for name in OBJECTIVES]
    print(_by_kind(answers))
    print()
    print(_reliability(answers))
    sure = [one for one in answers if one.probability >= 0.9]
    right = sum(one.is_right for one in sure)
    # An elimination errs if it makes a choice wrong that all calls would have made right.
    wrong = sum(one.is_right and not one.eliminated_is_right for one in answers)
    print(
        f"stated with 0.9 or more: {right} of {len(sure)} right ({100 * right / max(1, len(sure)):.1f} %); "
        f"wrong through elimination: {wrong} of {len(answers)} ({100 * wrong / len(answers):.1f} %)"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in answers]))
    sys.exit(right < 0.9 * len(sure) or wrong > (1 - _CONFIDENCE) * len(answers))


if __name__ == "__main__":
    main()
