"""HDR histograms of latencies: fold numpy columns in, add, ask for percentiles, encode. The only file that knows hdrh.

Why our own counting: `HdrHistogram.record_value` costs 1.6 us a value and drops what is out of range without a word;
folding a column through the same index arithmetic costs 0.05 us a value, and here what is out of range is clamped
*and counted*. hdrh does what it is good at: the standard encoding, so that the Java tools read what is written.

Not here: which latency belongs into which histogram (record.py), and what percentiles mean (summary.py).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from loadgen.measurement.order_statistics import nearest_rank

# From 1 us to one hour at three significant digits: an InvokeEndpoint call lasts at most a few minutes.
LOWEST_US = 1
HIGHEST_US = 3_600_000_000
SIGNIFICANT_DIGITS = 3
# The layout of HdrHistogram for these three numbers (HdrHistogram/HdrHistogram, AbstractHistogram.java: a bucket per
# power of two, each of SUB_BUCKETS / 2 equal steps, the first bucket twice as long).
_SUB_BUCKET_BITS = 11  # 2 * 10^3 values in single-unit resolution, rounded up to a power of two: 2048
_SUB_BUCKET_HALF_BITS = _SUB_BUCKET_BITS - 1
_SUB_BUCKET_HALF_COUNT = 1 << _SUB_BUCKET_HALF_BITS
_TICKS_PER_HALF_DISTANCE = (
    5  # rows of a percentile distribution between one half-way to 100 % and the next, as the Java tools have it
)
_BUCKET_COUNT = (HIGHEST_US // (1 << _SUB_BUCKET_BITS)).bit_length() + 1
COUNTS_LENGTH = (_BUCKET_COUNT + 1) * _SUB_BUCKET_HALF_COUNT
Counts = NDArray[np.int64]


def counts_index(values_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket index of each value; integer microseconds, shape (n,), within the range."""
    # frexp gives the exponent of the power of two above each value exactly, for integers below 2^53.
    _, exponent = np.frexp((values_us | ((1 << _SUB_BUCKET_BITS) - 1)).astype(np.float64))
    bucket = exponent.astype(np.int64) - _SUB_BUCKET_BITS
    return np.asarray(
        ((bucket + 1) << _SUB_BUCKET_HALF_BITS) + (values_us >> bucket) - _SUB_BUCKET_HALF_COUNT, dtype=np.int64
    )


def lowest_equivalent_value(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the smallest microseconds that share each bucket index."""
    bucket = (indices >> _SUB_BUCKET_HALF_BITS) - 1
    sub = (indices & (_SUB_BUCKET_HALF_COUNT - 1)) + _SUB_BUCKET_HALF_COUNT
    first = bucket < 0
    return np.where(first, sub - _SUB_BUCKET_HALF_COUNT, sub << np.maximum(bucket, 0))


def highest_equivalent_value(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the largest microseconds that share each bucket index: what a percentile is quoted as, never too low."""
    bucket = np.maximum((indices >> _SUB_BUCKET_HALF_BITS) - 1, 0)
    return np.asarray(lowest_equivalent_value(indices) + (np.int64(1) << bucket) - 1, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class SparseCounts:
    """The non-zero buckets of a histogram: what a closed window keeps.

    Args:
        indices: bucket indices, ascending, shape (k,).
        counts: how many values each holds, shape (k,).
        out_of_range: how many of them lay outside the range and were put into its nearest bucket.
    """

    indices: NDArray[np.int64]
    counts: Counts
    out_of_range: int = 0

    @property
    def total(self) -> int:
        """How many values it holds."""
        return int(self.counts.sum())


class Histogram:
    """Counts of latencies, within 0.1 % of each value. Not safe for concurrent use.

    Example:
        >>> h = Histogram()
        >>> h.record_values(np.array([0.010, 0.020, 0.030]))
        >>> h.total, round(h.percentile(50), 3)
        (3, 0.02)
    """

    __slots__ = ("counts", "out_of_range", "total")

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(COUNTS_LENGTH, dtype=np.int64)
        self.total = 0
        self.out_of_range = 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return self.out_of_range == other.out_of_range and bool(np.array_equal(self.counts, other.counts))

    __hash__ = None  # type: ignore[assignment]  # it changes

    def record_values(self, latencies: NDArray[np.float64]) -> None:
        """Add a column of latencies: float seconds, shape (n,). Out of range is clamped and counted. O(n), no await.

        Raises:
            ValueError: a latency is NaN; the caller has put something here that has no latency.
        """
        if not latencies.size:
            return
        if np.isnan(latencies).any():
            raise ValueError("a latency is NaN")
        exact = np.rint(latencies * 1e6)
        values = np.clip(exact, LOWEST_US, HIGHEST_US)
        # Below 1 us is rounded up to it without fuss; a negative or an enormous value is a fault worth counting.
        self.out_of_range += int(np.count_nonzero((exact < 0) | (exact > HIGHEST_US)))
        self.counts += np.bincount(counts_index(values.astype(np.int64)), minlength=COUNTS_LENGTH)
        self.total += int(latencies.size)

    def add(self, other: "Histogram | SparseCounts") -> None:
        """Add another's counts: exact, in any order."""
        if isinstance(other, SparseCounts):
            self.counts[other.indices] += other.counts
        else:
            self.counts += other.counts
        self.total += other.total
        self.out_of_range += other.out_of_range

    def to_sparse(self) -> SparseCounts:
        """Return a copy of the non-zero buckets."""
        indices = np.flatnonzero(self.counts)
        return SparseCounts(indices, self.counts[indices], self.out_of_range)

    def value_at_rank(self, rank: int) -> float:
        """Return the rank-th smallest latency in seconds, 1 being the least, quoted at its bucket's upper end.

        Raises:
            IndexError: there are fewer values than that.
        """
        if not 1 <= rank <= self.total:
            raise IndexError(f"rank {rank} of {self.total} values")
        index = int(np.searchsorted(np.cumsum(self.counts), rank))
        return int(highest_equivalent_value(np.array([index]))[0]) / 1e6

    def percentile(self, percent: float) -> float:
        """Return the least latency in seconds that `percent` of the values do not exceed (nearest rank).

        Raises:
            IndexError: the histogram is empty.
        """
        return self.value_at_rank(nearest_rank(percent, self.total))

    def buckets(self) -> Iterator[tuple[float, float, int]]:
        """Yield (from, to, count) in seconds for each non-zero bucket, ascending."""
        indices = np.flatnonzero(self.counts)
        low, high = lowest_equivalent_value(indices), highest_equivalent_value(indices)
        for a, b, count in zip(low.tolist(), high.tolist(), self.counts[indices].tolist(), strict=True):
            yield a / 1e6, b / 1e6, count

    def to_hdr(self) -> HdrHistogram:
        """Return it as hdrh's own object, values in microseconds."""
        hdr = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
        indices = np.flatnonzero(self.counts)
        np.ctypeslib.as_array(hdr.counts)[indices] = self.counts[indices]
        if indices.size:
            hdr.set_internal_tacking_values(int(indices[0]), int(indices[-1]), self.total)
        return hdr

    def encode(self) -> str:
        """Return the standard V2 compressed encoding in base64, as every HdrHistogram port reads it."""
        text: bytes = self.to_hdr().encode()
        return text.decode("ascii")

    def percentile_distribution(self) -> str:
        """Return the percentile distribution as HdrHistogram's plotters read it (`.hgrm`), in milliseconds."""
        # HdrHistogram_py writes the same rows, a bucket at a time: 0.2 s for each file where this takes a millisecond.
        rows = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}\n"]
        level, reached, high, middles = 0.0, 0, 0.0, []
        for low, high, count in self.buckets():
            reached += count
            size_us = round((high - low) * 1e6) + 1
            middles.append((low * 1e3 + size_us // 2 / 1e3, count))
            while reached * 100 >= level * self.total:
                rows.append(f"{high * 1e3:12.3f} {level / 100:2.12f} {reached:10d} {1 / (1 - level / 100):14.2f}")
                level += 100.0 / (_TICKS_PER_HALF_DISTANCE * 2 ** (math.log2(100 / (100 - level)) + 1))
                if reached == self.total:
                    break
        mean = sum(middle * count for middle, count in middles) / max(self.total, 1)
        deviation = math.sqrt(sum((middle - mean) ** 2 * count for middle, count in middles) / max(self.total, 1))
        if self.total:
            rows.append(f"{high * 1e3:12.3f} {1:2.12f} {self.total:10d}")
        return "\n".join(
            [
                *rows,
                f"#[Mean    = {mean:12.3f}, StdDeviation   = {deviation:12.3f}]",
                f"#[Max     = {high * 1e3:12.3f}, TotalCount     = {self.total:12d}]",
                f"#[Buckets = {_BUCKET_COUNT:12d}, SubBuckets     = {1 << _SUB_BUCKET_BITS:12d}]\n",
            ]
        )

    @classmethod
    def decode(cls, text: str) -> "Histogram":
        """Read what `encode` wrote; how many values were clamped is not part of the encoding.

        Raises:
            ValueError: it is not such an encoding, or one of another range.
        """
        try:
            hdr = HdrHistogram.decode(text)
        except Exception as error:  # hdrh raises zlib, struct, base64 and its own errors alike
            raise ValueError(f"not an HDR histogram: {error}") from error
        if (hdr.lowest_trackable_value, hdr.highest_trackable_value, hdr.significant_figures) != (
            LOWEST_US,
            HIGHEST_US,
            SIGNIFICANT_DIGITS,
        ):
            raise ValueError("an HDR histogram of another range")
        histogram = cls()
        counts = np.ctypeslib.as_array(hdr.counts)[:COUNTS_LENGTH].astype(np.int64)
        histogram.counts[: counts.size] = counts
        histogram.total = int(counts.sum())
        return histogram
