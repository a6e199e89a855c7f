"""Blocks of a run: consecutive calls, long enough that the values of neighbouring blocks are nearly independent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.cold_start import StartLabel, label_cold_starts
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.comparison.metric import MIN_BLOCK_CALLS, Metric
from loadgen.measurement.block import block_indices
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.sample import WARMUP, in_category
from loadgen.statistics.autocorrelation import measure_latency_dependence
from loadgen.statistics.order_statistics import nearest_rank
from loadgen.workload.load import OpenLoop

MIN_BLOCKS = 10
MAX_LAG_1 = 0.2
_COUNTS = (40, 30, 24, 20, 16, 14, 12, 10)  # numbers of blocks that are tried, the most first


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """The calls of one run without its warm-up, in the order in which they were due.

    Args:
        due: instants on the run's clock, seconds, shape (n,).
        latencies: response times in an open loop, else service times, seconds, shape (n,).
        is_ok: shape (n,).
        is_warm: ok and not known to be cold, shape (n,).
        is_throttled: shape (n,).
        is_failed: shape (n,).
        rounds: number of the round of each call; all 0 if the run was measured in one piece.
        start: start of the measured time on the run's clock.
        end: end of the load on the run's clock.
    """

    due: NDArray[np.float64]
    latencies: NDArray[np.float64]
    is_ok: NDArray[np.bool_]
    is_warm: NDArray[np.bool_]
    is_throttled: NDArray[np.bool_]
    is_failed: NDArray[np.bool_]
    rounds: NDArray[np.int64]
    start: float
    end: float

    @property
    def is_completed(self) -> NDArray[np.bool_]:
        """Ok, throttled or failed, shape (n,)."""
        return self.is_ok | self.is_throttled | self.is_failed

    def by_time(self, count: int) -> NDArray[np.int64]:
        """Return the number of the block of each call, from 0, for `count` blocks of equal time."""
        span = max(self.end - self.start, 1e-9)
        return np.clip((self.due - self.start) / span * count, 0, count - 1).astype(np.int64)


def calls_of(run: Run) -> Calls:
    """Return the calls of a run whose samples were kept. O(n log n)."""
    samples = np.asarray(run.samples)
    labels = label_cold_starts(run).labels
    counted = (samples["flags"] & WARMUP) == 0
    order = np.argsort(samples["scheduled"], kind="stable")
    order = order[counted[order]]
    samples, labels = samples[order], np.asarray(labels)[order]
    since = samples["scheduled"] if run.is_open_loop else samples["sent"]
    is_ok = in_category(OutcomeCategory.OK, samples)
    rounds = np.zeros(len(samples), dtype=np.int64)
    if run.blocks:
        numbers = np.array([block.round for block in run.blocks])
        rounds = numbers[block_indices(run.blocks, samples["seq"])]
    return Calls(
        due=samples["scheduled"].astype(np.float64),
        latencies=(samples["done"] - since).astype(np.float64),
        is_ok=is_ok,
        is_warm=is_ok & (labels != StartLabel.COLD),
        is_throttled=in_category(OutcomeCategory.THROTTLED, samples),
        is_failed=in_category(OutcomeCategory.FAILED, samples),
        rounds=rounds,
        start=run.measurement_start,
        end=_end_of_load(run),
    )


def _end_of_load(run: Run) -> float:
    """Return the end of the load: the drain after it is not a time in which calls were due."""
    load = run.step.load
    ends = [run.duration] if load.duration is None else [run.duration, load.duration]
    if isinstance(load, OpenLoop) and math.isfinite(load.arrivals.duration):
        ends.append(load.arrivals.duration)
    return min(ends)


def block_values(
    metric: Metric, calls: Calls, blocks: NDArray[np.int64], count: int, row: RunAnalysis | None = None
) -> NDArray[np.float64] | None:
    """Return a metric of each block, shape (count,): logarithms, or shares; None if a block has no value.

    Args:
        metric: the metric.
        calls: the calls of the run.
        blocks: number of the block of each call.
        count: number of blocks.
        row: the run's analysis, for its cost.
    """
    if metric.is_share:
        hits = calls.is_throttled if metric.name == "throttled" else calls.is_failed
        totals = np.bincount(blocks[calls.is_completed], minlength=count)
        return np.bincount(blocks[hits], minlength=count) / totals if totals.all() else None
    if metric.name == "tps":
        oks = np.bincount(blocks[calls.is_ok], minlength=count).astype(np.float64)
        return np.log(oks / _spans(calls, blocks, count)) if oks.all() else None
    chosen = calls.is_warm if metric.name == "cost" else calls.is_ok
    values, places = calls.latencies[chosen], blocks[chosen]
    totals = np.bincount(places, minlength=count)
    if not totals.all() or (metric.percent and totals.min() < metric.block_calls / 2):
        return None
    if metric.percent:
        order = np.lexsort((values, places))
        starts = np.concatenate([[0], np.cumsum(totals)[:-1]])
        ranks = np.array([nearest_rank(metric.percent, int(total)) for total in totals])
        return np.asarray(np.log(values[order][starts + ranks - 1]))
    means = np.bincount(places, weights=values, minlength=count) / totals
    if metric.name == "cost":
        return _log_costs(means, float(values.mean()), row)
    return np.asarray(np.log(means))


def _spans(calls: Calls, blocks: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the seconds of each block: from its first call to that of the next block."""
    firsts = np.full(count, np.inf)
    np.minimum.at(firsts, blocks, calls.due)
    edges = np.append(firsts, max(calls.end, float(calls.due.max())))
    return np.maximum(np.diff(edges), 1e-9)


def _log_costs(means: NDArray[np.float64], mean: float, row: RunAnalysis | None) -> NDArray[np.float64] | None:
    """Return the logarithms of the cost per million calls of each block.

    The report's billed duration may be CloudWatch's, which has no blocks: a block's differs from it by what the mean
    of its calls differs from that of the run.
    """
    if row is None or row.cost is None or row.cost.per_million is None:
        return None
    costs = row.cost.per_million + 1e6 * row.cost.usd_per_second * (means - mean)
    return np.log(costs) if (costs > 0).all() else None


def largest_block_count(count: int, block_calls: int) -> int:
    """Return into how many blocks of at least some calls a number of calls is divided, at most 40; 0 if below 10."""
    return next((blocks for blocks in _COUNTS if blocks <= count // block_calls), 0)


def block_counts(sides: Sequence[Calls]) -> tuple[int, str]:
    """Return the number of blocks for two runs, or 0 and the reason why the runs cannot be divided.

    A block has at least 20 ok calls and three autocorrelation times of the latencies.
    """
    counts = []
    for calls in sides:
        oks = int(np.count_nonzero(calls.is_ok))
        if not largest_block_count(oks, MIN_BLOCK_CALLS):
            return 0, f"needs {MIN_BLOCKS * MIN_BLOCK_CALLS} ok calls in each run, got {oks:,}"
        length = measure_latency_dependence(calls.latencies[calls.is_ok]).block_length
        if length is None or oks // length < MIN_BLOCKS:
            return 0, f"the calls depend on each other too long for {MIN_BLOCKS} independent blocks of {oks:,} calls"
        counts.append(largest_block_count(oks, max(MIN_BLOCK_CALLS, length)))
    return min(counts), ""


def share_block_count(sides: Sequence[Calls]) -> int:
    """Return the number of blocks for shares of all completed calls; 0 if these are too few."""
    return min(largest_block_count(int(np.count_nonzero(calls.is_completed)), MIN_BLOCK_CALLS) for calls in sides)


def lag_1(values: NDArray[np.float64]) -> float:
    """Return the correlation of neighbouring blocks, without a linear trend and corrected for its bias in few blocks.

    Source of the correction: Kendall, Note on bias in the estimation of autocorrelation, 1954, with a trend removed.
    """
    count = values.size
    time = np.arange(count) - (count - 1) / 2
    centred = values - values.mean()
    centred = centred - time * (time @ centred) / (time @ time)
    power = float(centred @ centred)
    if power <= _ROUNDING * max(1.0, float(values @ values)):
        return 0.0
    raw = float(centred[1:] @ centred[:-1]) / power
    return raw + (1 + 4 * max(0.0, raw)) / count


_ROUNDING = 1e-20


def fewer_blocks(count: int) -> int:
    """Return the next smaller number of blocks that is tried; 0 if there is none."""
    return next((one for one in _COUNTS if one < count), 0)
