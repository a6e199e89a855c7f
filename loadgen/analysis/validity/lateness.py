"""Lateness of the load generator in the latencies of one run: which calls it may have delayed, and by how much at most.

A call is delayed when its response arrives while the generator stands still: the response is read at the end of the
stall, so the true latency lies between the stall's start and the measured one. A stall in the middle of a call delays
nothing, since the target works on. Leaving out every call that overlaps a stall would favour short calls, which overlap
fewer stalls.

`without_lateness` replaces each delayed latency by one that was not delayed and lies within its bounds. Whether a call
ends in a stall does not depend on its latency, so the latencies that were not delayed are a fair sample. This is one
step of the self-consistent estimate for interval-censored data (B. W. Turnbull, J. R. Stat. Soc. B 38, 1976, p. 290).
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
# Bytes that one `send` of a socket takes on Linux without waiting, by default at least. The rest of a larger body is
# sent by the event loop, so a stall delays it as well.
_SENT_AT_ONCE = 65_536
_CHUNK = 1 << 18  # samples per chunk
_GOLDEN_RATIO = 0.6180339887498949  # its multiples modulo 1 fill the unit interval evenly (Weyl, 1916)


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
    """Return by how much each request can have left too late although `sent` had been recorded.

    The wire transport writes to the socket at once. The SDK, and the rest of a large body, need the event loop.
    """
    late = np.zeros(len(samples))
    intervals = np.array(run.generator_stats.stalls.intervals).reshape(-1, 2)
    needs_loop = samples["request_bytes"] > _SENT_AT_ONCE
    if run.transport == "botocore":
        needs_loop = np.ones(len(samples), dtype=bool)
    if not len(intervals) or not needs_loop.any():
        return late
    starts, ends = intervals[:, 0], intervals[:, 1]
    index = np.minimum(np.searchsorted(ends, samples["sent"], side="right"), len(ends) - 1)
    is_late = needs_loop & (starts[index] <= samples["sent"]) & (samples["sent"] < ends[index])
    return np.where(is_late, np.minimum(ends[index], samples["done"]) - samples["sent"], late)


def without_lateness(latencies: BoundedLatencies) -> Seconds:
    """Return the latencies as they would be without the generator's delays, sorted, shape (n,).

    A delayed latency is replaced by one that was not delayed and lies within its bounds, or by a value between its
    bounds when there is none. Which one does not depend on chance. O(n log n).

    Example:
        >>> without_lateness(BoundedLatencies(np.array([0.1, 0.1, 0.15]), np.array([0.1, 0.1, 0.06]))).tolist()
        [0.1, 0.1, 0.1]
    """
    measured, shortest = latencies.measured, latencies.shortest
    is_delayed = shortest < measured
    exact = np.sort(measured[~is_delayed])
    low, high = shortest[is_delayed], measured[is_delayed]
    position = (np.arange(1, len(low) + 1) * _GOLDEN_RATIO) % 1.0
    first, last = np.searchsorted(exact, low), np.searchsorted(exact, high, side="right")
    estimated = low + position * (high - low)
    found = last > first
    estimated[found] = exact[(first + position * (last - first)).astype(np.int64)[found]]
    return np.sort(np.concatenate((exact, estimated)))
