"""The engine in virtual time: every instant, every count and every way to end, worked out by hand."""

import asyncio
import math
from collections import Counter

import numpy as np
import pytest

from loadgen.engine.engine import run
from loadgen.engine.request_sender import request_sequence as drawn
from loadgen.errors import DataError, UsageError
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.sample import WARMUP
from loadgen.workload.arrivals import even, poisson, trace
from loadgen.workload.load import ClosedLoop, OpenLoop, Uniform
from loadgen.workload.rate import constant, ramp, stages
from loadgen.workload.request import Reply, Request
from loadgen.workload.step import Step
from tests.support.virtual_time import (
    FAILED,
    NANOSECOND,
    OK,
    ONE_REQUEST,
    START_TIME,
    THROTTLED,
    FakeReply,
    FakeTransport,
    MemorySink,
    VirtualClock,
    execute,
    run_virtual,
)

# -- the open loop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "load",
    [
        OpenLoop(even(constant(50)), duration=10),
        OpenLoop(even(constant(10_000)), duration=0.5, max_in_flight=5000),
        OpenLoop(poisson(ramp(1, 40, over=20), seed=4)),
        OpenLoop(even(stages((2, 30), (0, 0), (4, 0), (0, 30), (2, 30)))),
        OpenLoop(trace([5, 5, 5, 9, 61.5])),
    ],
    ids=["constant", "fast", "poisson ramp", "stages", "trace"],
)
def test_every_send_is_at_its_instant(load):
    """Each request of the schedule is sent at its instant to the nanosecond, and nothing else is sent."""
    done, far, kept = execute(load)
    expected = np.array([at for _, at in load])
    assert len(far.arrivals) == len(expected)
    assert np.abs(np.array(far.arrivals) - expected).max() < NANOSECOND
    samples = np.sort(kept.all, order="seq")
    assert np.abs(samples["scheduled"] - expected).max() < NANOSECOND
    assert np.abs(samples["sent"] - expected).max() < NANOSECOND
    assert (done.stop_reason, done.count(OutcomeCategory.OK)) == ("schedule", len(expected))


def test_an_open_loop_does_not_wait_for_answers():
    """Ten a second against answers of five seconds: fifty are under way at once, and the schedule holds."""
    done, far, _ = execute(OpenLoop(even(constant(10)), duration=20), FakeTransport(lambda _n, _t: FakeReply(5)))
    assert far.most_in_flight == 50
    assert done.duration == pytest.approx(19.9 + 5)
    assert done.generator_stats.send_lag_max == pytest.approx(0, abs=NANOSECOND)


def test_exactly_what_exceeds_max_in_flight_is_dropped():
    """With 4 places and answers of 1 s, of 10 arrivals a second 4 are sent and 6 dropped; none is sent late."""
    done, far, kept = execute(
        OpenLoop(even(constant(10)), duration=5, max_in_flight=4), FakeTransport(lambda _n, _t: FakeReply(0.95))
    )
    dropped = kept.all[kept.all["outcome"] == Outcome.DROPPED]
    assert sorted(n % 10 for n in dropped["seq"].tolist()) == sorted([4, 5, 6, 7, 8, 9] * 5)
    assert (done.tally.counts[Outcome.DROPPED], done.count(OutcomeCategory.OK), done.generator_stats.dropped) == (
        30,
        20,
        30,
    )
    assert np.abs(np.array(far.arrivals) - [s + k / 10 for s in range(5) for k in range(4)]).max() < NANOSECOND
    assert np.isnan(dropped["sent"]).all()
    assert far.most_in_flight == 4


def test_a_freeze_shows_in_the_open_loop_and_not_in_the_closed():
    """The far side freezes for one second of 50: the open loop's response times tell it as mathematics does."""
    rate, lasting, frozen = 100, 50, (20.0, 21.0)

    def behave(_n, t):
        return FakeReply(max(0.001, frozen[1] - t if frozen[0] <= t < frozen[1] else 0.001))

    opened, _, _ = execute(OpenLoop(even(constant(rate)), duration=lasting), FakeTransport(behave))
    # 100 of 5,000 requests wait 1 s, 0.99 s, ... 0.01 s: the greatest 1 % are the upper half of them.
    response = opened.tally.response[OutcomeCategory.OK]
    waits = sorted([1 - k / rate for k in range(rate)] + [0.001] * (rate * lasting - rate))
    for percent in (50, 99, 99.5, 99.9):
        exact = waits[math.ceil(round(percent * 10) * len(waits) / 1000) - 1]
        assert response.percentile(percent) == pytest.approx(exact, rel=0.002, abs=2e-6)
    assert response.percentile(99) == pytest.approx(0.5, abs=0.011)
    closed, _, _ = execute(ClosedLoop(1, duration=lasting, think=0.009), FakeTransport(behave))
    assert closed.tally.service[OutcomeCategory.OK].percentile(99) == pytest.approx(0.001, rel=0.01)


def test_a_late_generator_does_not_shift_the_schedule():
    """A loop that stood still for 3 s sends all that was due at once; response times count from the schedule."""

    async def main():
        loop = asyncio.get_running_loop()
        far, kept = FakeTransport(lambda _n, _t: FakeReply(0.25)), MemorySink()

        def stand_still():
            loop.now += 3.0

        loop.call_at(START_TIME + 2.0001, stand_still)
        done = await run(OpenLoop(even(constant(100)), duration=8), far, ONE_REQUEST, clock=VirtualClock(), sink=kept)
        return done, far, kept

    done, _, kept = run_virtual(main())
    samples = np.sort(kept.all, order="seq")
    assert np.abs(samples["scheduled"] - np.arange(800) / 100).max() < NANOSECOND
    stalled = samples[(samples["scheduled"] > 2.0001) & (samples["scheduled"] < 5.0)]
    assert np.allclose(stalled["sent"], 5.0001)
    late = samples[samples["scheduled"] > 5.0001]
    assert np.abs(late["sent"] - late["scheduled"]).max() < NANOSECOND
    assert done.count(OutcomeCategory.OK) == 800
    assert done.tally.response[OutcomeCategory.OK].value_at_rank(800) == pytest.approx(2.9901 + 0.25, rel=0.002)
    assert np.allclose(stalled["done"] - stalled["sent"], 0.25)
    assert done.generator_stats.send_lag_max == pytest.approx(2.9901, abs=1e-6)


def test_asked_and_achieved_rate_are_of_the_time_of_sending():
    """A slow target does not lower the rate that was achieved; an early end does not lower the rate that was asked."""
    done, *_ = execute(OpenLoop(even(constant(50)), duration=10), FakeTransport(lambda _n, _t: FakeReply(8)))
    assert (done.generator_stats.target_rate, done.generator_stats.achieved_rate) == (
        pytest.approx(50),
        pytest.approx(50),
    )
    done, *_ = execute(OpenLoop(even(constant(50)), duration=100), stop_at=10.01)
    assert (done.generator_stats.target_rate, done.generator_stats.achieved_rate) == (
        pytest.approx(50, rel=0.01),
        pytest.approx(50, rel=0.01),
    )
    done, *_ = execute(OpenLoop(even(ramp(50, 50, over=10)), duration=1000))
    assert done.generator_stats.target_rate == pytest.approx(50)
    done, *_ = execute(ClosedLoop(5, duration=10), FakeTransport(lambda _n, _t: FakeReply(0.1)))
    assert (done.generator_stats.target_rate, done.generator_stats.achieved_rate) == (0, pytest.approx(50, rel=0.02))
    done, *_ = execute(
        OpenLoop(even(constant(50)), duration=10, max_in_flight=25), FakeTransport(lambda _n, _t: FakeReply(1 - 1e-6))
    )
    assert (done.generator_stats.target_rate, done.generator_stats.achieved_rate) == (
        pytest.approx(50),
        pytest.approx(25),
    )


# -- the closed loop --------------------------------------------------------------------------------------------------


def test_clients_overlap():
    """Eight clients and answers of 0.1 s: eight under way at all times, 80 a second."""
    done, far, _ = execute(ClosedLoop(8, count=400))
    assert far.most_in_flight == 8
    assert done.duration == pytest.approx(5.0)
    assert (done.scheduled, done.stop_reason) == (400, "count")
    assert Counter(int(t * 10 + 0.5) for t in far.arrivals) == dict.fromkeys(range(50), 8)


def test_fewer_requests_than_clients():
    """A count smaller than the number of clients is sent once and exactly."""
    done, far, _ = execute(ClosedLoop(8, count=3))
    assert (done.scheduled, far.most_in_flight) == (3, 3)


def test_a_client_thinks_after_an_answer_and_backs_off_after_a_refusal():
    """One client: sends at 0; ok 0.1 s and think 0.4 s; throttled 0.01 s and backoff 2 s; failed 0.05 s and backoff."""
    says = [OK, THROTTLED, FAILED, OK]
    _, far, _ = execute(ClosedLoop(1, count=4, think=0.4, backoff=2.0), FakeTransport(lambda n, _t: says[n]))
    assert far.arrivals == pytest.approx([0, 0.5, 0.5 + 2.01, 2.51 + 2.05])


def test_drawn_pauses_depend_on_the_seed_and_lie_between_their_bounds():
    """The same seed pauses the same, another one differently, all within the bounds and spread over them."""
    load = [ClosedLoop(1, count=200, think=Uniform(1, 3), seed=seed) for seed in (5, 5, 6)]
    first, again, other = (execute(one)[1].arrivals for one in load)
    assert first == again != other
    pauses = np.diff(first) - 0.1
    assert pauses.min() >= 1 - NANOSECOND
    assert pauses.max() <= 3 + NANOSECOND
    assert pauses.mean() == pytest.approx(2, abs=4 * (2 / math.sqrt(12)) / math.sqrt(200))


def test_a_duration_ends_a_closed_loop():
    """Sends at 0, 0.1, ... and none at or after 1.05 s; the last answer is waited for; pauses are cut short."""
    done, far, _ = execute(ClosedLoop(1, duration=1.05))
    assert far.arrivals == pytest.approx([n / 10 for n in range(11)])
    assert (done.stop_reason, done.duration) == ("duration", pytest.approx(1.1))
    done, far, _ = execute(ClosedLoop(3, duration=1.0, think=50))
    assert (len(far.arrivals), done.stop_reason, done.duration) == (3, "duration", pytest.approx(1.0))


def test_whichever_bound_comes_first_ends_the_load():
    """With both a count and a duration, the run says which it was."""
    assert execute(ClosedLoop(1, count=5, duration=100))[0].stop_reason == "count"
    assert execute(ClosedLoop(1, count=5000, duration=1))[0].stop_reason == "duration"


def test_response_time_in_a_closed_loop_is_not_kept_twice():
    """In a closed loop the response time is the service time: there is no second histogram."""
    done, *_ = execute(ClosedLoop(2, count=10))
    assert not done.is_open_loop
    assert all(h.total == 0 for h in done.tally.response.values())


def test_a_transport_that_never_waits_does_not_take_the_loop():
    """Answers that come without a single await leave other tasks of the service their turn."""

    class Immediate(FakeTransport):
        async def invoke(self, request):
            now = asyncio.get_running_loop().time()
            return Reply(200, now, now, now)

    async def main():
        turns, ended = 0, False

        async def other():
            nonlocal turns
            while not ended:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        done = await run(ClosedLoop(1, count=10_000), Immediate(), ONE_REQUEST, clock=VirtualClock())
        ended = True
        await task
        return done, turns

    done, turns = run_virtual(main())
    assert done.count(OutcomeCategory.OK) == 10_000
    assert turns > 100


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_the_choice_of_payloads_depends_on_seed_and_number_alone():
    """Another load, another far side, a shard: the n-th request carries the same payload; another seed changes it."""
    requests = [Request(b"%d" % n) for n in range(7)]

    def choices(load, far=None, seed=1):
        _, _, kept = execute(load, far, requests=requests, seed=seed)
        return dict(zip(kept.all["seq"].tolist(), kept.all["request_index"].tolist(), strict=True))

    whole = choices(ClosedLoop(1, count=300))
    assert whole == choices(ClosedLoop(9, count=300), FakeTransport(lambda n, _t: [OK, THROTTLED, FAILED][n % 3]))
    assert whole.items() <= choices(OpenLoop(poisson(constant(30), seed=9), duration=100)).items()
    shard = choices(ClosedLoop(4, count=300).shard(1, 3))
    assert len(shard) == 100
    assert shard.items() <= whole.items()
    assert whole != choices(ClosedLoop(1, count=300), seed=2)
    assert whole == dict(enumerate(drawn(1, 7)[:300]))
    load = OpenLoop(even(constant(100)), duration=3, max_in_flight=1)
    assert whole == choices(load), "what is dropped has its payload too"
    shares = Counter(whole.values())
    assert sorted(shares) == list(range(7))


def test_what_is_recorded_is_what_was_sent():
    """Payload number, its size, and the size of the answer are those of the request."""
    requests = [Request(b"a" * n) for n in range(1, 6)]
    _, far, kept = execute(ClosedLoop(1, count=50), requests=requests)
    assert (
        [len(b) for b in far.bodies] == (kept.all["request_index"] + 1).tolist() == kept.all["request_bytes"].tolist()
    )
    assert (kept.all["response_bytes"] == 10).all()


def test_there_must_be_something_to_send():
    """No requests is a DataError, before anything is sent."""
    with pytest.raises(DataError):
        run_virtual(run(ClosedLoop(1, count=1), FakeTransport(), [], clock=None))


@pytest.mark.parametrize(
    "bad",
    [
        {"window": 0},
        {"window": -1.0},
        {"window": math.nan},
        {"window": math.inf},
        {"drain": -1},
        {"drain": math.nan},
        {"grace": -1},
        {"grace": math.nan},
        {"seed": -1},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(bad):
    """A window of 0 s would never close: refused, as other impossible settings are, before anything is sent."""
    far = FakeTransport()
    with pytest.raises(UsageError):
        asyncio.run(asyncio.wait_for(run(ClosedLoop(1, count=1), far, ONE_REQUEST, **bad), 5))
    assert far.arrivals == []


# -- warm-up ----------------------------------------------------------------------------------------------------------


def test_the_first_seconds_are_recorded_and_not_counted():
    """Ten a second for 10 s with 3 s of warm-up: 30 flagged, 70 counted, nothing pauses in between."""
    step = Step(None, OpenLoop(even(constant(10)), duration=10), warmup=3)
    done, far, kept = execute(step)
    flagged = kept.all["seq"][(kept.all["flags"] & WARMUP) != 0]
    assert sorted(flagged.tolist()) == list(range(30))
    assert (done.count(OutcomeCategory.OK), done.tally.warmup[Outcome.OK], done.measurement_start) == (70, 30, 3)
    assert np.allclose(np.diff(far.arrivals), 0.1)


def test_the_first_calls_are_recorded_and_not_counted():
    """Of 20 calls by 4 clients the first 6 are warm-up; measuring starts when the seventh was due."""
    done, _, kept = execute(Step(None, ClosedLoop(4, count=20), warmup_calls=6))
    flagged = kept.all["seq"][(kept.all["flags"] & WARMUP) != 0]
    assert sorted(flagged.tolist()) == list(range(6))
    assert (done.count(OutcomeCategory.OK), done.measurement_start) == (14, pytest.approx(0.1))


def test_warmup_belongs_to_the_whole_load_and_not_to_a_shard():
    """The first calls of the load are warm-up, whichever shard sends them."""
    parts = [execute(Step(None, ClosedLoop(4, count=20).shard(i, 2), warmup_calls=6))[0] for i in range(2)]
    assert sum(part.tally.warmup.total() for part in parts) == 6
