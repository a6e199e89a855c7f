"""A run that is sent in blocks: it equals the same run in one piece, on a clock that stands still in between."""

import asyncio
import math
from contextlib import AsyncExitStack

import numpy as np
import pytest

from loadgen.engine.engine import open_run
from loadgen.errors import WriteError
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.scenario.rounds import round_order
from loadgen.workload.arrivals import even, poisson
from loadgen.workload.load import ClosedLoop, OpenLoop, Uniform
from loadgen.workload.rate import constant
from loadgen.workload.request import Request
from loadgen.workload.step import ErrorLimit, Step
from tests.support.virtual_time import (
    NANOSECOND,
    OK,
    ONE_REQUEST,
    START_TIME,
    THROTTLED,
    FakeReply,
    FakeTransport,
    MemorySink,
    VirtualClock,
    assert_counts_agree,
    execute,
    run_virtual,
)

MANY_REQUESTS = [Request(bytes([n])) for n in range(50)]


def by_number(number, _at):
    """Replies of many lengths, so that clients drift apart."""
    return FakeReply(0.02 + (number * 37 % 100) / 1000)


def execute_in_blocks(
    load, transport=None, *, block_size=20, standstill=100.0, stop_at=None, end_after=None, **options
):
    """Run a load in blocks on virtual time, `standstill` seconds apart; return the run, the transport and the sink.

    It is stopped `stop_at` seconds after its start, and ended as decided after `end_after` blocks.
    """
    transport, sink = transport or FakeTransport(by_number), MemorySink()

    async def main():
        stop = asyncio.Event()
        timer = asyncio.get_running_loop().call_at(START_TIME + (stop_at or 1e9), stop.set)
        async with open_run(
            load, transport, options.pop("requests", ONE_REQUEST), clock=VirtualClock(), sink=sink, stop=stop, **options
        ) as load_run:
            while not load_run.stop_reason:
                await load_run.send(block_size=block_size, round_number=len(load_run.blocks) + 1)
                if len(load_run.blocks) == end_after and not load_run.stop_reason:
                    load_run.end("decided")
                await asyncio.sleep(standstill)
            timer.cancel()
            return load_run.finish()

    done = run_virtual(main())
    assert_counts_agree(done, sink)
    return done, transport, sink


def instants(sink):
    """Return sequence numbers, sent and done of all samples, in the order of the schedule."""
    samples = np.sort(sink.all, order="seq")
    return samples["seq"], samples["sent"], samples["done"]


@pytest.mark.parametrize(
    "load",
    [
        ClosedLoop(1, count=95),
        ClosedLoop(1, count=95, think=Uniform(0.1, 0.9), seed=3),
        Step(None, ClosedLoop(1, count=95, think=0.3), warmup_calls=33),
        Step(None, ClosedLoop(1, count=95, think=0.3), warmup=7.5),
        ClosedLoop(1, duration=11.0, think=0.05),
    ],
    ids=["count", "think", "warm-up calls", "warm-up", "duration"],
)
def test_blocks_of_one_client_equal_one_piece(load):
    """Payloads, instants, windows and durations of 5 blocks with 100 s between them are those of an unbroken run."""
    whole, sent_whole, sink_whole = execute(load, FakeTransport(by_number), requests=MANY_REQUESTS)
    parts, sent_parts, sink_parts = execute_in_blocks(load, requests=MANY_REQUESTS)

    assert len(parts.blocks) >= 5
    assert sent_parts.bodies == sent_whole.bodies
    for one, other in zip(instants(sink_parts), instants(sink_whole), strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-9)
    assert parts.duration == pytest.approx(whole.duration)
    assert (parts.scheduled, parts.stop_reason) == (whole.scheduled, whole.stop_reason)
    assert parts.window_counts.tolist() == whole.window_counts.tolist()
    assert parts.measurement_start == pytest.approx(whole.measurement_start)
    assert parts.tally.service == whole.tally.service


def test_the_table_of_blocks_says_what_was_sent_when():
    """Each block has its first number, its count, and the run's clock at its start, which excludes the standstill."""
    done, transport, _ = execute_in_blocks(ClosedLoop(1, count=50), FakeTransport())

    assert [(b.round, b.first_seq, b.count) for b in done.blocks] == [(1, 0, 20), (2, 20, 20), (3, 40, 10)]
    assert [b.offset for b in done.blocks] == pytest.approx([0, 2, 4])
    assert [transport.arrivals[n] for n in (0, 20, 40)] == pytest.approx([0, 102, 204])
    assert done.duration == pytest.approx(5.0)


def test_a_run_in_one_piece_has_no_blocks():
    """The table is empty for a load that is sent at once."""
    assert execute(ClosedLoop(1, count=50))[0].blocks == ()


def test_several_clients_send_every_number_once():
    """Seven clients send exactly the block's calls in each block, and never more than seven at a time."""
    done, transport, sink = execute_in_blocks(ClosedLoop(7, count=100, think=0.2), block_size=30)

    assert [b.count for b in done.blocks] == [30, 30, 30, 10]
    assert sorted(sink.all["seq"].tolist()) == list(range(100))
    assert transport.most_in_flight <= 7
    assert done.generator_stats.send_lag_max == pytest.approx(0, abs=NANOSECOND)


def test_pauses_continue_in_the_next_block():
    """A client that had 0.3 s of its pause left when the clock stopped sends 0.3 s after it goes on."""
    # Client 0's call takes 0.1 s, client 1's 0.8 s; both think 1 s: 0.7 s have passed when the block ends at 0.8 s.
    transport = FakeTransport(lambda n, _t: FakeReply([0.1, 0.8][n % 2]))
    _, transport, _ = execute_in_blocks(ClosedLoop(2, count=4, think=1.0), transport, block_size=2)

    assert transport.arrivals == pytest.approx([0, 0, 100.8 + 0.3, 100.8 + 1.0])


def test_the_run_ends_with_its_last_reply():
    """The clients' pauses after the last request do not prolong a run."""
    done, _, _ = execute(ClosedLoop(3, count=7, think=50.0))

    assert done.duration == pytest.approx(50.1 + 50.1 + 0.1)


def test_errors_count_over_all_blocks():
    """An error limit of 3 stops the run at the third error, although each block has one only."""
    transport = FakeTransport(lambda n, _t: THROTTLED if n % 10 == 4 else OK)
    done, _, _ = execute_in_blocks(
        Step(None, ClosedLoop(1, count=100), error_limit=ErrorLimit(3)), transport, block_size=10
    )

    assert (done.scheduled, done.stop_reason) == (25, "errors")
    assert [block.count for block in done.blocks] == [10, 10, 5]


def test_a_stop_ends_the_block_in_progress():
    """A stop 1.05 s into the second block leaves the requests sent until then."""
    done, _, _ = execute_in_blocks(ClosedLoop(1, count=100), FakeTransport(), stop_at=2 + 100 + 1.05)

    assert (done.scheduled, done.stop_reason) == (31, "stop")


def test_a_decision_ends_a_run_between_blocks():
    """A run that is ended after two blocks has their requests and the reason."""
    done, _, sink = execute_in_blocks(ClosedLoop(2, count=100), end_after=2)

    assert (done.scheduled, len(sink.all), done.stop_reason) == (40, 40, "decided")


@pytest.mark.parametrize("arrivals", [even(constant(10)), poisson(constant(10), seed=2)], ids=["even", "poisson"])
def test_an_open_loop_keeps_the_gaps_of_its_schedule(arrivals):
    """Within a block and across two blocks arrivals are as far apart, on the run's clock, as in the schedule.

    Across two blocks the wait for the last replies is added.
    """
    load = OpenLoop(arrivals, duration=10)
    done, transport, sink = execute_in_blocks(load, FakeTransport(lambda _n, _t: FakeReply(0.35)), block_size=25)
    due = np.array([at for _, at in load])
    scheduled = np.sort(sink.all["scheduled"])
    gaps = np.diff(scheduled) - np.diff(due)
    ends = [block.first_seq - 1 for block in done.blocks[1:]]

    assert len(due) == done.scheduled
    assert np.allclose(gaps[ends], 0.35)
    assert np.abs(np.delete(gaps, ends)).max() < NANOSECOND
    assert done.stop_reason == "schedule"
    assert done.generator_stats.achieved_rate == pytest.approx(done.generator_stats.target_rate, rel=1e-6)
    assert transport.most_in_flight >= 3


def test_a_failed_write_ends_the_run():
    """An exception of the sink in the second block reaches the caller as it is, and no task is left."""

    async def main():
        sink = MemorySink()
        async with open_run(
            ClosedLoop(1, count=40), FakeTransport(), ONE_REQUEST, clock=VirtualClock(), sink=sink
        ) as load_run:
            await load_run.send(block_size=20, round_number=1)
            sink.error = WriteError("disk full")
            with pytest.raises(WriteError):
                await load_run.send(block_size=20, round_number=2)
            sink.error = None
        return sink

    assert len(run_virtual(main()).all) == 20


def test_throttled_calls_are_part_of_a_block():
    """A block counts requests whatever their outcome."""
    transport = FakeTransport(lambda n, _t: THROTTLED if n % 2 else OK)
    done, _, _ = execute_in_blocks(ClosedLoop(1, count=40), transport)

    assert [block.count for block in done.blocks] == [20, 20]
    assert (done.count(OutcomeCategory.OK), done.tally.counts[Outcome.THROTTLED]) == (20, 20)


def measure_three_equal_targets(block_size, drift):
    """Call three targets of equal latency, which changes with time, in rounds; return the mean latency of each."""

    async def main():
        sinks = [MemorySink() for _ in range(3)]
        async with AsyncExitStack() as stack:
            runs = [
                await stack.enter_async_context(
                    open_run(
                        ClosedLoop(1, count=200),
                        FakeTransport(lambda _n, at: FakeReply(drift(at))),
                        ONE_REQUEST,
                        clock=VirtualClock(),
                        sink=sink,
                    )
                )
                for sink in sinks
            ]
            for number in range(1, 200 // block_size + 1):
                for index in round_order(range(3), number, seed=4):
                    await runs[index].send(block_size=block_size, round_number=number)
        return [float((sink.all["done"] - sink.all["sent"]).mean()) for sink in sinks]

    return run_virtual(main())


@pytest.mark.parametrize(
    "drift",
    [lambda at: 0.1 + 0.001 * at, lambda at: 0.1 if at < 25 else 0.15, lambda at: 0.1 + 0.05 * math.sin(at / 30)],
    ids=["steady", "a step", "a wave"],
)
def test_a_drift_falls_on_all_targets_alike(drift):
    """Equal targets differ by less than 4 % in rounds of 20 calls, and by 8 to 80 % one after the other.

    The bound is that of a step from 0.1 to 0.15 s between two blocks of one round: one block of ten has the difference.
    """
    in_rounds, one_by_one = (measure_three_equal_targets(size, drift) for size in (20, 200))

    assert max(in_rounds) / min(in_rounds) < 1.04
    assert 1.08 < max(one_by_one) / min(one_by_one) < 1.8
