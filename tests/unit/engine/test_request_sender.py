"""The request sender in virtual time: which request is sent, and what is recorded of it."""

import numpy as np
import pytest

from loadgen.engine.request_sender import request_sequence
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.sample import WARMUP
from loadgen.workload.arrivals import even, poisson
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant
from loadgen.workload.request import Request
from loadgen.workload.step import Step
from tests.support.virtual_time import (
    FAILED,
    OK,
    THROTTLED,
    FakeReply,
    FakeTransport,
    execute,
)


def test_the_request_sequence_depends_on_seed_and_number_only():
    """The n-th request is the same for another load, another target and a shard; another seed changes it."""
    requests = [Request(b"%d" % n) for n in range(7)]

    def indices(load, transport=None, seed=1):
        _, _, sink = execute(load, transport, requests=requests, seed=seed)
        return dict(zip(sink.all["seq"].tolist(), sink.all["request_index"].tolist(), strict=True))

    whole = indices(ClosedLoop(9, count=300))
    assert whole == indices(ClosedLoop(20, count=300), FakeTransport(lambda n, _t: [OK, THROTTLED, FAILED][n % 3]))
    assert whole.items() <= indices(OpenLoop(poisson(constant(300), seed=9), duration=10)).items()
    shard = indices(ClosedLoop(4, count=300).shard(1, 3))
    assert len(shard) == 100
    assert shard.items() <= whole.items()
    assert whole != indices(ClosedLoop(9, count=300), seed=2)
    assert whole == dict(enumerate(request_sequence(1, 7)[:300]))
    load = OpenLoop(even(constant(100)), duration=3, max_in_flight=1)
    assert whole == indices(load), "a dropped arrival has its request index as well"
    assert set(whole.values()) == set(range(7))


def test_a_sample_records_the_request_that_was_sent():
    """The request index, the request's size and the reply's size are those of the request."""
    requests = [Request(b"a" * n) for n in range(1, 6)]
    _, transport, sink = execute(ClosedLoop(1, count=50), requests=requests)
    assert (
        [len(b) for b in transport.bodies]
        == (sink.all["request_index"] + 1).tolist()
        == sink.all["request_bytes"].tolist()
    )
    assert (sink.all["response_bytes"] == 10).all()


def test_the_warmup_seconds_are_recorded_and_not_counted():
    """Ten requests per second for 10 s with 3 s of warm-up: 30 flagged, 70 counted, and no pause in between."""
    step = Step(None, OpenLoop(even(constant(10)), duration=10), warmup=3)
    done, transport, sink = execute(step)
    flagged = sink.all["seq"][(sink.all["flags"] & WARMUP) != 0]
    assert sorted(flagged.tolist()) == list(range(30))
    assert (done.count(OutcomeCategory.OK), done.tally.warmup[Outcome.OK], done.measurement_start) == (70, 30, 3)
    assert np.allclose(np.diff(transport.arrivals), 0.1)


def test_the_warmup_calls_are_recorded_and_not_counted():
    """Of 20 calls by 4 clients the first 6 are warm-up; the measurement starts when the seventh was due."""
    done, _, sink = execute(Step(None, ClosedLoop(4, count=20), warmup_calls=6))
    flagged = sink.all["seq"][(sink.all["flags"] & WARMUP) != 0]
    assert sorted(flagged.tolist()) == list(range(6))
    assert (done.count(OutcomeCategory.OK), done.measurement_start) == (14, pytest.approx(0.1))


def test_warmup_calls_are_counted_over_the_whole_load():
    """The first calls of the load are warm-up, whichever shard sends them."""
    parts = [execute(Step(None, ClosedLoop(4, count=20).shard(i, 2), warmup_calls=6))[0] for i in range(2)]
    assert sum(part.tally.warmup.total() for part in parts) == 6


def test_error_codes_are_written_once_and_before_their_samples():
    """Error codes are numbered from 1, and each sample refers to a code of its own outcome."""
    script = [THROTTLED, FAILED, FakeReply(0.01, error=Outcome.RESET), FakeReply(0.01, 503), OK]
    done, _, sink = execute(ClosedLoop(3, count=100), FakeTransport(lambda n, _t: script[n % 5]))
    assert [c.number for c in sink.codes] == [1, 2, 3, 4]
    assert {(c.outcome, c.code, c.status) for c in done.error_codes} == {
        (Outcome.THROTTLED, "ThrottlingException", 400),
        (Outcome.MODEL_ERROR, "ModelError", 424),
        (Outcome.RESET, "broken", 0),
        (Outcome.SERVER_5XX, "503", 503),
    }
    named = {0: Outcome.OK} | {c.number: c.outcome for c in sink.codes}
    assert all(named[s["code"]] == s["outcome"] for s in sink.all)
