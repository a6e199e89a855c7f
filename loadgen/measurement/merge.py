"""Merge: joins what several workers recorded of one run. Exact: counts are added, percentiles never averaged.

Pure functions on values. Who the workers are and how their records arrive is the runners'.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.histogram import SparseCounts
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.sample import COMPLETED_CATEGORIES, SAMPLE, ErrorCode, checksum
from loadgen.measurement.tally import Tally, Window

Samples = NDArray[np.void]


def merge_samples(parts: Sequence[tuple[Samples, Sequence[ErrorCode]]]) -> tuple[Samples, tuple[ErrorCode, ...]]:
    """Return the samples of all parts in the order of completion, and one table of codes for all of them.

    Args:
        parts: (samples of dtype SAMPLE, the codes that their numbers point to) of each worker.
    """
    if len(parts) == 1:
        return parts[0][0], tuple(parts[0][1])
    table: dict[tuple[Outcome, str], ErrorCode] = {}
    pieces = []
    for samples, codes in parts:
        numbers = np.zeros(1 << 16, dtype=np.uint16)
        for code in codes:
            known = table.setdefault((code.outcome, code.code), code._replace(number=min(len(table) + 1, 0xFFFF)))
            numbers[code.number] = known.number
        pieces.append(_renumber_error_codes(samples, numbers))
    pooled = np.concatenate(pieces) if pieces else np.empty(0, dtype=SAMPLE)
    return pooled[np.argsort(pooled["done"], kind="stable")], tuple(table.values())


def _renumber_error_codes(samples: Samples, numbers: NDArray[np.uint16]) -> Samples:
    wanted = numbers[samples["code"]]
    if np.array_equal(wanted, samples["code"]):
        return samples
    changed = np.array(samples)
    changed["code"] = wanted
    changed["check"] = checksum(changed)
    return changed


def merge_tallies(tallies: Iterable[Tally]) -> Tally:
    """Return one tally of all: the same, bit for bit, as the tally of the pooled samples."""
    total = Tally()
    for tally in tallies:
        total.counts.update(tally.counts)
        total.warmup.update(tally.warmup)
        for column in COMPLETED_CATEGORIES:
            total.service[column].add(tally.service[column])
            total.response[column].add(tally.response[column])
    return total


def merge_windows(windows: Sequence[Window]) -> Window:
    """Return the sum of windows of one index."""
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
    columns = {column: [part[column] for part in parts if column in part] for column in COMPLETED_CATEGORIES}
    return {column: _merge_sparse_counts(found) for column, found in columns.items() if found}


def _merge_sparse_counts(parts: Sequence[SparseCounts]) -> SparseCounts:
    indices, place = np.unique(np.concatenate([part.indices for part in parts]), return_inverse=True)
    counts = np.zeros(indices.size, dtype=np.int64)
    np.add.at(counts, place, np.concatenate([part.counts for part in parts]))
    return SparseCounts(indices, counts, sum(part.out_of_range for part in parts))


def merge_generator_stats(stats: Sequence[GeneratorStats]) -> GeneratorStats:
    """Return one watch for several generators: counts and rates added, everything else as bad as the worst saw it.

    Percentiles of several cannot be joined to one; the worst is never too good.
    """
    if not stats:
        return GeneratorStats()
    added = ("pool_waits", "connections_opened", "dropped", "gc_pauses", "target_rate", "achieved_rate")
    worst_of = ("cpu_share", "longest_saturated", "loop_lag_p99", "loop_lag_max", "send_lag_p50", "send_lag_p99")
    more = ("send_lag_max", "pool_wait_max", "gc_pause_max")
    return GeneratorStats(
        **{name: sum(getattr(watch, name) for watch in stats) for name in added},
        **{name: max(getattr(watch, name) for watch in stats) for name in (*worst_of, *more)},
    )
