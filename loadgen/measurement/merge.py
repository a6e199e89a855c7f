"""Merges what several workers recorded of one run.

Exact: samples are concatenated and counts added; percentiles are never averaged.
"""

import mmap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

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
_CHUNK = 1 << 16  # samples per chunk: 4 MB
_RELEASE_EVERY = 16 * _CHUNK


def merge_samples(
    parts: Sequence[tuple[Samples, Sequence[ErrorCode]]],
    allocate: Callable[[int], Samples] = lambda count: np.empty(count, dtype=SAMPLE),
) -> tuple[Samples, tuple[ErrorCode, ...]]:
    """Return the samples of all workers in the order of completion, and one table of error codes for all of them.

    The table has the limits of one worker's; what a worker did not keep is not kept here either.

    Beside the result, it needs 24 bytes of memory for each sample; of memory-mapped arrays 128 MB are in memory at a
    time.

    Args:
        parts: (samples of dtype SAMPLE, error codes that the samples refer to) of each worker.
        allocate: returns an array of dtype SAMPLE for this number of samples, which may lie in a file.
    """
    if len(parts) == 1:
        return parts[0][0], tuple(parts[0][1])
    table = ErrorTable()
    renumberings = []
    for _, codes in parts:
        numbers = np.zeros(1 << 16, dtype=np.uint16)
        for code in codes:
            numbers[code.number] = table.add(code)
        renumberings.append(numbers)
    samples = [part for part, _ in parts]
    merged = allocate(sum(len(part) for part in samples))
    _gather(samples, renumberings, merged)
    return merged, table.rows


def _gather(parts: Sequence[Samples], renumberings: Sequence[NDArray[np.uint16]], merged: Samples) -> None:
    """Fill `merged` with the parts' samples in the order of completion; equal instants keep the order of the parts."""
    done = np.concatenate([part["done"] for part in parts] or [np.empty(0)])
    order = np.argsort(done, kind="stable")
    del done
    ends = np.cumsum([len(part) for part in parts])
    for start in range(0, len(merged), _CHUNK):
        chosen = order[start : start + _CHUNK]
        chunk = np.empty(len(chosen), dtype=SAMPLE)
        of_part = np.searchsorted(ends, chosen, side="right")
        for number, part in enumerate(parts):
            rows = np.flatnonzero(of_part == number)
            picked = part[chosen[rows] - (ends[number] - len(part))]
            wanted = renumberings[number][picked["code"]]
            if not np.array_equal(wanted, picked["code"]):
                picked["code"] = wanted
                picked["check"] = checksum(picked)
            chunk[rows] = picked
        merged[start : start + _CHUNK] = chunk
        if start % _RELEASE_EVERY == 0:
            for array in (*parts, merged):
                release_pages(array)


def release_pages(samples: Samples) -> None:
    """Remove the pages of a memory-mapped array from this process's memory; they are read again when they are used.

    The system counts mapped pages as the process's until they are needed elsewhere. Any other array is left alone.
    """
    mapping: Any = samples.base
    if isinstance(mapping, mmap.mmap) and hasattr(mapping, "madvise"):
        mapping.madvise(mmap.MADV_DONTNEED)


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
