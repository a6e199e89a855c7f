"""Starved runs are INVALID and clean runs VALID: real runs, each in its own process.

Other load on the machine may starve a clean run too. Its INVALID is accepted only if the kernel kept the process
waiting for a core (EXCUSED_WAIT in tests/support/starved_runs.py).
"""

import asyncio
import sys

import pytest

from loadgen.engine.clock import Clock
from loadgen.engine.monitor import TICK_INTERVAL, GeneratorMonitor
from tests.support import starved_runs

linux = pytest.mark.skipif(sys.platform != "linux", reason="cores, schedstat and the oracle need Linux")
SECONDS = 2.0

# kind -> a text that one of the reasons must contain
REASONS = {
    "hog": "moved by the generator",
    "cap": "dropped",
    "stalls": "moved by the generator",
    "fds": "fd_exhausted",
    "saturated": "moved by the generator",
}


@linux
@pytest.mark.parametrize("kind", REASONS)
def test_a_starved_run_is_invalid_and_says_why(kind):
    """A starved run is INVALID and a reason names what starved it: CPU, in-flight cap, blocked loop, descriptors, callers (C100, C101)."""
    judged = starved_runs.run_in_subprocess(kind, SECONDS)
    assert judged.is_invalid
    assert any(REASONS[kind] in reason for reason in judged.reasons), judged.reasons


@linux
@pytest.mark.parametrize("kind", ["clean_open", "clean_closed", "clean_http"])
def test_a_clean_run_is_valid(kind):
    """A run with a hundredth of the load that the engine can carry is VALID, unless the kernel kept the process waiting."""
    judged = starved_runs.run_in_subprocess(kind, SECONDS)
    assert not judged.is_invalid or judged.is_excused, judged


@linux
def test_every_kind_of_run_is_tested():
    """Every kind of run that `python -m bench.verdict` makes is tested here."""
    assert set(REASONS) == set(starved_runs.STARVED)
    assert set(starved_runs.CLEAN) == {"clean_open", "clean_closed", "clean_http"}


class StallingClock(Clock):
    """A clock on which waiting takes no time, and whose loop is blocked between two times."""

    def __init__(self, begin: float, end: float) -> None:
        self.time, self.begin, self.end = 0.0, begin, end

    def now(self) -> float:
        return self.time

    async def sleep_until(self, due: float) -> None:
        self.time = self.end if self.begin <= due < self.end else due
        if self.time > 10:
            raise asyncio.CancelledError


def test_the_monitor_counts_missed_ticks():
    """A loop that is blocked for 250 ms in 10 s shows in the 99th percentile of its lag.

    Of 2,000 ticks 5 ms apart 50 lie in the stall, late by up to 250 ms: the 1,980th in rank is late by 150 ms.
    """
    monitor = GeneratorMonitor(StallingClock(2.995, 3.245))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(monitor.run())
    assert monitor.loop_lag.total == pytest.approx(10 / TICK_INTERVAL, abs=2)
    assert monitor.loop_lag.percentile(99) == pytest.approx(0.150, abs=0.011)
    assert monitor.loop_lag_max == pytest.approx(0.250, abs=0.005)
