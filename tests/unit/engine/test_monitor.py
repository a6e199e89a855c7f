"""The monitor: when the generator stood still, on the run's clock, and what that does to the figures (virtual time)."""

import asyncio
from dataclasses import replace
from random import Random

import pytest

from loadgen.analysis.verdict import ValidityLimits, judge
from loadgen.engine.engine import run
from loadgen.engine.monitor import TICK_INTERVAL
from loadgen.measurement.run import Run
from loadgen.workload.arrivals import even, poisson
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant
from tests.support.virtual_time import ONE_REQUEST, FakeReply, FakeTransport, MemorySink, VirtualClock, run_virtual


def blocked_run(load, *, stall, pause, latency=0.1, behave=None, sink=None) -> Run:
    """Run a load while something blocks the event loop for `stall` seconds after every `pause`."""
    sink = sink or MemorySink()

    async def block():
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(pause)
            loop.now += stall

    async def main():
        blocking = asyncio.create_task(block()) if stall else None
        transport = FakeTransport(behave or (lambda _n, _t: FakeReply(latency)))
        done = await run(load, transport, ONE_REQUEST, clock=VirtualClock(), sink=sink)
        if blocking is not None:
            blocking.cancel()
            await asyncio.gather(blocking, return_exceptions=True)
        return done

    done = run_virtual(main())
    return replace(done, samples=sink.all)


def figures(done, **limits):
    return {figure.name: figure for figure in judge(done, ValidityLimits(**limits)).figures}


def test_a_blocked_loop_is_recorded_as_stalls():
    """Blocked for 90 ms after every 250 ms: in 10 s 29 stalls, each between 0.25 + 0.34 k and 90 ms later."""
    done = blocked_run(OpenLoop(even(constant(97)), 10.0), stall=0.09, pause=0.25)
    stalls = done.generator_stats.stalls

    assert stalls.count == 29
    for number, (start, end) in enumerate(stalls.intervals):
        begin = 0.25 + 0.34 * number
        assert end == pytest.approx(begin + 0.09, abs=1e-6)
        assert begin - TICK_INTERVAL - 1e-6 <= start <= begin + 1e-6


def test_periodic_stalls_move_the_figures_by_what_they_added():
    """Stalls of 90 ms in every 340 ms delay 26 % of the 100 ms calls by 45 ms on average.

    The mean is moved by 0.265 x 45 = 11.9 ms. Of the delays, evenly spread up to 90 ms, a share of 0.05 / 0.265 = 19 %
    is above the p95: it is moved by 81 % of 90 ms. The median is not moved. The response time of calls due in a stall
    has the wait before sending as well. Without the stalls every figure is 100 ms.
    """
    found = figures(blocked_run(OpenLoop(even(constant(97)), 60.0), stall=0.09, pause=0.25))

    assert {round(figure.without_generator, 3) for name, figure in found.items() if name != "tps_average"} == {0.1}
    assert found["service_p50"].is_valid
    assert found["service_mean"].share == pytest.approx(0.119, abs=0.025)
    assert found["service_p95"].share == pytest.approx(0.73, abs=0.05)
    assert not found["service_mean"].is_valid
    assert found["response_mean"].share == pytest.approx(2 * 0.119, abs=0.05)


def test_one_stall_in_a_long_run_moves_only_what_lies_beyond_it():
    """A stall of 130 ms in 60 s delays 0.2 % of the calls: p99 and below are valid, p99.9 is a note, the run is VALID."""
    done = blocked_run(OpenLoop(even(constant(97)), 60.0), stall=0.13, pause=40.0)
    found = figures(done)

    moved = {name for name, figure in found.items() if not figure.is_valid}
    assert moved == {"service_max", "service_p999", "response_max", "response_p999"}
    assert judge(done).is_valid
    assert [note[:28] for note in judge(done).notes] == ["not valid: service_p999 is m"]


def test_a_stall_in_the_middle_of_a_call_moves_nothing():
    """Calls of 1 s overlap four stalls of 20 ms each; only those that end in one are delayed, by 10 ms of 1 s at most."""
    done = blocked_run(ClosedLoop(8, duration=60.0), stall=0.02, pause=0.25, latency=1.0)

    assert judge(done).is_valid


def test_a_loop_that_is_always_late_is_not_valid():
    """Blocked for 20 ms after every millisecond: no call of 100 ms is on time, and no figure is valid."""
    done = blocked_run(ClosedLoop(8, duration=20.0), stall=0.02, pause=0.001)
    found = figures(done)

    assert not found["service_mean"].is_valid
    assert not judge(done).is_valid
    assert "moved by the generator" in judge(done).reasons[0].problem


def test_a_loop_that_is_not_blocked_moves_nothing():
    """Without stalls each figure is exactly what was measured."""
    done = blocked_run(ClosedLoop(8, duration=20.0), stall=0.0, pause=1.0)

    assert done.generator_stats.stalls.count == 0
    assert {figure.share for figure in figures(done).values()} == {0.0}


def test_a_slow_disk_counts_as_a_stall():
    """Each write of samples takes 22 ms, five times a second: 11 % of the calls are delayed, and p95 is not valid."""

    class SlowDisk(MemorySink):
        def write_samples(self, batch):
            super().write_samples(batch)
            asyncio.get_running_loop().now += 0.022

    done = blocked_run(OpenLoop(even(constant(97)), 60.0), stall=0.0, pause=1.0, sink=SlowDisk())
    found = figures(done)

    assert not found["service_p95"].is_valid
    assert found["service_p50"].is_valid
    assert not judge(done).is_valid


def test_the_limit_of_the_effect_can_be_set():
    """A share of 12 % is valid when 20 % is accepted."""
    done = blocked_run(OpenLoop(even(constant(97)), 60.0), stall=0.09, pause=0.25)

    assert figures(done, effect=0.2)["service_mean"].is_valid


@pytest.mark.parametrize(
    ("latency_of", "stall", "pause"),
    [
        (lambda _n, random: random.lognormvariate(-2.3, 0.02), 0.4, 2.6),
        (lambda n, _random: 0.05 if n % 10 else 0.5, 0.09, 0.25),
        (lambda _n, random: random.uniform(0.05, 0.15), 0.09, 0.25),
        (lambda _n, random: random.lognormvariate(-2.3, 1.0), 0.04, 0.4),
    ],
    ids=["long stalls", "two kinds of calls", "evenly spread", "heavy tail"],
)
def test_the_figures_without_the_generator_are_those_of_the_target(latency_of, stall, pause):
    """For four kinds of models, each figure without the stalls is within 3 % of what the target really took."""
    random, true, sink = Random(3), [], MemorySink()

    def behave(number, _time):
        true.append(latency_of(number, random))
        return FakeReply(true[-1])

    load = OpenLoop(poisson(constant(60), seed=2), 60.0)
    done = blocked_run(load, stall=stall, pause=pause, behave=behave, sink=sink)
    ordered = sorted(true)

    for name, percent in (("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99)):
        found = figures(done)[f"service_{name}"]
        assert found.without_generator == pytest.approx(ordered[-(-percent * len(ordered) // 100) - 1], rel=0.03)
    assert figures(done)["service_mean"].without_generator == pytest.approx(sum(true) / len(true), rel=0.03)
