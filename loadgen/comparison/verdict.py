"""The verdict on a difference: better, worse, the same within a margin, or it cannot be told.

Worse (better): the change is significant after the correction for the number of comparisons, and the interval does not
lie within the margin. The same: the whole interval lies within the margin. A change that is significant and smaller
than the margin is the same: significance alone would call every difference a regression, given enough calls.
"""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from loadgen.comparison.difference import Difference
from loadgen.comparison.shift_test import holm
from loadgen.errors import UsageError

# Of a whole comparison, two-sided: two runs of the same thing differ in one of 100 comparisons.
SIGNIFICANCE = 0.01
DEFAULT_MARGIN = 0.05
SHARE_MARGIN = 0.01  # of throttled and failed shares: one percentage point


class Answer(StrEnum):
    """What a comparison says about one metric."""

    WORSE = "worse"
    BETTER = "better"
    SAME = "same"
    UNKNOWN = "cannot be told"


@dataclass(frozen=True, slots=True)
class Margins:
    """Changes that do not matter.

    Args:
        ratio: of latencies, cost and TPS, as a share of the base.
        share: of throttled and failed shares, as a difference of shares.
        between_runs: standard deviation between runs of the same thing, as a share; not used for interleaved steps.

    Raises:
        UsageError: a value is out of its range.
    """

    ratio: float = DEFAULT_MARGIN
    share: float = SHARE_MARGIN
    between_runs: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1 or not 0 < self.share < 1:
            raise UsageError(f"margin of {100 * self.ratio:g} %", hint="must be above 0 and below 100 %")
        if not 0 <= self.between_runs < 1:
            raise UsageError(
                f"spread between runs of {100 * self.between_runs:g} %", hint="must be at least 0 and below 100 %"
            )


@dataclass(frozen=True, slots=True)
class Judged:
    """A difference with its verdict.

    Args:
        difference: the difference.
        answer: the verdict.
        p_value: corrected for the number of comparisons.
        margin: the change that does not matter.
        is_gating: whether it can decide the exit status.
        calls_needed: calls of each side that would probably decide the verdict; None if it is decided, or if no number
            of calls of separate runs would.
        explanation: a sentence on a verdict that cannot be told; empty otherwise.
    """

    difference: Difference
    answer: Answer
    p_value: float
    margin: float
    is_gating: bool
    calls_needed: int | None = None
    explanation: str = ""


def judge_differences(
    steps: Sequence[Sequence[Difference]], gating: Container[str], margins: Margins, *, is_interleaved: bool
) -> list[list[Judged]]:
    """Judge the differences of all steps of a comparison.

    Those that gate are corrected for their own number; the others for the number of all, so that neither adds a false
    alarm.

    Args:
        steps: the differences of each step.
        gating: names of the metrics that can decide the exit status.
        margins: changes that do not matter.
        is_interleaved: whether the steps were called in alternating blocks.
    """
    known = [one for step in steps for one in step if one.low is not None and not _is_never_significant(one)]
    gates = [one for one in known if one.metric.name in gating]
    corrected = {id(one): min(1.0, one.p_value * len(known)) for one in known}
    corrected |= dict(zip(map(id, gates), holm(np.array([one.p_value for one in gates])).tolist(), strict=True))
    return [
        [
            _judge(
                one, corrected.get(id(one), 1.0), margins, is_gating=one.metric.name in gating, paired=is_interleaved
            )
            for one in step
        ]
        for step in steps
    ]


def _is_never_significant(one: Difference) -> bool:
    """Tell whether a difference cannot be significant, whatever is true: it needs no correction of the others.

    Source: Tarone, A modified Bonferroni method for discrete data, 1990.
    """
    return one.metric.is_share and not any(side is not None and side.value for side in (one.base, one.new))


def _judge(one: Difference, p_value: float, margins: Margins, *, is_gating: bool, paired: bool) -> Judged:
    margin = margins.share if one.metric.is_share else margins.ratio
    if one.change is None or one.low is None or one.high is None or one.half_width is None:
        return Judged(one, Answer.UNKNOWN, 1.0, margin, is_gating, explanation=one.reason)
    if -margin <= one.low and one.high <= margin:
        return Judged(one, Answer.SAME, p_value, margin, is_gating)
    # The interval of a share also covers what its counts leave open, and can contain 0 where the blocks differ.
    if p_value <= SIGNIFICANCE and not one.low <= 0 <= one.high:
        return Judged(one, Answer.WORSE if one.worsening > 0 else Answer.BETTER, p_value, margin, is_gating)
    extra = 0.0 if paired or one.metric.is_share else 1.96 * math.sqrt(2) * margins.between_runs
    if extra >= margin:
        return Judged(
            *(one, Answer.UNKNOWN, p_value, margin, is_gating, None),
            explanation=f"no number of calls of separate runs tells {margin:.3g}: they differ by "
            f"{100 * margins.between_runs:g} % from run to run; measure interleaved",
        )
    # The half-width falls with the square root of the calls; as wide as the margin, it tells the same from no change.
    within = one.half_width**2 - extra**2
    wanted = margin**2 - extra**2
    needed = math.ceil(one.calls * max(1.0, within / wanted) * 1.1 / 100) * 100
    return Judged(
        *(one, Answer.UNKNOWN, p_value, margin, is_gating, max(needed, one.calls + 100)),
        explanation=f"about {max(needed, one.calls + 100):,} calls of each could tell, got {one.calls:,}",
    )
