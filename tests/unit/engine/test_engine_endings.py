"""How a run ends, in virtual time: every limit, every stop, every fault, and the books afterwards."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.engine.engine import run
from loadgen.errors import WriteError
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.workload.arrivals import even, poisson
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant
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

# -- ends -------------------------------------------------------------------------------------------------------------


def test_an_error_count_ends_a_step():
    """The third error is the last request of a single client; refusals and failures both count."""
    says = [OK, THROTTLED, OK, FAILED, OK, THROTTLED, OK, OK]
    step = Step(None, ClosedLoop(1, count=1000), error_limit=ErrorLimit(count=3))
    done, far, _ = execute(step, FakeTransport(lambda n, _t: says[n]))
    assert (done.stop_reason, len(far.arrivals), done.scheduled) == ("errors", 6, 6)


def test_an_error_share_ends_a_step():
    """Every second answer fails: with a share of 0.4 from the 20th answer on, the 20th is the last."""
    step = Step(None, ClosedLoop(1, count=1000), error_limit=ErrorLimit(share=0.4, at_least=20))
    done, far, _ = execute(step, FakeTransport(lambda n, _t: FAILED if n % 2 else OK))
    assert (done.stop_reason, len(far.arrivals)) == ("errors", 20)
    step = Step(None, ClosedLoop(1, count=100), error_limit=ErrorLimit(share=0.5, at_least=20))
    assert execute(step, FakeTransport(lambda n, _t: FAILED if n % 2 else OK))[0].stop_reason == "count"


def test_what_was_dropped_is_no_answer():
    """A share of errors is a share of the answers: dropped arrivals do not thin it out."""
    load = OpenLoop(even(constant(100)), duration=100, max_in_flight=1)
    step = Step(None, load, error_limit=ErrorLimit(share=0.5, at_least=4))
    done, far, _ = execute(step, FakeTransport(lambda _n, _t: FakeReply(0.995, 500, "InternalFailure")))
    assert (done.stop_reason, len(far.arrivals)) == ("errors", 4)


@pytest.mark.parametrize("kind", ["open", "closed"])
def test_stop_ends_a_load_at_once(kind):
    """Nothing is sent after `stop`; what is under way is answered; the run says that it was stopped."""
    load = OpenLoop(even(constant(10)), duration=100) if kind == "open" else ClosedLoop(1, count=10_000)
    done, far, _ = execute(load, stop_at=2.05)
    assert (done.stop_reason, len(far.arrivals), done.count(OutcomeCategory.OK)) == ("stop", 21, 21)
    assert done.duration == pytest.approx(2.1)


@pytest.mark.parametrize("load", [OpenLoop(even(constant(10)), duration=9), ClosedLoop(3, count=10)])
def test_a_load_that_is_stopped_before_it_starts_sends_nothing(load):
    """`stop` was set before: no request is scheduled."""

    async def main():
        stop = asyncio.Event()
        stop.set()
        return await run(load, far, ONE_REQUEST, clock=VirtualClock(), stop=stop)

    far = FakeTransport()
    done = run_virtual(main())
    assert (done.scheduled, far.arrivals, done.stop_reason) == (0, [], "stop")


@pytest.mark.parametrize("load", [OpenLoop(even(constant(10)), duration=3), ClosedLoop(30, duration=3)])
def test_what_is_not_answered_in_time_is_cut_short(load):
    """Answers take an hour: after the drain every request in flight is cancelled, recorded so, and has no latency."""
    done, far, kept = execute(load, FakeTransport(lambda _n, _t: FakeReply(3600)), drain=5)
    assert (done.scheduled, done.tally.counts) == (30, {Outcome.CANCELLED_IN_FLIGHT: 30})
    ended = 2.9 if done.is_open_loop else 3.0
    assert done.duration == pytest.approx(ended + 5)
    assert np.isnan(kept.all["sent"]).all()
    assert far.in_flight == 0


def test_grace_is_for_stops_and_drain_for_the_rest():
    """After `stop` requests in flight are given the grace time, not the drain time."""
    done, *_ = execute(
        OpenLoop(even(constant(1)), duration=50),
        FakeTransport(lambda _n, _t: FakeReply(3600)),
        drain=500,
        grace=2,
        stop_at=4.5,
    )
    assert (done.duration, done.tally.counts) == (pytest.approx(6.5), {Outcome.CANCELLED_IN_FLIGHT: 5})


@pytest.mark.parametrize("clients", [1, 7])
def test_no_grace_at_all_cuts_at_once(clients):
    """A grace of 0 loses no request from the books."""
    done, *_ = execute(ClosedLoop(clients, duration=9), FakeTransport(lambda _n, _t: FakeReply(3)), grace=0, stop_at=1)
    assert (done.duration, done.tally.counts) == (pytest.approx(1), {Outcome.CANCELLED_IN_FLIGHT: clients})


def test_requests_answered_during_the_drain_count():
    """Half of them answer before the drain is over: they are ok, the others cut."""
    done, *_ = execute(
        OpenLoop(even(constant(10)), duration=1), FakeTransport(lambda n, _t: FakeReply(2 if n % 2 else 90)), drain=10
    )
    assert done.tally.counts == {Outcome.OK: 5, Outcome.CANCELLED_IN_FLIGHT: 5}


# -- conservation -----------------------------------------------------------------------------------------------------

network = [o for o in Outcome if 20 <= o < 40] + [Outcome.FD_EXHAUSTED, Outcome.PORTS_EXHAUSTED]
answers = st.one_of(
    st.just(OK),
    st.just(THROTTLED),
    st.just(FAILED),
    st.sampled_from(network).map(lambda o: FakeReply(0.02, error=o)),
    st.builds(
        FakeReply,
        delay=st.sampled_from([0.0, 0.003, 1.0, 200.0]),
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
    st.lists(answers, min_size=1, max_size=12),
    st.none() | st.floats(0, 3),
    st.sampled_from([0, 1, 30]),
    st.sampled_from([(0.0, 0), (0.3, 0), (0.0, 5), (0.3, 5)]),
    st.none() | st.just(ErrorLimit(count=3)) | st.just(ErrorLimit(share=0.3, at_least=5)),
)
def test_whatever_happens_the_books_balance(load, script, stop_at, drain, warmup, limit):
    """For any load, any mix of answers, any end: scheduled = sum of outcomes = records = histogram counts."""
    step = Step(None, load, warmup=warmup[0], warmup_calls=warmup[1], error_limit=limit)
    done, far, kept = execute(
        step, FakeTransport(lambda n, _t: script[n % len(script)]), stop_at=stop_at, drain=drain, grace=drain
    )
    dropped = int((kept.all["outcome"] == Outcome.DROPPED).sum())
    assert done.scheduled == len(far.arrivals) + dropped
    assert far.in_flight == 0
    # An answer that is not 2xx without an error code is never OK.
    assert sum(n for o, n in (done.tally.counts + done.tally.warmup).items() if o is Outcome.OK) <= sum(
        200 <= script[n % len(script)].status < 300
        and not script[n % len(script)].code
        and script[n % len(script)].error is None
        for n in range(len(far.arrivals))
    )


def test_every_error_is_named_once_and_before_its_samples():
    """Codes arrive numbered from 1, and each sample's number leads to its own outcome."""
    script = [THROTTLED, FAILED, FakeReply(0.01, error=Outcome.RESET), FakeReply(0.01, 503), OK]
    done, _, kept = execute(ClosedLoop(3, count=100), FakeTransport(lambda n, _t: script[n % 5]))
    assert [c.number for c in kept.codes] == [1, 2, 3, 4]
    assert {(c.outcome, c.code, c.status) for c in done.error_codes} == {
        (Outcome.THROTTLED, "ThrottlingException", 400),
        (Outcome.MODEL_ERROR, "ModelError", 424),
        (Outcome.RESET, "broken", 0),
        (Outcome.SERVER_5XX, "503", 503),
    }
    named = {0: Outcome.OK} | {c.number: c.outcome for c in kept.codes}
    assert all(named[s["code"]] == s["outcome"] for s in kept.all)


def test_samples_reach_the_sink_within_a_quarter_of_a_second():
    """What a kill can cost: every sample is written less than 250 ms after its end."""
    late = []

    class Timed(MemorySink):
        def write_samples(self, batch):
            super().write_samples(batch)
            late.append(asyncio.get_running_loop().time() - START_TIME - float(batch["done"].min()))

    execute(OpenLoop(poisson(constant(50), seed=1), duration=20), sink=Timed())
    assert max(late) < 0.25


def test_windows_come_while_the_run_lasts():
    """Each second's window is handed over within a fifth of a second after it ended."""
    seen = []
    execute(
        OpenLoop(even(constant(10)), duration=5),
        on_window=lambda w: seen.append(
            (w.index, w.count(OutcomeCategory.OK), asyncio.get_running_loop().time() - START_TIME)
        ),
    )
    assert [(index, count) for index, count, _ in seen] == [(0, 9), (1, 10), (2, 10), (3, 10), (4, 11)]
    assert all(index + 1 <= when < index + 1.21 for index, _, when in seen)


# -- faults of our own ------------------------------------------------------------------------------------------------

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
def test_a_bug_of_the_transport_ends_the_run_with_itself(load, bug):
    """Any exception that is no TransportError comes out as it is; no task stays, and what was recorded is kept."""
    far, kept = FakeTransport(lambda n, _t: FakeReply(0.1, exception=bug) if n == 17 else OK), MemorySink()
    with pytest.raises(type(bug)) as caught:
        run_virtual(run(load, far, ONE_REQUEST, clock=VirtualClock(), sink=kept))
    assert caught.value is bug
    assert far.in_flight == 0
    assert (kept.all["outcome"] == Outcome.OK).sum() >= 10


@pytest.mark.parametrize("load", [ClosedLoop(5, count=100), OpenLoop(even(constant(50)), duration=10)])
def test_a_sink_that_fails_ends_the_run_with_its_error(load):
    """A full disk is a WriteError, once, within a fifth of a second; nothing more is sent."""
    error = WriteError("no space")
    far = FakeTransport()
    with pytest.raises(WriteError) as caught:
        run_virtual(run(load, far, ONE_REQUEST, clock=VirtualClock(), sink=MemorySink(error=error)))
    assert caught.value is error
    assert max(far.arrivals) <= 0.4
    assert far.in_flight == 0


def test_a_gauge_that_fails_ends_the_run_with_its_error():
    """An exception in `on_window` is not swallowed."""

    def broken(_window):
        raise ZeroDivisionError("gauge")

    with pytest.raises(ZeroDivisionError, match="gauge"):
        run_virtual(run(ClosedLoop(1, count=100), FakeTransport(), ONE_REQUEST, clock=VirtualClock(), on_window=broken))


@pytest.mark.parametrize(
    "load",
    [ClosedLoop(3, count=12, think=0.05), OpenLoop(even(constant(20)), duration=1.0, max_in_flight=2)],
    ids=["closed", "open"],
)
def test_a_run_can_be_cancelled_at_every_turn_of_the_loop(load):
    """Cancelled at the 0th, 1st, 2nd ... turn until it ends by itself: CancelledError each time, and no task stays."""

    async def main(turns):
        far, kept = FakeTransport(), MemorySink()
        task = asyncio.create_task(run(load, far, ONE_REQUEST, clock=VirtualClock(), sink=kept, window=0.3))
        loop = asyncio.get_running_loop()
        for _ in range(turns):
            if task.done():
                break
            # One turn of the loop: whatever is ready runs once, and time jumps if nothing is.
            await asyncio.sleep(0) if loop._ready or not loop._scheduled else await _next_timer(loop)
        cancelled = task.cancel()
        result = await asyncio.gather(task, return_exceptions=True)
        assert far.in_flight == 0
        assert len(asyncio.all_tasks()) <= 2
        return cancelled, result[0], kept

    turns = 0
    while True:
        cancelled, result, kept = run_virtual(main(turns))
        if not cancelled:
            break
        assert isinstance(result, asyncio.CancelledError)
        assert len(set(kept.all["seq"].tolist())) == len(kept.all)
        turns += 1
    assert turns > 40
    assert result.stop_reason in ("count", "schedule")


async def _next_timer(loop: VirtualLoop) -> None:
    """Let time jump to the next timer, and its callbacks run."""
    woken = loop.create_future()
    loop.call_at(loop._scheduled[0]._when, woken.set_result, None)
    await woken
