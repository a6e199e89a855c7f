"""What several workers recorded, joined: exactly what one would have recorded."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.verdict import judge
from loadgen.distributed.sharding import WindowAligner, reconstruct_lost_samples, shard_step
from loadgen.measurement import merge
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome
from loadgen.measurement.recorder import Recorder
from loadgen.measurement.run import Run, WorkerReport
from loadgen.measurement.sample import SAMPLE, WARMUP, ErrorCode, checksum
from loadgen.measurement.tally import Tally
from loadgen.workload.arrivals import even, poisson, trace
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant, ramp
from loadgen.workload.step import ErrorLimit, Step

OUTCOMES = [Outcome.OK, Outcome.THROTTLED, Outcome.MODEL_ERROR, Outcome.RESET, Outcome.DROPPED]


def made(count, seed, *, step=1, first=0):
    """Samples of every kind, each with a latency of its own, in the order of completion."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(count, SAMPLE)
    samples["seq"] = np.arange(count) * step + first
    samples["scheduled"] = np.sort(rng.uniform(0, 10, count))
    samples["sent"] = samples["scheduled"] + rng.exponential(0.001, count)
    samples["done"] = samples["sent"] + rng.lognormal(-3, 1.5, count)
    samples["outcome"] = rng.choice(OUTCOMES, count, p=[0.7, 0.1, 0.1, 0.05, 0.05])
    samples["flags"] = np.where(samples["scheduled"] < 0.5, WARMUP, 0)
    samples["sent"][samples["outcome"] == Outcome.DROPPED] = math.nan
    samples["check"] = checksum(samples)
    return samples[np.argsort(samples["done"], kind="stable")]


def recorded(samples, interval=1.0):
    """Send samples through a recorder as an engine does; return its tally and its windows."""
    windows = []
    recorder = Recorder(on_samples=lambda _: None, interval=interval, with_response=True, on_window=windows.append)
    for row in samples:
        recorder.close_windows(float(row["done"]))
        recorder.add(*row.tolist()[:12])
    recorder.finish(float(samples["done"].max()) if len(samples) else 0.0)
    return recorder.tally, windows


def same(one, other):
    """Two tallies, bit for bit."""
    assert one.counts == other.counts
    assert one.warmup == other.warmup
    for column in COMPLETED_CATEGORIES:
        for a, b in ((one.service, other.service), (one.response, other.response)):
            assert a[column] == b[column]
            assert a[column].total == b[column].total
            assert a[column].encode() == b[column].encode()


@given(workers=st.integers(1, 7), count=st.integers(0, 300), seed=st.integers(0, 9))
def test_tallies_and_windows_of_shards_add_up_to_the_wholes(workers, count, seed):
    """However samples are dealt out, the joined histograms and windows are those of one recorder, bit for bit."""
    whole = made(count, seed)
    expected, windows = recorded(whole)
    parts = [recorded(whole[whole["seq"] % workers == index]) for index in range(workers)]

    same(merge.merge_tallies([tally for tally, _ in parts]), expected)
    pooled = Tally()
    pooled.record_samples(whole, with_response=True)
    same(pooled, expected)

    seen = []
    joining = WindowAligner(workers, seen.append)
    # Whoever is quick must wait for the others: the workers hand in their windows one after the other.
    for index, (_, own) in enumerate(parts):
        for window in own:
            joining.add(index, window)
        joining.remove_worker(index)
    assert [window.index for window in seen] == [window.index for window in windows]
    for ours, theirs in zip(seen, windows, strict=True):
        assert dict(ours.counts) == dict(theirs.counts)
        assert ours.warmup == theirs.warmup
        for a, b in ((ours.service, theirs.service), (ours.response, theirs.response)):
            assert a.keys() == b.keys()
            for column in a:
                assert a[column].indices.tolist() == b[column].indices.tolist()
                assert a[column].counts.tolist() == b[column].counts.tolist()


def test_a_window_is_shown_once_every_worker_at_work_has_closed_it():
    """The live view is never of a part: it waits for the slowest worker, but not for one that has left."""
    _, windows = recorded(made(200, 1))
    seen = []
    joining = WindowAligner(3, seen.append)
    joining.add(0, windows[0])
    joining.add(0, windows[1])
    joining.add(1, windows[0])
    assert seen == []
    joining.add(2, windows[0])
    assert [window.index for window in seen] == [0]
    assert sum(seen[0].counts.values()) == 3 * sum(windows[0].counts.values())
    joining.remove_worker(1)
    assert [window.index for window in seen] == [0]
    joining.remove_worker(2)
    assert [window.index for window in seen] == [0, 1]


def test_codes_of_several_workers_become_one_table():
    """Workers number their errors as they meet them; joined, every sample still points to its own error."""
    one, two = made(50, 1, step=2), made(50, 2, step=2, first=1)
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


LOADS = st.one_of(
    st.builds(
        OpenLoop,
        st.sampled_from(
            [even(ramp(1, 50, over=4)), poisson(constant(30), seed=5), trace([0.1, 0.1, 0.5, 2.0, 2.5, 2.5])]
        ),
        duration=st.just(3.0),
        max_in_flight=st.integers(1, 40),
    ),
    st.builds(ClosedLoop, st.integers(1, 20), count=st.integers(1, 60)),
)


def everything(load):
    """(seq, due) of a load; a closed loop's requests are due when a client is free."""
    if isinstance(load, OpenLoop):
        return list(load)
    which, of = load.part
    return [(which + n * of, None) for n in range(load.count)]


@given(load=LOADS, workers=st.integers(1, 9))
def test_shards_send_exactly_what_the_whole_would(load, workers):
    """United, the shards hold every request once, at its own instant; clients and slots are divided, none is added."""
    shards = [step.load for step in shard_step(Step(None, load), workers)]
    assert 1 <= len(shards) <= workers
    assert sorted(request for shard in shards for request in everything(shard)) == everything(load)
    assert sum(shard.connections for shard in shards) == load.connections


def test_an_error_limit_is_kept_over_all_shards():
    """A count bounds each shard too; a share is left to whoever sees all of them."""
    step = Step(None, ClosedLoop(4, count=100), error_limit=ErrorLimit(count=5, share=0.5))
    assert [s.error_limit for s in shard_step(step, 2)] == [ErrorLimit(count=5)] * 2
    assert shard_step(step, 1) == [step]


def test_what_a_lost_worker_had_begun_is_told_and_what_it_had_not_is_counted():
    """Of an open loop: the counter says how many had gone out; those without a record were in flight, in order."""
    step = Step(None, OpenLoop(even(constant(10)), duration=10.0).shard(1, 2), warmup=1.0)
    mine = list(step.load)  # 50 arrivals: 0.1, 0.3, ... 9.9
    recorded = np.zeros(18, SAMPLE)
    recorded["seq"] = [seq for seq, _ in mine[:20] if seq not in (mine[3][0], mine[17][0])]
    lost, unsent = reconstruct_lost_samples(
        step, recorded, sent=21, lost_at=4.15, request_sequence=[2, 0, 1], body_sizes=[10, 20, 30]
    )
    assert lost["seq"].tolist() == [mine[3][0], mine[17][0], mine[20][0]]
    assert lost["scheduled"].tolist() == [mine[3][1], mine[17][1], mine[20][1]]
    assert set(lost["outcome"].tolist()) == {int(Outcome.LOST_WITH_WORKER)}
    assert lost["request_index"].tolist() == [[2, 0, 1][seq % 3] for seq in lost["seq"]]
    assert (lost["flags"] & WARMUP != 0).tolist() == [True, False, False]
    assert (lost["done"] == 4.15).all()
    assert np.isnan(lost["sent"]).all()
    assert np.array_equal(checksum(lost), lost["check"])
    assert unsent == 50 - 18 - 3


@pytest.mark.parametrize(
    ("sent", "lost", "unsent"), [(12, [9 * 3, 11 * 3], 8), (None, [27, 33, 36, 39], 6), (0, [], 10)]
)
def test_a_lost_closed_loop_had_its_next_requests_in_flight(sent, lost, unsent):
    """Requests are numbered as they are begun: what is missing among the first ones went with the worker."""
    step = Step(None, ClosedLoop(12, count=60).shard(0, 3))  # 4 clients, 20 requests: 0, 3, ... 57
    recorded = np.zeros(10, SAMPLE)
    recorded["seq"] = [0, 3, 6, 9, 12, 15, 18, 21, 24, 30]
    found, left = reconstruct_lost_samples(step, recorded, sent=sent, lost_at=2.0, request_sequence=[0], body_sizes=[1])
    assert (found["seq"].tolist(), left) == (lost, unsent)


def test_a_loop_bounded_by_time_alone_has_no_rest():
    """Nobody can tell how many requests a closed loop would still have made."""
    step = Step(None, ClosedLoop(4, duration=60.0).shard(1, 2))
    recorded = np.zeros(3, SAMPLE)
    recorded["seq"] = [1, 3, 7]
    found, left = reconstruct_lost_samples(step, recorded, sent=5, lost_at=2.0, request_sequence=[0], body_sizes=[1])
    assert (found["seq"].tolist(), left) == ([5, 9], 0)


def test_the_watch_of_several_is_never_better_than_the_worst():
    """Counts add; shares, lags and percentiles are those of the worst generator."""
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


def run_with(*workers):
    samples = made(500, 3)
    samples["outcome"] = Outcome.OK
    samples["sent"] = samples["scheduled"]
    samples["done"] = samples["sent"] + 1.0
    tally = Tally()
    tally.record_samples(samples, with_response=False)
    return Run(Step(None, ClosedLoop(1, count=500)), 0.0, 11.0, "count", 500, tally, samples=samples, workers=workers)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lost_reason": "was killed by SIGKILL", "unsent": 40}, "worker lost"),
        ({"start_delay": 0.3}, "worker started late"),
        ({"clock_uncertainty": 0.2}, "clock uncertainty between workers"),
    ],
)
def test_a_worker_that_was_not_there_spoils_the_run(change, words):
    """A lost, a late or a misaligned worker makes the run INVALID, each with its reason and its name."""
    fine = WorkerReport("process 1")
    assert judge(run_with(fine, WorkerReport("process 2"))).is_valid
    verdict = judge(run_with(fine, replace(WorkerReport("process 2"), **change)))
    assert [reason.problem for reason in verdict.reasons] == [words]
    assert "process 2" in verdict.reasons[0].observed


def test_a_share_that_was_given_twice_is_noted():
    """Whatever machinery began a share again: it was sent once, and the report says that it was begun twice."""
    verdict = judge(run_with(WorkerReport("tcp://a"), WorkerReport("tcp://b", duplicate_starts=1)))
    assert verdict.is_valid
    assert any("tcp://b was started 2 times" in note for note in verdict.notes)
