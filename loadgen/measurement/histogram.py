"""HDR histograms of latencies: record numpy arrays, add, read percentiles, encode. The only module that uses hdrh.

Counting is implemented here because `HdrHistogram.record_value` costs 1.6 us per value and drops values out of range
silently. Recording an array with the same index arithmetic costs 0.05 us per value; values out of range are clamped
and counted. hdrh provides the standard encoding, so that the HdrHistogram tools can read the files.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from loadgen.statistics.order_statistics import nearest_rank

# 1 us to one hour at three significant digits; an InvokeEndpoint call lasts a few minutes at most.
LOWEST_US = 1
HIGHEST_US = 3_600_000_000
SIGNIFICANT_DIGITS = 3
# HdrHistogram's layout for these three numbers (HdrHistogram/HdrHistogram, AbstractHistogram.java): one bucket for each
# power of two, with half of the sub-buckets each; the first bucket has all of them.
_SUB_BUCKET_BITS = 11  # 2 * 10^3 values in single-unit resolution, rounded up to a power of two: 2048
_SUB_BUCKET_HALF_BITS = _SUB_BUCKET_BITS - 1
_SUB_BUCKET_HALF_COUNT = 1 << _SUB_BUCKET_HALF_BITS
_TICKS_PER_HALF_DISTANCE = (
    5  # rows of a percentile distribution for each halving of the distance to 100 %; Java's default
)
_BUCKET_COUNT = (HIGHEST_US // (1 << _SUB_BUCKET_BITS)).bit_length() + 1
COUNTS_LENGTH = (_BUCKET_COUNT + 1) * _SUB_BUCKET_HALF_COUNT
Counts = NDArray[np.int64]


def counts_index(values_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket index of each value.

    Args:
        values_us: integer microseconds within the range, shape (n,).
    """
    # frexp returns the exact exponent of the power of two above each value, for integers below 2^53.
    _, exponent = np.frexp((values_us | ((1 << _SUB_BUCKET_BITS) - 1)).astype(np.float64))
    bucket = exponent.astype(np.int64) - _SUB_BUCKET_BITS
    return np.asarray(
        ((bucket + 1) << _SUB_BUCKET_HALF_BITS) + (values_us >> bucket) - _SUB_BUCKET_HALF_COUNT, dtype=np.int64
    )


def lowest_equivalent_value(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the smallest value, in microseconds, of each bucket."""
    bucket = (indices >> _SUB_BUCKET_HALF_BITS) - 1
    sub = (indices & (_SUB_BUCKET_HALF_COUNT - 1)) + _SUB_BUCKET_HALF_COUNT
    first = bucket < 0
    return np.where(first, sub - _SUB_BUCKET_HALF_COUNT, sub << np.maximum(bucket, 0))


def highest_equivalent_value(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the largest value, in microseconds, of each bucket. Percentiles report it, so they are never too low."""
    bucket = np.maximum((indices >> _SUB_BUCKET_HALF_BITS) - 1, 0)
    return np.asarray(lowest_equivalent_value(indices) + (np.int64(1) << bucket) - 1, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class SparseCounts:
    """The non-zero buckets of a histogram, as a closed window stores them.

    Args:
        indices: bucket indices, ascending, shape (k,).
        counts: number of values in each bucket, shape (k,).
        out_of_range: number of values outside the range, counted in the nearest bucket.
    """

    indices: NDArray[np.int64]
    counts: Counts
    out_of_range: int = 0

    @property
    def total(self) -> int:
        """Number of values."""
        return int(self.counts.sum())


class Histogram:
    """A histogram of latencies with a resolution of 0.1 %. Not safe for concurrent use.

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

    __hash__ = None  # type: ignore[assignment]  # mutable

    def record_values(self, latencies: NDArray[np.float64]) -> None:
        """Record latencies. Values out of range are clamped and counted. O(n), no await.

        Args:
            latencies: float seconds, shape (n,).

        Raises:
            ValueError: a latency is NaN, so the caller recorded a sample that has no latency.
        """
        if not latencies.size:
            return
        if np.isnan(latencies).any():
            raise ValueError("a latency is NaN")
        exact = np.rint(latencies * 1e6)
        values = np.clip(exact, LOWEST_US, HIGHEST_US)
        # Values from 0 to 1 us are rounded up and not counted as out of range.
        self.out_of_range += int(np.count_nonzero((exact < 0) | (exact > HIGHEST_US)))
        self.counts += np.bincount(counts_index(values.astype(np.int64)), minlength=COUNTS_LENGTH)
        self.total += int(latencies.size)

    def add(self, other: "Histogram | SparseCounts") -> None:
        """Add the counts of another histogram. Exact, and independent of the order."""
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
        """Return the rank-th smallest latency in seconds, starting at 1, as the upper end of its bucket.

        Raises:
            IndexError: the rank is not in 1..total.
        """
        if not 1 <= rank <= self.total:
            raise IndexError(f"rank is {rank}, but the histogram has {self.total} values")
        index = int(np.searchsorted(np.cumsum(self.counts), rank))
        return int(highest_equivalent_value(np.array([index]))[0]) / 1e6

    def percentile(self, percent: float) -> float:
        """Return the smallest latency in seconds that at least `percent` of the values do not exceed (nearest rank).

        Raises:
            IndexError: the histogram is empty.
        """
        return self.value_at_rank(nearest_rank(percent, self.total))

    def buckets(self) -> Iterator[tuple[float, float, int]]:
        """Yield (lowest seconds, highest seconds, count) of each non-zero bucket, ascending."""
        indices = np.flatnonzero(self.counts)
        low, high = lowest_equivalent_value(indices), highest_equivalent_value(indices)
        for a, b, count in zip(low.tolist(), high.tolist(), self.counts[indices].tolist(), strict=True):
            yield a / 1e6, b / 1e6, count

    def to_hdr(self) -> HdrHistogram:
        """Return an equal HdrHistogram of hdrh, with values in microseconds."""
        hdr = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
        indices = np.flatnonzero(self.counts)
        np.ctypeslib.as_array(hdr.counts)[indices] = self.counts[indices]
        if indices.size:
            hdr.set_internal_tacking_values(int(indices[0]), int(indices[-1]), self.total)
        return hdr

    def encode(self) -> str:
        """Return the standard V2 compressed encoding in base64, which every HdrHistogram port can decode."""
        text: bytes = self.to_hdr().encode()
        return text.decode("ascii")

    def percentile_distribution(self) -> str:
        """Return the percentile distribution in HdrHistogram's `.hgrm` format, in milliseconds."""
        # hdrh writes the same rows in 0.2 s per file, since it visits every bucket; this takes a millisecond.
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
        """Return the histogram of an encoded text. `out_of_range` is not part of the encoding and becomes 0.

        Raises:
            ValueError: the text is not an encoded histogram, or its range differs.
        """
        try:
            hdr = HdrHistogram.decode(text)
        except Exception as error:  # hdrh raises zlib, struct and base64 errors as well as its own
            raise ValueError(f"not an HDR histogram: {error}") from error
        if (hdr.lowest_trackable_value, hdr.highest_trackable_value, hdr.significant_figures) != (
            LOWEST_US,
            HIGHEST_US,
            SIGNIFICANT_DIGITS,
        ):
            raise ValueError("the HDR histogram has a different range")
        histogram = cls()
        counts = np.ctypeslib.as_array(hdr.counts)[:COUNTS_LENGTH].astype(np.int64)
        histogram.counts[: counts.size] = counts
        histogram.total = int(counts.sum())
        return histogram
