"""A generator that was starved says so, and one that was not is believed: real runs, each in a process of its own.

A clean run on a busy machine may truly be starved, by whoever else runs there. The tolerance: its INVALID is accepted
when the kernel's own books say that the process was kept from a core (bench/starved.py, EXCUSED_WAIT), and never otherwise.
"""

import asyncio
import sys

import pytest

from loadgen.engine.clock import Clock
from loadgen.engine.monitor import TICK_INTERVAL, GeneratorMonitor

linux = pytest.mark.skipif(sys.platform != "linux", reason="cores, schedstat and the oracle are Linux's")
SECONDS = 2.0

# kind -> a word of the reason that must be among those given
REASONS = {
    "hog": "late",
    "cap": "dropped",
    "stalls": "event loop blocked",
    "fds": "fd_exhausted",
    "saturated": "read late",
}


@linux
@pytest.mark.parametrize("kind", REASONS)
def test_a_starved_run_is_invalid_and_says_why(kind):
    """A competitor on the core, a cap at twice the rate, a blocked loop, too few descriptors, too many callers."""
    starved = pytest.importorskip("bench.starved")
    judged = starved.run_in_subprocess(kind, SECONDS)
    assert judged.is_invalid
    assert any(REASONS[kind] in reason for reason in judged.reasons), judged.reasons


@linux
@pytest.mark.parametrize("kind", ["clean_open", "clean_closed", "clean_http"])
def test_a_clean_run_is_valid(kind):
    """A load of a hundredth of what the engine can do is believed, unless the kernel kept the process waiting."""
    starved = pytest.importorskip("bench.starved")
    judged = starved.run_in_subprocess(kind, SECONDS)
    assert not judged.is_invalid or judged.is_excused, judged


@linux
def test_every_kind_of_run_is_tested():
    """No kind that `python -m bench.verdict` counts is left out here."""
    starved = pytest.importorskip("bench.starved")
    assert set(REASONS) == set(starved.STARVED)
    assert set(starved.CLEAN) == {"clean_open", "clean_closed", "clean_http"}


class Stopping(Clock):
    """A clock on which waiting takes no time, and the loop stands still from one instant until another."""

    def __init__(self, begin: float, end: float) -> None:
        self.time, self.begin, self.end = 0.0, begin, end

    def now(self) -> float:
        return self.time

    async def sleep_until(self, due: float) -> None:
        self.time = self.end if self.begin <= due < self.end else due
        if self.time > 10:
            raise asyncio.CancelledError


def test_the_ticker_counts_what_it_missed():
    """A quarter of a second in ten is 2.5 % of the time: whatever came then was late, not one tick of a thousand.

    Of 1,000 instants 10 ms apart 25 lie in the stall, late by 5 to 245 ms: the 990th in order is late by 145 ms.
    """
    watcher = GeneratorMonitor(Stopping(2.995, 3.245))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watcher.run())
    assert watcher.loop_lag.total == pytest.approx(10 / TICK_INTERVAL, abs=2)
    assert watcher.loop_lag.percentile(99) == pytest.approx(0.145, abs=0.011)
    assert watcher.loop_lag_max == pytest.approx(0.245, abs=0.001)
