"""Elimination: which memory sizes to go on calling, after each round of a benchmark. Pure.

A size is dropped once its score is certainly higher than that of another one. The benchmark is decided once the
remaining sizes are certainly equivalent, or one is left. "Certainly" holds at every look at the data, not only at the
last: look r may err with a probability of error / (r (r + 1)), and these add up to `error` however many looks there are
(the union bound; for its use in successive elimination see Even-Dar, Mannor and Mansour, JMLR 7, 2006).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.size_choice import MIN_CALLS, Objective, SizeSeries, score_differences
from loadgen.statistics.distributions import student_quantile


@dataclass(frozen=True, slots=True)
class Elimination:
    """What one look at the data decided.

    Args:
        dropped: size -> why no more calls of it are needed.
        is_decided: whether the remaining sizes need no more calls.
        reason: why it is decided; empty if it is not.
    """

    dropped: dict[int, str]
    is_decided: bool
    reason: str


def eliminate(
    series: Sequence[SizeSeries], objective: Objective, *, confidence: float, look: int, eligible: Sequence[int]
) -> Elimination:
    """Tell which of the sizes need no more calls.

    Args:
        series: the sizes that are still called, call k of each made at about the same time.
        objective: what is optimized.
        confidence: probability, over all looks, that no size was dropped wrongly.
        look: number of this look at the data, from 1.
        eligible: sizes that may be recommended; no size is dropped in favour of another one.
    """
    candidates = [one.memory_mb for one in series if one.memory_mb in eligible]
    if not candidates or any(one.count < MIN_CALLS for one in series):
        return Elimination({}, is_decided=False, reason="")
    if len(series) == 1:
        return Elimination({}, is_decided=True, reason="no other size is left")
    found = score_differences(series, candidates, objective)
    error = (1 - confidence) / (look * (look + 1)) / (len(series) - 1)
    reach = student_quantile(1 - error, found.freedom) * found.deviations
    tolerance = math.log1p(objective.margin)
    # For speed the smallest equivalent size is wanted, so that a size within the margin must not be dropped.
    least = tolerance if objective.weight == 0 else 0.0
    dropped: dict[int, str] = {}
    undecided: list[int] = []
    for one, difference, width in zip(series, found.differences, reach, strict=True):
        if one.memory_mb == found.best:
            continue
        if difference - width > least:
            least_percent = 100 * math.expm1(difference - width)
            dropped[one.memory_mb] = (
                f"its {objective} is at least {least_percent:.0f} % higher than that of {found.best} MB"
            )
        elif one.memory_mb in eligible and not _is_settled(
            difference, width, tolerance, is_speed=objective.weight == 0
        ):
            undecided.append(one.memory_mb)
    is_decided = not undecided
    left = [one.memory_mb for one in series if one.memory_mb not in dropped]
    reason = "" if not is_decided else _reason(left, objective)
    return Elimination(dropped, is_decided, reason)


def _is_settled(difference: float, width: float, tolerance: float, *, is_speed: bool) -> bool:
    """Tell whether the best size is certainly not worse than another one by more than the margin.

    For speed, the smallest equivalent size is wanted: the other one must also be certainly within the margin.
    """
    settled = width - difference <= tolerance
    return settled and (not is_speed or difference + width <= tolerance)


def _reason(left: Sequence[int], objective: Objective) -> str:
    if len(left) == 1:
        return "no other size is left"
    sizes = ", ".join(map(str, left))
    return f"{sizes} MB are equivalent: their {objective} differs by less than {100 * objective.margin:g} %"
