"""Merged records of several workers: exactly those of one worker."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measurement import merge
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE, ErrorCode, checksum
from loadgen.measurement.tally import Tally
from tests.support.random_samples import assert_same_tally, random_samples, record


def assert_same_counts(one, other):
    """Check that two maps of sparse histograms are identical."""
    assert one.keys() == other.keys()
    for category in one:
        assert one[category].indices.tolist() == other[category].indices.tolist()
        assert one[category].counts.tolist() == other[category].counts.tolist()


@settings(max_examples=30)
@given(workers=st.integers(1, 7), count=st.integers(0, 120), seed=st.integers(0, 9))
def test_merged_tallies_and_windows_are_those_of_one_recorder(workers, count, seed):
    """However samples are divided, the merged histograms and windows are those of a single recorder, bit for bit."""
    whole = random_samples(count, seed)
    expected, windows = record(whole)
    parts = [record(whole[whole["seq"] % workers == index]) for index in range(workers)]

    assert_same_tally(merge.merge_tallies([tally for tally, _ in parts]), expected)
    total = Tally()
    total.record_samples(whole, with_response=True)
    assert_same_tally(total, expected)

    for window in windows:
        own = [one for _, part in parts for one in part if one.index == window.index]
        merged = merge.merge_windows(own)
        assert (merged.counts, merged.warmup) == (window.counts, window.warmup)
        assert_same_counts(merged.service, window.service)
        assert_same_counts(merged.response, window.response)


def test_error_codes_of_workers_are_merged_into_one_table():
    """Each worker numbers its error codes itself; after the merge every sample still refers to its own error."""
    one, two = random_samples(50, 1, step=2), random_samples(50, 2, step=2, first=1)
    names = {1: ("A", "B"), 2: ("B", "C")}
    tables = {
        which: [ErrorCode(n + 1, Outcome.MODEL_ERROR, name, 424, name.lower()) for n, name in enumerate(names[which])]
        for which in names
    }
    expected = {}
    for which, samples in ((1, one), (2, two)):
        failed = samples["outcome"] == Outcome.MODEL_ERROR
        samples["code"][failed] = 1 + np.arange(failed.sum()) % 2
        samples["check"] = checksum(samples)
        for row in samples[failed]:
            expected[int(row["seq"])] = names[which][row["code"] - 1]
    pooled, codes = merge.merge_samples([(one, tables[1]), (two, tables[2])])
    assert [(code.number, code.code) for code in codes] == [(1, "A"), (2, "B"), (3, "C")]
    assert {int(r["seq"]): codes[r["code"] - 1].code for r in pooled if r["code"]} == expected
    assert np.array_equal(checksum(pooled), pooled["check"])
    assert (np.diff(pooled["done"]) >= 0).all()
    assert sorted(pooled["seq"].tolist()) == list(range(100))


def test_merged_generator_stats_are_never_better_than_the_worst():
    """Counts and rates are added; shares, lags and percentiles are those of the worst generator."""
    one = GeneratorStats(
        cpu_share=0.5,
        longest_saturated=0,
        loop_lag_max=0.2,
        send_lag_p99=0.001,
        pool_waits=3,
        target_rate=10,
        dropped=1,
    )
    two = GeneratorStats(
        cpu_share=0.9,
        longest_saturated=7,
        loop_lag_max=0.1,
        send_lag_p99=0.004,
        pool_waits=4,
        target_rate=11,
        dropped=0,
    )
    both = merge.merge_generator_stats([one, two])
    assert (both.cpu_share, both.longest_saturated, both.loop_lag_max, both.send_lag_p99) == (0.9, 7, 0.2, 0.004)
    assert (both.pool_waits, both.target_rate, both.dropped) == (7, 21, 1)
    assert merge.merge_generator_stats([one]) == one


def test_samples_are_merged_into_a_file_as_into_memory(tmp_path, monkeypatch):
    """Memory-mapped shards merged into a mapped file, in chunks, are the samples of all shards sorted by completion."""
    monkeypatch.setattr(merge, "_CHUNK", 7)
    monkeypatch.setattr(merge, "_RELEASE_EVERY", 14)
    whole = random_samples(200, 5)
    whole["done"] = np.round(whole["done"], 1)  # with equal instants
    shards = [whole[whole["seq"] % 3 == index] for index in range(3)]
    mapped = []
    for index, shard in enumerate(shards):
        (tmp_path / f"{index}").write_bytes(shard.tobytes())
        mapped.append((np.memmap(tmp_path / f"{index}", dtype=SAMPLE, mode="r"), ()))

    def allocate(count):
        return np.memmap(tmp_path / "merged", dtype=SAMPLE, mode="w+", shape=(count,))

    merged, _ = merge.merge_samples(mapped, allocate)
    together = np.concatenate(shards).tolist()
    done = SAMPLE.names.index("done")
    assert str(merged.tolist()) == str(sorted(together, key=lambda row: row[done]))  # NaN is not equal to itself
    assert isinstance(merged, np.memmap)
