"""The life of a run in virtual time: settings, limits, stops, failures, and the counts afterwards."""

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.engine import run
from loadgen.errors import DataError, UsageError, WriteError
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.workload.arrivals import even, poisson
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant, ramp
from loadgen.workload.step import ErrorLimit, Step
from tests.support.virtual_time import (
    FAILED,
    OK,
    ONE_REQUEST,
    START_TIME,
    THROTTLED,
    FakeReply,
    FakeTransport,
    MemorySink,
    VirtualClock,
    VirtualLoop,
    execute,
    run_virtual,
)


def test_target_and_achieved_rate_exclude_the_drain():
    """A slow target does not lower the achieved rate; an early stop does not lower the target rate."""
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


def test_a_closed_loop_has_no_response_histogram():
    """In a closed loop the response time is the service time, so only service times are recorded."""
    done, *_ = execute(ClosedLoop(2, count=10))
    assert not done.is_open_loop
    assert all(h.total == 0 for h in done.tally.response.values())


def test_an_empty_list_of_requests_is_rejected():
    """No requests raise a DataError before anything is sent."""
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
def test_invalid_settings_are_rejected(bad):
    """A window of 0 s or another invalid setting raises a UsageError before anything is sent."""
    transport = FakeTransport()
    with pytest.raises(UsageError):
        asyncio.run(asyncio.wait_for(run(ClosedLoop(1, count=1), transport, ONE_REQUEST, **bad), 5))
    assert transport.arrivals == []


def test_an_error_count_stops_a_step():
    """With an error limit of 3 the third error is the last request; throttled and failed requests count."""
    replies = [OK, THROTTLED, OK, FAILED, OK, THROTTLED, OK, OK]
    step = Step(None, ClosedLoop(1, count=1000), error_limit=ErrorLimit(count=3))
    done, transport, _ = execute(step, FakeTransport(lambda n, _t: replies[n]))
    assert (done.stop_reason, len(transport.arrivals), done.scheduled) == ("errors", 6, 6)


def test_an_error_share_stops_a_step():
    """With every second request failing and a share of 0.4 from 20 requests on, the 20th is the last."""
    step = Step(None, ClosedLoop(1, count=1000), error_limit=ErrorLimit(share=0.4, at_least=20))
    done, transport, _ = execute(step, FakeTransport(lambda n, _t: FAILED if n % 2 else OK))
    assert (done.stop_reason, len(transport.arrivals)) == ("errors", 20)
    step = Step(None, ClosedLoop(1, count=100), error_limit=ErrorLimit(share=0.5, at_least=20))
    assert execute(step, FakeTransport(lambda n, _t: FAILED if n % 2 else OK))[0].stop_reason == "count"


def test_dropped_arrivals_do_not_count_for_the_error_share():
    """The error share is of completed requests, which dropped arrivals are not."""
    load = OpenLoop(even(constant(100)), duration=100, max_in_flight=1)
    step = Step(None, load, error_limit=ErrorLimit(share=0.5, at_least=4))
    done, transport, _ = execute(step, FakeTransport(lambda _n, _t: FakeReply(0.995, 500, "InternalFailure")))
    assert (done.stop_reason, len(transport.arrivals)) == ("errors", 4)


@pytest.mark.parametrize("kind", ["open", "closed"])
def test_stop_ends_the_load_at_once(kind):
    """Nothing is sent after `stop`, requests in flight complete, and the stop reason is `stop`."""
    load = OpenLoop(even(constant(10)), duration=100) if kind == "open" else ClosedLoop(1, count=10_000)
    done, transport, _ = execute(load, stop_at=2.05)
    assert (done.stop_reason, len(transport.arrivals), done.count(OutcomeCategory.OK)) == ("stop", 21, 21)
    assert done.duration == pytest.approx(2.1)


@pytest.mark.parametrize("load", [OpenLoop(even(constant(10)), duration=9), ClosedLoop(3, count=10)])
def test_a_stop_before_the_start_sends_nothing(load):
    """When `stop` is already set, no request is scheduled."""

    async def main():
        stop = asyncio.Event()
        stop.set()
        return await run(load, transport, ONE_REQUEST, clock=VirtualClock(), stop=stop)

    transport = FakeTransport()
    done = run_virtual(main())
    assert (done.scheduled, transport.arrivals, done.stop_reason) == (0, [], "stop")


@pytest.mark.parametrize("load", [OpenLoop(even(constant(10)), duration=3), ClosedLoop(30, duration=3)])
def test_requests_without_a_reply_after_the_drain_are_cancelled(load):
    """With replies after an hour, every request in flight is cancelled after the drain and recorded without a latency."""
    done, transport, sink = execute(load, FakeTransport(lambda _n, _t: FakeReply(3600)), drain=5)
    assert (done.scheduled, done.tally.counts) == (30, {Outcome.CANCELLED_IN_FLIGHT: 30})
    ended = 2.9 if done.is_open_loop else 3.0
    assert done.duration == pytest.approx(ended + 5)
    assert np.isnan(sink.all["sent"]).all()
    assert transport.in_flight == 0


def test_grace_replaces_the_drain_after_a_stop():
    """After `stop`, requests in flight have the grace time, not the drain time."""
    done, *_ = execute(
        OpenLoop(even(constant(1)), duration=50),
        FakeTransport(lambda _n, _t: FakeReply(3600)),
        drain=500,
        grace=2,
        stop_at=4.5,
    )
    assert (done.duration, done.tally.counts) == (pytest.approx(6.5), {Outcome.CANCELLED_IN_FLIGHT: 5})


@pytest.mark.parametrize("clients", [1, 7])
def test_a_grace_of_zero_cancels_at_once(clients):
    """With a grace of 0 the requests in flight are cancelled at once and all recorded."""
    done, *_ = execute(ClosedLoop(clients, duration=9), FakeTransport(lambda _n, _t: FakeReply(3)), grace=0, stop_at=1)
    assert (done.duration, done.tally.counts) == (pytest.approx(1), {Outcome.CANCELLED_IN_FLIGHT: clients})


def test_requests_completed_during_the_drain_count():
    """Of ten requests, the five that complete during the drain are ok and the others are cancelled."""
    done, *_ = execute(
        OpenLoop(even(constant(10)), duration=1), FakeTransport(lambda n, _t: FakeReply(2 if n % 2 else 90)), drain=10
    )
    assert done.tally.counts == {Outcome.OK: 5, Outcome.CANCELLED_IN_FLIGHT: 5}


network = [o for o in Outcome if 20 <= o < 40] + [Outcome.FD_EXHAUSTED, Outcome.PORTS_EXHAUSTED]

fake_replies = st.one_of(
    st.just(OK),
    st.just(THROTTLED),
    st.just(FAILED),
    st.sampled_from(network).map(lambda o: FakeReply(0.02, error=o)),
    st.builds(
        FakeReply,
        delay=st.sampled_from([0.0, 0.003, 0.7, 4.0]),
        status=st.integers(0, 999),
        code=st.sampled_from(["", "ThrottlingException", "ModelError", "NeverHeardOf", "x" * 300, "\u2028"]),
        message=st.sampled_from(["", "out of memory", "m" * 1000]),
    ),
)

loads = st.one_of(
    st.builds(ClosedLoop, st.integers(1, 9), count=st.integers(1, 60), backoff=st.sampled_from([0.0, 0.1])),
    st.builds(ClosedLoop, st.integers(1, 9), duration=st.sampled_from([0.5, 3.0]), think=st.just(0.05)),
    st.builds(
        OpenLoop,
        st.sampled_from([even(constant(40)), poisson(constant(40), seed=1)]),
        duration=st.sampled_from([0.5, 2.0]),
        max_in_flight=st.sampled_from([1, 3, 1000]),
    ),
)


@settings(max_examples=150)
@given(
    loads,
    st.lists(fake_replies, min_size=1, max_size=12),
    st.none() | st.floats(0, 3),
    st.sampled_from([0, 0.5, 3]),
    st.sampled_from([(0.0, 0), (0.3, 0), (0.0, 5), (0.3, 5)]),
    st.none() | st.just(ErrorLimit(count=3)) | st.just(ErrorLimit(share=0.3, at_least=5)),
)
def test_the_counts_always_agree(load, script, stop_at, drain, warmup, limit):
    """For any load, any mix of replies and any end: scheduled = outcomes = samples = histogram counts."""
    step = Step(None, load, warmup=warmup[0], warmup_calls=warmup[1], error_limit=limit)
    done, transport, sink = execute(
        step, FakeTransport(lambda n, _t: script[n % len(script)]), stop_at=stop_at, drain=drain, grace=drain
    )
    dropped = int((sink.all["outcome"] == Outcome.DROPPED).sum())
    assert done.scheduled == len(transport.arrivals) + dropped
    assert transport.in_flight == 0
    # Only a 2xx reply without an error code is OK.
    assert sum(n for o, n in (done.tally.counts + done.tally.warmup).items() if o is Outcome.OK) <= sum(
        200 <= script[n % len(script)].status < 300
        and not script[n % len(script)].code
        and script[n % len(script)].error is None
        for n in range(len(transport.arrivals))
    )


def test_samples_reach_the_sink_within_a_quarter_of_a_second():
    """Every sample is written less than 250 ms after its request completed, so a killed process loses no more."""
    late = []

    class Timed(MemorySink):
        def write_samples(self, batch):
            super().write_samples(batch)
            late.append(asyncio.get_running_loop().time() - START_TIME - float(batch["done"].min()))

    execute(OpenLoop(poisson(constant(50), seed=1), duration=20), sink=Timed())
    assert max(late) < 0.25


def test_windows_are_reported_during_the_run():
    """Each window is passed on within 0.2 s after its end."""
    seen = []
    execute(
        OpenLoop(even(constant(10)), duration=5),
        on_window=lambda w: seen.append(
            (w.index, w.count(OutcomeCategory.OK), asyncio.get_running_loop().time() - START_TIME)
        ),
    )
    assert [(index, count) for index, count, _ in seen] == [(0, 9), (1, 10), (2, 10), (3, 10), (4, 11)]
    assert all(index + 1 <= when < index + 1.21 for index, _, when in seen)


BUGS = [
    RuntimeError("bug"),
    ValueError("bug"),
    KeyError("bug"),
    AssertionError("bug"),
    TimeoutError("bug"),
    OSError("bug"),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("load", [ClosedLoop(5, count=100), OpenLoop(even(constant(50)), duration=10)])
def test_an_unexpected_exception_of_the_transport_ends_the_run(load, bug):
    """An exception that is not a TransportError propagates unchanged; no task is left, and the samples so far are written."""
    transport, sink = FakeTransport(lambda n, _t: FakeReply(0.1, exception=bug) if n == 17 else OK), MemorySink()
    with pytest.raises(type(bug)) as caught:
        run_virtual(run(load, transport, ONE_REQUEST, clock=VirtualClock(), sink=sink))
    assert caught.value is bug
    assert transport.in_flight == 0
    assert (sink.all["outcome"] == Outcome.OK).sum() >= 10


@pytest.mark.parametrize("load", [ClosedLoop(5, count=100), OpenLoop(even(constant(50)), duration=10)])
def test_a_failing_sink_ends_the_run(load):
    """A WriteError of the sink propagates within 0.2 s, and nothing more is sent."""
    error = WriteError("no space")
    transport = FakeTransport()
    with pytest.raises(WriteError) as caught:
        run_virtual(run(load, transport, ONE_REQUEST, clock=VirtualClock(), sink=MemorySink(error=error)))
    assert caught.value is error
    assert max(transport.arrivals) <= 0.4
    assert transport.in_flight == 0


def test_a_failing_window_callback_ends_the_run():
    """An exception in `on_window` propagates."""

    def broken(_window):
        raise ZeroDivisionError("gauge")

    with pytest.raises(ZeroDivisionError, match="gauge"):
        run_virtual(run(ClosedLoop(1, count=100), FakeTransport(), ONE_REQUEST, clock=VirtualClock(), on_window=broken))


@pytest.mark.parametrize(
    "load",
    [ClosedLoop(3, count=12, think=0.05), OpenLoop(even(constant(20)), duration=0.5, max_in_flight=2)],
    ids=["closed", "open"],
)
def test_a_run_can_be_cancelled_at_every_iteration_of_the_loop(load):
    """Cancelled at each iteration of the event loop in turn, the run raises CancelledError and leaves no task."""

    async def main(turns):
        transport, sink = FakeTransport(), MemorySink()
        task = asyncio.create_task(run(load, transport, ONE_REQUEST, clock=VirtualClock(), sink=sink, window=0.3))
        loop = asyncio.get_running_loop()
        for _ in range(turns):
            if task.done():
                break
            # One turn of the loop: whatever is ready runs once, and time jumps if nothing is.
            await asyncio.sleep(0) if loop._ready or not loop._scheduled else await _next_timer(loop)
        cancelled = task.cancel()
        result = await asyncio.gather(task, return_exceptions=True)
        assert transport.in_flight == 0
        assert len(asyncio.all_tasks()) <= 2
        return cancelled, result[0], sink

    turns = 0
    while True:
        cancelled, result, sink = run_virtual(main(turns))
        if not cancelled:
            break
        assert isinstance(result, asyncio.CancelledError)
        assert len(set(sink.all["seq"].tolist())) == len(sink.all)
        turns += 1
    assert turns > 40
    assert result.stop_reason in ("count", "schedule")


async def _next_timer(loop: VirtualLoop) -> None:
    """Let time jump to the next timer, and its callbacks run."""
    woken = loop.create_future()
    loop.call_at(loop._scheduled[0]._when, woken.set_result, None)
    await woken
