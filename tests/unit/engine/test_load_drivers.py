"""The load drivers in virtual time: when each request is sent, against instants computed by hand."""

import asyncio
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from loadgen.engine.engine import run
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.workload.arrivals import even, poisson, trace
from loadgen.workload.load import ClosedLoop, OpenLoop, Uniform
from loadgen.workload.rate import constant, ramp, stages
from loadgen.workload.request import Reply
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
def test_open_loop_sends_each_arrival_on_time(load):
    """Each arrival is sent at its instant to the nanosecond, and nothing else is sent."""
    done, transport, sink = execute(load)
    expected = np.array([at for _, at in load])
    assert len(transport.arrivals) == len(expected)
    assert np.abs(np.array(transport.arrivals) - expected).max() < NANOSECOND
    samples = np.sort(sink.all, order="seq")
    assert np.abs(samples["scheduled"] - expected).max() < NANOSECOND
    assert np.abs(samples["sent"] - expected).max() < NANOSECOND
    assert (done.stop_reason, done.count(OutcomeCategory.OK)) == ("schedule", len(expected))


def test_open_loop_does_not_wait_for_replies():
    """With 10 arrivals per second and replies after 5 s, 50 requests are in flight and the schedule is kept."""
    done, transport, _ = execute(OpenLoop(even(constant(10)), duration=20), FakeTransport(lambda _n, _t: FakeReply(5)))
    assert transport.most_in_flight == 50
    assert done.duration == pytest.approx(19.9 + 5)
    assert done.generator_stats.send_lag_max == pytest.approx(0, abs=NANOSECOND)


def test_arrivals_beyond_max_in_flight_are_dropped():
    """With max_in_flight 4 and replies after 0.95 s, 4 of 10 arrivals per second are sent, 6 dropped and none sent late."""
    done, transport, sink = execute(
        OpenLoop(even(constant(10)), duration=5, max_in_flight=4), FakeTransport(lambda _n, _t: FakeReply(0.95))
    )
    dropped = sink.all[sink.all["outcome"] == Outcome.DROPPED]
    assert sorted(n % 10 for n in dropped["seq"].tolist()) == sorted([4, 5, 6, 7, 8, 9] * 5)
    assert (done.tally.counts[Outcome.DROPPED], done.count(OutcomeCategory.OK), done.generator_stats.dropped) == (
        30,
        20,
        30,
    )
    assert np.abs(np.array(transport.arrivals) - [s + k / 10 for s in range(5) for k in range(4)]).max() < NANOSECOND
    assert np.isnan(dropped["sent"]).all()
    assert transport.most_in_flight == 4


def test_a_stall_of_the_target_shows_in_the_open_loop_only():
    """After a stall of 1 s in 50 s the open loop's percentiles equal the computed ones; the closed loop's do not show it."""
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
    """After the event loop was blocked for 3 s, overdue arrivals are sent at once and response times count from the schedule."""

    async def main():
        loop = asyncio.get_running_loop()
        transport, sink = FakeTransport(lambda _n, _t: FakeReply(0.25)), MemorySink()

        def stand_still():
            loop.now += 3.0

        loop.call_at(START_TIME + 2.0001, stand_still)
        done = await run(
            OpenLoop(even(constant(100)), duration=8), transport, ONE_REQUEST, clock=VirtualClock(), sink=sink
        )
        return done, transport, sink

    done, _, sink = run_virtual(main())
    samples = np.sort(sink.all, order="seq")
    assert np.abs(samples["scheduled"] - np.arange(800) / 100).max() < NANOSECOND
    stalled = samples[(samples["scheduled"] > 2.0001) & (samples["scheduled"] < 5.0)]
    assert np.allclose(stalled["sent"], 5.0001)
    late = samples[samples["scheduled"] > 5.0001]
    assert np.abs(late["sent"] - late["scheduled"]).max() < NANOSECOND
    assert done.count(OutcomeCategory.OK) == 800
    assert done.tally.response[OutcomeCategory.OK].value_at_rank(800) == pytest.approx(2.9901 + 0.25, rel=0.002)
    assert np.allclose(stalled["done"] - stalled["sent"], 0.25)
    assert done.generator_stats.send_lag_max == pytest.approx(2.9901, abs=1e-6)


def test_closed_loop_clients_run_concurrently():
    """Eight clients with replies after 0.1 s keep eight requests in flight: 80 per second."""
    done, transport, _ = execute(ClosedLoop(8, count=400))
    assert transport.most_in_flight == 8
    assert done.duration == pytest.approx(5.0)
    assert (done.scheduled, done.stop_reason) == (400, "count")
    assert Counter(int(t * 10 + 0.5) for t in transport.arrivals) == dict.fromkeys(range(50), 8)


def test_a_count_below_the_number_of_clients_is_exact():
    """Three requests for eight clients are sent once each."""
    done, transport, _ = execute(ClosedLoop(8, count=3))
    assert (done.scheduled, transport.most_in_flight) == (3, 3)


def test_a_client_pauses_for_think_after_ok_and_for_backoff_after_an_error():
    """One client sends at 0, 0.1 + 0.4 s after an ok reply, 0.01 + 2 s after a throttle, 0.05 + 2 s after a failure."""
    replies = [OK, THROTTLED, FAILED, OK]
    _, transport, _ = execute(ClosedLoop(1, count=4, think=0.4, backoff=2.0), FakeTransport(lambda n, _t: replies[n]))
    assert transport.arrivals == pytest.approx([0, 0.5, 0.5 + 2.01, 2.51 + 2.05])


def test_random_pauses_depend_on_the_seed_and_stay_within_their_bounds():
    """Equal seeds give equal pauses, different seeds different ones; all are within the bounds and uniformly distributed."""
    load = [ClosedLoop(1, count=200, think=Uniform(0.1, 0.3), seed=seed) for seed in (5, 5, 6)]
    first, again, other = (execute(one)[1].arrivals for one in load)
    assert first == again != other
    pauses = np.diff(first) - 0.1
    assert pauses.min() >= 0.1 - NANOSECOND
    assert pauses.max() <= 0.3 + NANOSECOND
    assert pauses.mean() == pytest.approx(0.2, abs=4 * (0.2 / math.sqrt(12)) / math.sqrt(200))


def test_a_duration_ends_a_closed_loop():
    """No request is sent after the duration; the last reply is awaited, and pauses are cut short."""
    done, transport, _ = execute(ClosedLoop(1, duration=1.05))
    assert transport.arrivals == pytest.approx([n / 10 for n in range(11)])
    assert (done.stop_reason, done.duration) == ("duration", pytest.approx(1.1))
    done, transport, _ = execute(ClosedLoop(3, duration=1.0, think=50))
    assert (len(transport.arrivals), done.stop_reason, done.duration) == (3, "duration", pytest.approx(1.0))


def test_the_limit_reached_first_is_the_stop_reason():
    """With both a count and a duration, the run's stop reason is the one that was reached first."""
    assert execute(ClosedLoop(1, count=5, duration=100))[0].stop_reason == "count"
    assert execute(ClosedLoop(1, count=5000, duration=1))[0].stop_reason == "duration"


def test_a_transport_that_never_suspends_does_not_block_the_loop():
    """Replies that arrive without an await still let other tasks of the event loop run."""

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


def test_a_ramp_up_spreads_the_start_of_the_clients():
    """Four clients with a ramp-up of 2 s send their first requests at 0, 0.5, 1 and 1.5 s; two shards start in turns."""
    load = ClosedLoop(4, count=4, think=9, ramp_up=2.0)
    assert execute(load)[1].arrivals == pytest.approx([0, 0.5, 1.0, 1.5])
    starts = [execute(load.shard(index, 2))[1].arrivals for index in range(2)]
    assert starts == [pytest.approx([0, 1.0]), pytest.approx([0.5, 1.5])]


@pytest.mark.parametrize(("clients", "slots", "service"), [(16, 8, 0.12), (8, 4, 0.102)])
def test_a_ramp_up_gives_the_throttles_of_steady_clients(clients, slots, service):
    """With think times Uniform(0, 1), 12 runs of 1,000 calls have as many throttles as Engset's formula says.

    Started at once, the clients of the first case are throttled seven times as often. Engset: a call of one of n clients
    finds all slots busy with the probability of c busy slots among the other n - 1 clients.
    """
    weights = [math.comb(clients - 1, busy) * (service / 0.5) ** busy for busy in range(slots + 1)]
    expected = 12 * 1000 * weights[slots] / sum(weights)

    def throttles(ramp_up):
        load = ClosedLoop(clients, count=1000, think=Uniform(0, 1), ramp_up=ramp_up)
        targets = [LossSystem(slots, service) for _ in range(12)]
        runs = [execute(replace(load, seed=seed), target)[0] for seed, target in enumerate(targets)]
        return sum(run.count(OutcomeCategory.THROTTLED) for run in runs)

    assert throttles(0.5) == pytest.approx(expected, rel=0.25)
    assert throttles(0.0) > 1.2 * expected


class LossSystem(FakeTransport):
    """Serves as many requests at a time as it has slots, and throttles the others."""

    def __init__(self, slots, service):
        super().__init__(lambda _n, _t: self.reply)
        self.slots, self.service, self.busy, self.reply = slots, service, 0, OK

    async def invoke(self, request):
        is_served = self.busy < self.slots
        self.reply = FakeReply(self.service) if is_served else THROTTLED
        self.busy += is_served
        try:
            return await super().invoke(request)
        finally:
            self.busy -= is_served
