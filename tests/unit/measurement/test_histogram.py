"""Histograms against hdrh, the Java format, and sorting."""

import base64
import io
import math
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measurement.histogram import (
    COUNTS_LENGTH,
    HIGHEST_US,
    LOWEST_US,
    SIGNIFICANT_DIGITS,
    Histogram,
    counts_index,
    highest_equivalent_value,
    lowest_equivalent_value,
)

values = (
    st.integers(LOWEST_US, HIGHEST_US)
    | st.integers(1, 10_000)
    | st.integers(0, 31).map(lambda n: min(1 << n, HIGHEST_US))
)
latencies = st.lists(st.floats(1e-6, 3600), max_size=60)

# HdrHistogram's V2 compressed form of 5 values (1 ms, 2 ms, 2 ms, 10 ms, 1 s; in us) for 1..3.6e9 at three digits,
# built by hand below as the Java class writes it.
GOLDEN_VALUES = [1_000, 2_000, 2_000, 10_000, 1_000_000]


def peer() -> HdrHistogram:
    return HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)


def histogram_of(seconds) -> Histogram:
    histogram = Histogram()
    histogram.record_values(np.array(seconds, dtype=np.float64))
    return histogram


@given(st.lists(values, min_size=1, max_size=50))
def test_buckets_are_those_of_hdrh(microseconds):
    """Every value has the bucket index, lowest and highest equivalent value of hdrh."""
    hdr = peer()
    column = np.array(microseconds, dtype=np.int64)
    indices = counts_index(column)
    assert indices.tolist() == [hdr._counts_index_for(v) for v in microseconds]
    assert lowest_equivalent_value(indices).tolist() == [hdr.get_lowest_equivalent_value(v) for v in microseconds]
    assert highest_equivalent_value(indices).tolist() == [hdr.get_highest_equivalent_value(v) for v in microseconds]


def test_the_number_of_buckets_is_that_of_hdrh():
    """The array of counts has hdrh's length, and its last bucket contains the largest value."""
    assert peer().counts_len == COUNTS_LENGTH
    assert 0 <= int(counts_index(np.array([HIGHEST_US]))[0]) < COUNTS_LENGTH


def test_every_bucket_is_at_most_a_thousandth_wide():
    """No bucket is wider than 0.1 % of its values, or one microsecond."""
    indices = np.arange(COUNTS_LENGTH)
    low, high = lowest_equivalent_value(indices), highest_equivalent_value(indices)
    assert (counts_index(np.maximum(low, 1))[1:] == indices[1:]).all()
    assert ((high - low) <= np.maximum(low / 1000, 0)).all()
    assert (low[1:] == high[:-1] + 1).all()


@given(st.lists(latencies, max_size=5))
def test_added_histograms_equal_the_histogram_of_all_values(parts):
    """Histograms of parts, added in any order and also as sparse counts, equal the histogram of all values."""
    pooled, forwards, backwards = histogram_of([v for part in parts for v in part]), Histogram(), Histogram()
    for part in parts:
        forwards.add(histogram_of(part))
    for part in reversed(parts):
        backwards.add(histogram_of(part).to_sparse())
    assert forwards == backwards == pooled
    assert forwards.total == pooled.total == sum(map(len, parts))


@given(st.lists(st.floats(1e-6, 3600), min_size=1, max_size=400), st.integers(0, 100_000))
def test_a_percentile_is_the_nearest_rank(seconds, thousandths):
    """A percentile is the smallest value that `percent` of all do not exceed, within its bucket and never too low."""
    rank = max(1, math.ceil(Fraction(thousandths, 100_000) * len(seconds)))
    exact = sorted(seconds)[rank - 1]
    assert exact - 0.6e-6 <= histogram_of(seconds).percentile(thousandths / 1000) <= exact * 1.001 + 1.1e-6


@pytest.mark.parametrize(("percent", "rank"), [(0, 1), (30, 2), (25, 1), (26, 2), (50, 2), (75, 3), (99, 4), (100, 4)])
def test_at_least_that_share_of_values_does_not_exceed_a_percentile(percent, rank):
    """Of four values p30 is the second, since only a quarter does not exceed the first."""
    assert histogram_of([0.001, 0.002, 0.003, 0.004]).percentile(percent) == pytest.approx(rank / 1000, rel=0.001)


@given(st.lists(st.floats(1e-6, 3600), min_size=1, max_size=100))
def test_ranks_are_order_statistics(seconds):
    """The k-th smallest value is the one that sorting gives, within its bucket."""
    histogram = histogram_of(seconds)
    for rank, exact in enumerate(sorted(seconds), 1):
        assert exact - 0.6e-6 <= histogram.value_at_rank(rank) <= exact * 1.001 + 1.1e-6


@pytest.mark.parametrize("rank", [0, -1, 4])
def test_a_rank_out_of_range_is_an_index_error(rank):
    """Three values have no rank 0 and no rank 4."""
    with pytest.raises(IndexError):
        histogram_of([0.1, 0.2, 0.3]).value_at_rank(rank)


def test_an_empty_histogram_has_no_percentile():
    """A percentile of an empty histogram raises an IndexError instead of returning 0."""
    with pytest.raises(IndexError):
        Histogram().percentile(50)
    assert list(Histogram().buckets()) == []


@settings(max_examples=30)
@given(latencies)
def test_hdrh_decodes_our_encoding(seconds):
    """The decoder of hdrh finds the same counts, total, smallest and largest value."""
    ours = histogram_of(seconds)
    theirs = HdrHistogram.decode(ours.encode())
    expected = peer()
    for second in seconds:
        expected.record_value(round(second * 1e6))
    assert theirs.total_count == len(seconds)
    assert [theirs.get_count_at_index(i) for i in np.flatnonzero(ours.counts)] == ours.counts[ours.counts > 0].tolist()
    if seconds:
        assert theirs.get_min_value() == expected.get_min_value()
        assert theirs.get_max_value() == expected.get_max_value()
        for percent in (50, 90, 99.9):
            assert theirs.get_value_at_percentile(percent) == expected.get_value_at_percentile(percent)


@given(latencies)
def test_we_decode_the_encoding_of_hdrh(seconds):
    """A histogram recorded and encoded by hdrh equals ours of the same values."""
    theirs = peer()
    for second in seconds:
        theirs.record_value(round(second * 1e6))
    assert Histogram.decode(theirs.encode().decode()) == histogram_of(seconds)
    assert Histogram.decode(histogram_of(seconds).encode()) == histogram_of(seconds)


def java_bytes(microseconds: list[int]) -> bytes:
    """Build the V2 payload by hand: cookie, lengths, range, then zig-zag counts with runs of zeros as negatives."""
    counts = np.bincount(counts_index(np.array(microseconds)))
    body, zeros = bytearray(), 0
    for count in [*counts.tolist(), 0]:
        if count == 0:
            zeros += 1
            continue
        if zeros:
            body += zigzag(-zeros)
            zeros = 0
        body += zigzag(count)
    # cookie 0x1c849303 | word size 0x10; payload length; normalising offset; digits; lowest; highest; ratio 1.0
    return struct.pack(">iiiiqqd", 0x1C849313, len(body), 0, SIGNIFICANT_DIGITS, LOWEST_US, HIGHEST_US, 1.0) + bytes(
        body
    )


def zigzag(value: int) -> bytes:
    word, out = (value << 1) ^ (value >> 63), bytearray()
    while word >= 0x80:
        out.append(word & 0x7F | 0x80)
        word >>= 7
    return bytes([*out, word])


def test_the_encoding_is_the_java_format():
    """The decompressed encoding equals the Java class's payload byte for byte."""
    raw = base64.b64decode(histogram_of([v / 1e6 for v in GOLDEN_VALUES]).encode())
    cookie, length = struct.unpack_from(">ii", raw)
    assert (cookie, length) == (0x1C849314, len(raw) - 8)
    assert zlib.decompress(raw[8:]) == java_bytes(GOLDEN_VALUES)
    packed = zlib.compress(java_bytes(GOLDEN_VALUES))
    text = base64.b64encode(struct.pack(">ii", 0x1C849314, len(packed)) + packed).decode()
    assert Histogram.decode(text) == histogram_of([v / 1e6 for v in GOLDEN_VALUES])


@pytest.mark.parametrize("text", ["", "x", "AAAA", "HISTFAAAA", base64.b64encode(b"\0" * 64).decode()])
def test_an_invalid_encoding_is_rejected(text):
    """Any text that is not an encoded histogram raises a ValueError."""
    with pytest.raises(ValueError, match="HDR histogram"):
        Histogram.decode(text)


def test_a_histogram_with_a_different_range_is_rejected():
    """Its bucket indices mean other values, so decoding raises a ValueError."""
    with pytest.raises(ValueError, match="range"):
        Histogram.decode(HdrHistogram(1, 1000, 2).encode().decode())


def test_values_out_of_range_are_clamped_and_counted():
    """Values below 0 or above an hour are counted in the nearest bucket and as out of range; 0 is in range."""
    histogram = histogram_of([-1.0, 0.0, 4e-7, 1e-6, 3600, 3600.1, 1e9, math.inf])
    assert (histogram.total, histogram.out_of_range) == (8, 4)
    assert int(histogram.counts.sum()) == 8
    assert histogram.value_at_rank(1) == 1e-6
    assert histogram.value_at_rank(8) == pytest.approx(3600, rel=0.001)
    both = histogram_of([-1.0])
    both.add(histogram)
    both.add(histogram.to_sparse())
    assert both.out_of_range == 9


def test_a_nan_latency_is_rejected():
    """NaN raises a ValueError and leaves the histogram unchanged."""
    histogram = histogram_of([0.1])
    with pytest.raises(ValueError, match="NaN"):
        histogram.record_values(np.array([0.2, math.nan]))
    assert histogram == histogram_of([0.1])


def test_buckets_cover_the_recorded_values():
    """Buckets are ascending, count every value once, and every value lies in one of them."""
    seconds = [0.0012, 0.0012, 0.5, 77.0]
    buckets = list(histogram_of(seconds).buckets())
    assert sum(count for _, _, count in buckets) == 4
    assert buckets == sorted(buckets)
    assert all(any(low <= v <= high + 1e-6 for low, high, _ in buckets) for v in seconds)


@pytest.mark.parametrize("count", [0, 1, 2, 100, 5000])
def test_a_percentile_distribution_equals_that_of_hdrh(count):
    """The rows equal hdrh's; in the footer hdrh writes the deviation in us and the total with decimals."""
    histogram = Histogram()
    histogram.record_values(np.random.default_rng(count).lognormal(-3, 1, count))
    theirs = io.BytesIO()
    histogram.to_hdr().output_percentile_distribution(theirs, 1000.0, ticks_per_half_distance=5)
    *rows, mean, most, buckets = histogram.percentile_distribution().splitlines()
    *their_rows, their_mean, their_most, their_buckets = theirs.getvalue().decode().splitlines()
    assert rows == their_rows
    assert (mean.split(",")[0], buckets) == (their_mean.split(",")[0], their_buckets)
    assert (most.split(",")[0], int(most.split("=")[2].strip(" ]"))) == (their_most.split(",")[0], count)
