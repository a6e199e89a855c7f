"""Lateness of the load generator in the latencies of one run: which calls it may have delayed, and by how much at most.

A call is delayed when its response arrives while the generator stands still: the response is read at the end of the
stall, so the true latency lies between the stall's start and the measured one. A stall in the middle of a call delays
nothing, since the target works on. Leaving out every call that overlaps a stall would favour short calls, which overlap
fewer stalls.

`without_lateness` estimates the distribution of the true latencies from the exact ones and these bounds. Whether a call
ends in a stall does not depend on its latency, so that this is interval censoring, and the self-consistent estimate is
the one of largest likelihood (B. W. Turnbull, J. R. Stat. Soc. B 38, 1976, p. 290).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.sample import WARMUP, in_category

Seconds = NDArray[np.float64]

# Responses that arrived in a stall are read one after the other at its end: seconds after it, at most its own length.
_CATCH_UP = 0.005
_CHUNK = 1 << 18  # samples per chunk
_ITERATIONS = 30  # enough for a percentile to settle within 1 %; more would fit single calls
_PRIOR = 0.01  # share of the calls that is spread over all values at first
_SMALLEST_SHARE = 1e-12  # less is rounding
_CANDIDATES = 20_000  # of each kind


@dataclass(frozen=True, slots=True)
class BoundedLatencies:
    """Latencies of the ok calls after the warm-up, shape (n,) each, in the order of the samples.

    Args:
        measured: as recorded.
        shortest: what they are at least, if the generator delayed them as much as it can have; equal to `measured`
            when it did not delay them.
    """

    measured: Seconds
    shortest: Seconds


def bound_latencies(run: Run, since: str) -> BoundedLatencies:
    """Return the latencies of a run from its samples, with the bounds that its stalls leave.

    Args:
        run: a run with samples.
        since: `sent` for service times, `scheduled` for response times.
    """
    parts = [_bound_chunk(run, chunk, since) for chunk in _ok_chunks(run)]
    measured, shortest = (np.concatenate(column) for column in zip(*parts, strict=True))
    return BoundedLatencies(measured, shortest)


def _ok_chunks(run: Run) -> Iterator[NDArray[np.void]]:
    for start in range(0, max(1, len(run.samples)), _CHUNK):
        chunk = np.asarray(run.samples[start : start + _CHUNK])
        yield chunk[((chunk["flags"] & WARMUP) == 0) & in_category(OutcomeCategory.OK, chunk)]


def _bound_chunk(run: Run, samples: NDArray[np.void], since: str) -> tuple[Seconds, Seconds]:
    sent, done = samples["sent"], samples["done"]
    measured = done - samples[since]
    lateness = _reading_lateness(run, sent, done) + _sending_lateness(run, samples)
    if since == "scheduled":
        lateness = lateness + sending_delay(samples)
    # Rounding of the instants must not make a bound negative.
    return measured, np.maximum(measured - lateness, 0.0)


def sending_delay(samples: NDArray[np.void]) -> Seconds:
    """Return by how much the generator sent each request too late, without the wait for a connection."""
    delay = samples["sent"] - samples["scheduled"] - samples["pool_wait"]
    return np.asarray(np.maximum(delay, 0.0), dtype=np.float64)


def _reading_lateness(run: Run, sent: Seconds, done: Seconds) -> Seconds:
    """Return by how much each response can have been read too late."""
    intervals = np.array(run.generator_stats.stalls.intervals).reshape(-1, 2)
    if not len(intervals):
        return np.zeros(len(done))
    starts, ends = intervals[:, 0], intervals[:, 1]
    read_until = ends + np.minimum(_CATCH_UP, ends - starts)
    index = np.minimum(np.searchsorted(np.maximum.accumulate(read_until), done), len(ends) - 1)
    is_late = (starts[index] < done) & (done <= read_until[index]) & (sent < ends[index])
    return np.where(is_late, done - np.maximum(starts[index], sent), 0.0)


def _sending_lateness(run: Run, samples: NDArray[np.void]) -> Seconds:
    """Return by how much each request can have left after `sent`.

    The generator may stop between reading the clock and handing the request to the kernel: both take a large part of
    its CPU time, so a process on the same core interrupts it there. The SDK, and what the kernel does not take at once
    of a large body, also need the event loop after `sent`.
    """
    intervals = np.array(run.generator_stats.stalls.intervals).reshape(-1, 2)
    if not len(intervals):
        return np.zeros(len(samples))
    starts, ends = intervals[:, 0], intervals[:, 1]
    sent = samples["sent"]
    index = np.minimum(np.searchsorted(ends, sent, side="right"), len(ends) - 1)
    is_late = (starts[index] <= sent) & (sent < ends[index])
    return np.where(is_late, np.minimum(ends[index], samples["done"]) - sent, 0.0)


def without_lateness(latencies: BoundedLatencies) -> Seconds:
    """Return the latencies as they would be without the generator's delays, ascending, shape (n,).

    O(n log n) for each of _ITERATIONS; nothing is estimated when no call was delayed.

    Example:
        >>> without_lateness(BoundedLatencies(np.array([0.1, 0.1, 0.15]), np.array([0.1, 0.1, 0.06]))).tolist()
        [0.1, 0.1, 0.1]
    """
    measured, shortest = latencies.measured, latencies.shortest
    is_delayed = shortest < measured
    exact = np.sort(measured[~is_delayed])
    low, high = shortest[is_delayed], measured[is_delayed]
    if not low.size:
        return exact
    # Long runs have enough delayed calls for every n-th to do as candidates.
    inner = (low + (high - low) * share for share in (0.25, 0.5, 0.75, 1.0))
    candidates = [points[:: max(1, points.size // _CANDIDATES)] for points in inner]
    values, counts = np.unique(np.concatenate((exact, *candidates)), return_inverse=True)
    of_exact = np.bincount(counts[: exact.size], minlength=values.size).astype(np.float64)
    first, last = np.searchsorted(values, low), np.searchsorted(values, high, side="right")
    shares = _self_consistent_shares(of_exact, first, last)
    ranks = (np.arange(measured.size) + 0.5) / measured.size
    return values[np.minimum(np.searchsorted(np.cumsum(shares), ranks), values.size - 1)]


def _self_consistent_shares(exact: Seconds, first: NDArray[np.int64], last: NDArray[np.int64]) -> Seconds:
    """Return the share of each value, shape (m,), given exact calls and calls that are known to lie in an interval.

    Args:
        exact: number of exact calls of each value, ascending by value.
        first: index of the first value in the interval of each other call.
        last: index after the last one.
    """
    total = exact.sum() + first.size
    # A small share for every value, so that an interval without an exact call has some to choose from.
    shares = (exact + _PRIOR * total / exact.size) / (exact.sum() + _PRIOR * total)
    for _ in range(_ITERATIONS):
        below = np.concatenate(([0.0], np.cumsum(shares)))
        inside = below[last] - below[first]
        # Each call is divided over the values in its interval in proportion to their shares. An interval without a
        # value, which thinned candidates can leave, says nothing.
        weights = np.divide(1.0, inside, out=np.zeros_like(inside), where=inside > _SMALLEST_SHARE)
        density = np.bincount(first, weights, exact.size + 1) - np.bincount(last, weights, exact.size + 1)
        shares = (exact + shares * np.maximum(np.cumsum(density)[:-1], 0.0)) / total
    return np.asarray(shares / shares.sum(), dtype=np.float64)
