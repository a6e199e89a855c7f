"""Our histograms against hdrh, the Java tools' formats, and plain sorting."""

import base64
import io
import math
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
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
# laid out by hand below as the Java class writes it, so that the format cannot drift.
GOLDEN_VALUES = [1_000, 2_000, 2_000, 10_000, 1_000_000]


def peer() -> HdrHistogram:
    return HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)


def folded(seconds) -> Histogram:
    histogram = Histogram()
    histogram.record_values(np.array(seconds, dtype=np.float64))
    return histogram


@given(st.lists(values, min_size=1, max_size=50))
def test_buckets_are_those_of_hdrh(microseconds):
    """Every value has the index, and every index the least and the greatest value, that hdrh gives them."""
    hdr = peer()
    column = np.array(microseconds, dtype=np.int64)
    indices = counts_index(column)
    assert indices.tolist() == [hdr._counts_index_for(v) for v in microseconds]
    assert lowest_equivalent_value(indices).tolist() == [hdr.get_lowest_equivalent_value(v) for v in microseconds]
    assert highest_equivalent_value(indices).tolist() == [hdr.get_highest_equivalent_value(v) for v in microseconds]


def test_the_layout_is_as_long_as_hdrh_s():
    """The array of counts has hdrh's length, and its last bucket holds the greatest value."""
    assert peer().counts_len == COUNTS_LENGTH
    assert 0 <= int(counts_index(np.array([HIGHEST_US]))[0]) < COUNTS_LENGTH


def test_every_bucket_is_within_a_thousandth():
    """No bucket is wider than 0.1 % of what it holds, or one microsecond."""
    indices = np.arange(COUNTS_LENGTH)
    low, high = lowest_equivalent_value(indices), highest_equivalent_value(indices)
    assert (counts_index(np.maximum(low, 1))[1:] == indices[1:]).all()
    assert ((high - low) <= np.maximum(low / 1000, 0)).all()
    assert (low[1:] == high[:-1] + 1).all()


@given(st.lists(latencies, max_size=5))
def test_adding_is_pooling(parts):
    """Histograms of parts, added in any order and also as sparse windows, are the histogram of all values."""
    pooled, forwards, backwards = folded([v for part in parts for v in part]), Histogram(), Histogram()
    for part in parts:
        forwards.add(folded(part))
    for part in reversed(parts):
        backwards.add(folded(part).to_sparse())
    assert forwards == backwards == pooled
    assert forwards.total == pooled.total == sum(map(len, parts))


@given(st.lists(st.floats(1e-6, 3600), min_size=1, max_size=400), st.integers(0, 100_000))
def test_a_percentile_is_the_nearest_rank(seconds, thousandths):
    """It is the least value that `percent` of all do not exceed, within its bucket and never too low."""
    rank = max(1, math.ceil(Fraction(thousandths, 100_000) * len(seconds)))
    exact = sorted(seconds)[rank - 1]
    assert exact - 0.6e-6 <= folded(seconds).percentile(thousandths / 1000) <= exact * 1.001 + 1.1e-6


@pytest.mark.parametrize(("percent", "rank"), [(0, 1), (30, 2), (25, 1), (26, 2), (50, 2), (75, 3), (99, 4), (100, 4)])
def test_at_least_that_share_does_not_exceed_a_percentile(percent, rank):
    """Of four values p30 is the second: the first is not exceeded by a quarter only."""
    assert folded([0.001, 0.002, 0.003, 0.004]).percentile(percent) == pytest.approx(rank / 1000, rel=0.001)


@given(st.lists(st.floats(1e-6, 3600), min_size=1, max_size=100))
def test_ranks_are_order_statistics(seconds):
    """The k-th smallest value is what sorting says, within its bucket."""
    histogram = folded(seconds)
    for rank, exact in enumerate(sorted(seconds), 1):
        assert exact - 0.6e-6 <= histogram.value_at_rank(rank) <= exact * 1.001 + 1.1e-6


@pytest.mark.parametrize("rank", [0, -1, 4])
def test_a_rank_that_no_value_has_is_an_error(rank):
    """There is no 0th and no 4th of three values."""
    with pytest.raises(IndexError):
        folded([0.1, 0.2, 0.3]).value_at_rank(rank)


def test_an_empty_histogram_has_no_percentile():
    """Nothing is not zero."""
    with pytest.raises(IndexError):
        Histogram().percentile(50)
    assert list(Histogram().buckets()) == []


@given(latencies)
def test_hdrh_reads_what_we_encode(seconds):
    """Hdrh's decoder finds the same counts, total, least and greatest value in our encoding."""
    ours = folded(seconds)
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
def test_we_read_what_hdrh_encodes(seconds):
    """A histogram that hdrh recorded and encoded is the one that we fold from the same values."""
    theirs = peer()
    for second in seconds:
        theirs.record_value(round(second * 1e6))
    assert Histogram.decode(theirs.encode().decode()) == folded(seconds)
    assert Histogram.decode(folded(seconds).encode()) == folded(seconds)


def java_bytes(microseconds: list[int]) -> bytes:
    """Lay the V2 payload out by hand: cookie, lengths, range, then zig-zag counts with runs of zeros as negatives."""
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
    """Byte for byte the payload of the Java class: its layout is written out by hand here, compression undone."""
    raw = base64.b64decode(folded([v / 1e6 for v in GOLDEN_VALUES]).encode())
    cookie, length = struct.unpack_from(">ii", raw)
    assert (cookie, length) == (0x1C849314, len(raw) - 8)
    assert zlib.decompress(raw[8:]) == java_bytes(GOLDEN_VALUES)
    packed = zlib.compress(java_bytes(GOLDEN_VALUES))
    text = base64.b64encode(struct.pack(">ii", 0x1C849314, len(packed)) + packed).decode()
    assert Histogram.decode(text) == folded([v / 1e6 for v in GOLDEN_VALUES])


@pytest.mark.parametrize("text", ["", "x", "AAAA", "HISTFAAAA", base64.b64encode(b"\0" * 64).decode()])
def test_what_is_no_histogram_is_refused(text):
    """Whatever is wrong with the text, it is a ValueError."""
    with pytest.raises(ValueError, match="HDR histogram"):
        Histogram.decode(text)


def test_a_histogram_of_another_range_is_refused():
    """Counts mean other values there."""
    with pytest.raises(ValueError, match="range"):
        Histogram.decode(HdrHistogram(1, 1000, 2).encode().decode())


def test_out_of_range_is_clamped_and_counted():
    """Below zero and above an hour go to the ends and are counted as clamped; nothing is dropped, 0 is no fault."""
    histogram = folded([-1.0, 0.0, 4e-7, 1e-6, 3600, 3600.1, 1e9, math.inf])
    assert (histogram.total, histogram.out_of_range) == (8, 4)
    assert int(histogram.counts.sum()) == 8
    assert histogram.value_at_rank(1) == 1e-6
    assert histogram.value_at_rank(8) == pytest.approx(3600, rel=0.001)
    both = folded([-1.0])
    both.add(histogram)
    both.add(histogram.to_sparse())
    assert both.out_of_range == 9


def test_a_latency_that_is_no_number_is_refused():
    """NaN is a mistake of the caller, and leaves the histogram as it was."""
    histogram = folded([0.1])
    with pytest.raises(ValueError, match="NaN"):
        histogram.record_values(np.array([0.2, math.nan]))
    assert histogram == folded([0.1])


def test_buckets_cover_what_was_folded():
    """They ascend, hold every value once, and each value lies in one of them."""
    seconds = [0.0012, 0.0012, 0.5, 77.0]
    buckets = list(folded(seconds).buckets())
    assert sum(count for _, _, count in buckets) == 4
    assert buckets == sorted(buckets)
    assert all(any(low <= v <= high + 1e-6 for low, high, _ in buckets) for v in seconds)


@pytest.mark.parametrize("count", [0, 1, 2, 100, 5000])
def test_a_percentile_distribution_has_the_rows_that_hdrhistogram_writes(count):
    """Row for row what HdrHistogram_py writes, but for two faults of its footer: a deviation in us, a total with decimals."""
    histogram = Histogram()
    histogram.record_values(np.random.default_rng(count).lognormal(-3, 1, count))
    theirs = io.BytesIO()
    histogram.to_hdr().output_percentile_distribution(theirs, 1000.0, ticks_per_half_distance=5)
    *rows, mean, most, buckets = histogram.percentile_distribution().splitlines()
    *their_rows, their_mean, their_most, their_buckets = theirs.getvalue().decode().splitlines()
    assert rows == their_rows
    assert (mean.split(",")[0], buckets) == (their_mean.split(",")[0], their_buckets)
    assert (most.split(",")[0], int(most.split("=")[2].strip(" ]"))) == (their_most.split(",")[0], count)
