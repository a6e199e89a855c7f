"""Comparison of two steps that were called in alternating blocks: the unit is a pair of blocks of the same round.

What the time contributes, such as a busy region, is common to both blocks of a pair and cancels in their difference.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.comparison.blocks import MAX_LAG_1, MIN_BLOCKS, Calls, block_values, lag_1
from loadgen.comparison.difference import Difference, difference_of_pairs, without_change
from loadgen.comparison.metric import Metric
from loadgen.statistics.interval import Interval


def difference_of_rounds(
    metric: Metric,
    values: tuple[Interval, Interval],
    sides: tuple[Calls, Calls],
    rows: tuple[RunAnalysis, RunAnalysis],
) -> Difference:
    """Compare a metric over the rounds in which both steps were called.

    Consecutive rounds are joined to one pair of blocks until each block has the calls that the metric needs and
    neighbouring pairs are nearly independent.

    Args:
        metric: the metric.
        values: its values, base and new.
        sides: the calls of both steps.
        rows: their analyses.
    """
    common = np.intersect1d(sides[0].rounds, sides[1].rounds)
    for joined in range(1, common.size // MIN_BLOCKS + 1):
        count = common.size // joined
        kept, pairs = zip(*(_in_pairs(side, common, joined) for side in sides), strict=True)
        if (
            not metric.is_share
            and min(_fewest(*one, count) for one in zip(kept, pairs, strict=True)) < metric.block_calls
        ):
            continue
        found = [
            block_values(metric, side, pair, count, row) for side, pair, row in zip(kept, pairs, rows, strict=True)
        ]
        base, new = found
        is_last = common.size // (joined + 1) < MIN_BLOCKS
        if base is None or new is None or (not is_last and lag_1(new - base) >= _largest_lag_1(count)):
            continue
        return difference_of_pairs(metric, values, new - base, calls=min(int(side.is_ok.sum()) for side in sides))
    needed = f"needs {MIN_BLOCKS} pairs of blocks of {metric.block_calls:,} ok calls, got {common.size} rounds"
    return without_change(metric, *values, reason=needed)


def _largest_lag_1(count: int) -> float:
    """Return the correlation from which on rounds are joined: one that so many independent pairs have in 5 %."""
    return max(MAX_LAG_1, 1.645 / math.sqrt(count))


def _fewest(calls: Calls, pairs: NDArray[np.int64], count: int) -> int:
    return int(np.bincount(pairs[calls.is_ok], minlength=count).min())


def _in_pairs(calls: Calls, common: NDArray[np.int64], joined: int) -> tuple[Calls, NDArray[np.int64]]:
    """Return the calls of the common rounds, and the number of the pair of each; a rest joins the last pair."""
    inside = np.isin(calls.rounds, common)
    count = common.size // joined
    pairs = np.minimum(np.searchsorted(common, calls.rounds[inside]) // joined, count - 1)
    arrays = ("due", "latencies", "is_ok", "is_warm", "is_throttled", "is_failed", "rounds")
    return replace(calls, **{name: getattr(calls, name)[inside] for name in arrays}), pairs.astype(np.int64)
