"""Sharding a step, aligning windows of workers, and the requests of a lost worker."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.distributed.sharding import WindowAligner, reconstruct_lost_samples, shard_step
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE, WARMUP, checksum
from loadgen.workload.arrivals import even, poisson, trace
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant, ramp
from loadgen.workload.step import ErrorLimit, Step
from tests.support.random_samples import random_samples, record


def test_aligned_windows_are_those_of_one_recorder():
    """Workers that report their windows one after the other give the windows of a single recorder, in order."""
    whole = random_samples(300, 1)
    _, windows = record(whole)
    reported = []
    aligner = WindowAligner(3, reported.append)
    for index in range(3):
        for window in record(whole[whole["seq"] % 3 == index])[1]:
            aligner.add(index, window)
        aligner.remove_worker(index)
    assert [window.index for window in reported] == [window.index for window in windows]
    assert [window.counts for window in reported] == [window.counts for window in windows]


def test_a_window_is_reported_once_every_active_worker_has_closed_it():
    """The merged window waits for the slowest worker, but not for one that was removed."""
    _, windows = record(random_samples(200, 1))
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


def all_requests(load):
    """Return (seq, due) of every request of a load; in a closed loop `due` is None."""
    if isinstance(load, OpenLoop):
        return list(load)
    which, of = load.part
    return [(which + n * of, None) for n in range(load.count)]


@given(load=LOADS, workers=st.integers(1, 9))
def test_shards_send_exactly_the_requests_of_the_whole(load, workers):
    """The shards have every request once, at its own instant; clients and max_in_flight are divided exactly."""
    shards = [step.load for step in shard_step(Step(None, load), workers)]
    assert 1 <= len(shards) <= workers
    assert sorted(request for shard in shards for request in all_requests(shard)) == all_requests(load)
    assert sum(shard.connections for shard in shards) == load.connections


def test_an_error_count_limits_each_shard_and_an_error_share_does_not():
    """A count limits each shard as well; a share is left to the coordinator, which sees all shards."""
    step = Step(None, ClosedLoop(4, count=100), error_limit=ErrorLimit(count=5, share=0.5))
    assert [s.error_limit for s in shard_step(step, 2)] == [ErrorLimit(count=5)] * 2
    assert shard_step(step, 1) == [step]


def test_requests_of_a_lost_worker_are_lost_or_unsent():
    """Of an open loop, requests sent without a sample are lost with the worker, in order; the others are unsent."""
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
def test_a_lost_closed_loop_loses_its_next_requests(sent, lost, unsent):
    """Requests are numbered as they start: sequence numbers missing among the first ones are lost with the worker."""
    step = Step(None, ClosedLoop(12, count=60).shard(0, 3))  # 4 clients, 20 requests: 0, 3, ... 57
    recorded = np.zeros(10, SAMPLE)
    recorded["seq"] = [0, 3, 6, 9, 12, 15, 18, 21, 24, 30]
    found, left = reconstruct_lost_samples(step, recorded, sent=sent, lost_at=2.0, request_sequence=[0], body_sizes=[1])
    assert (found["seq"].tolist(), left) == (lost, unsent)


def test_a_lost_closed_loop_without_a_count_has_no_unsent_requests():
    """The number of requests that a closed loop limited by time would still have sent is unknown, so it is 0."""
    step = Step(None, ClosedLoop(4, duration=60.0).shard(1, 2))
    recorded = np.zeros(3, SAMPLE)
    recorded["seq"] = [1, 3, 7]
    found, left = reconstruct_lost_samples(step, recorded, sent=5, lost_at=2.0, request_sequence=[0], body_sizes=[1])
    assert (found["seq"].tolist(), left) == ([5, 9], 0)
