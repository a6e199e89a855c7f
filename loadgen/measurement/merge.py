"""Merges what several workers recorded of one run.

Exact: samples are concatenated and counts added; percentiles are never averaged.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.error_table import ErrorTable
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.histogram import SparseCounts
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome, OutcomeCategory
from loadgen.measurement.sample import SAMPLE, ErrorCode, checksum
from loadgen.measurement.stalls import merge_stalls
from loadgen.measurement.tally import Tally, Window

Samples = NDArray[np.void]


def merge_samples(parts: Sequence[tuple[Samples, Sequence[ErrorCode]]]) -> tuple[Samples, tuple[ErrorCode, ...]]:
    """Return the samples of all workers in the order of completion, and one table of error codes for all of them.

    The table has the limits of one worker's; what a worker did not keep is not kept here either.

    Args:
        parts: (samples of dtype SAMPLE, error codes that the samples refer to) of each worker.
    """
    if len(parts) == 1:
        return parts[0][0], tuple(parts[0][1])
    table = ErrorTable()
    pieces = []
    for samples, codes in parts:
        numbers = np.zeros(1 << 16, dtype=np.uint16)
        for code in codes:
            numbers[code.number] = table.add(code)
        pieces.append(_renumber_error_codes(samples, numbers))
    merged = np.concatenate(pieces) if pieces else np.empty(0, dtype=SAMPLE)
    return merged[np.argsort(merged["done"], kind="stable")], table.rows


def _renumber_error_codes(samples: Samples, numbers: NDArray[np.uint16]) -> Samples:
    wanted = numbers[samples["code"]]
    if np.array_equal(wanted, samples["code"]):
        return samples
    changed = np.array(samples)
    changed["code"] = wanted
    changed["check"] = checksum(changed)
    return changed


def merge_tallies(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies, which equals the tally of all samples."""
    total = Tally()
    for tally in tallies:
        total.counts.update(tally.counts)
        total.warmup.update(tally.warmup)
        for category in COMPLETED_CATEGORIES:
            total.service[category].add(tally.service[category])
            total.response[category].add(tally.response[category])
    return total


def merge_windows(windows: Sequence[Window]) -> Window:
    """Return the sum of windows that have the same index."""
    counts: Counter[Outcome] = Counter()
    for window in windows:
        counts.update(window.counts)
    return Window(
        windows[0].index,
        windows[0].start,
        max(window.length for window in windows),
        dict(counts),
        sum(window.warmup for window in windows),
        _merge_categories([window.service for window in windows]),
        _merge_categories([window.response for window in windows]),
    )


def _merge_categories(parts: Sequence[Mapping[OutcomeCategory, SparseCounts]]) -> dict[OutcomeCategory, SparseCounts]:
    sparse = {category: [part[category] for part in parts if category in part] for category in COMPLETED_CATEGORIES}
    return {category: _merge_sparse_counts(found) for category, found in sparse.items() if found}


def _merge_sparse_counts(parts: Sequence[SparseCounts]) -> SparseCounts:
    indices, inverse = np.unique(np.concatenate([part.indices for part in parts]), return_inverse=True)
    counts = np.zeros(indices.size, dtype=np.int64)
    np.add.at(counts, inverse, np.concatenate([part.counts for part in parts]))
    return SparseCounts(indices, counts, sum(part.out_of_range for part in parts))


def merge_generator_stats(stats: Sequence[GeneratorStats]) -> GeneratorStats:
    """Return the combined statistics of several generators: counts and rates are added, others are the maximum.

    Percentiles of several generators cannot be merged; the maximum never understates the lag.
    """
    if not stats:
        return GeneratorStats()
    summed = ("pool_waits", "connections_opened", "dropped", "gc_pauses", "target_rate", "achieved_rate")
    maximum_of = (
        "cpu_share",
        "longest_saturated",
        "loop_lag_p99",
        "loop_lag_max",
        "send_lag_p50",
        "send_lag_p99",
        "send_lag_max",
        "pool_wait_max",
        "gc_pause_max",
        "runqueue_wait",
        "wall_clock_change",
    )
    return GeneratorStats(
        **{name: sum(getattr(one, name) for one in stats) for name in summed},
        **{name: max(getattr(one, name) for one in stats) for name in maximum_of},
        stalls=merge_stalls([one.stalls for one in stats]),
    )
