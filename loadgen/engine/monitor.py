"""Self-monitoring of the load generator: CPU, event loop lag, stalls, send lag, connections and garbage collection.

If the generator stands still or saturates, latencies include its own queueing. This module records how late it was and
when; the verdict (analysis) works out what that changed in each figure.
"""

import contextlib
import gc
import os
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from loadgen.engine.clock import Clock
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.histogram import Histogram
from loadgen.measurement.sample import NEW_CONNECTION
from loadgen.measurement.stalls import StallRecorder

# Seconds between two measurements of loop lag. Every stall of that length is seen, a shorter one in proportion to its
# length. 200 wake-ups per second cost 0.5 % of a core.
TICK_INTERVAL = 0.005
# The time for which a thread was ready and the kernel ran something else, in nanoseconds, is the second number.
# Source: Linux, Documentation/scheduler/sched-stats.rst.
_SCHEDSTAT = "/proc/thread-self/schedstat"


@dataclass(slots=True)
class GeneratorMonitor:
    """Collects the generator statistics of one run.

    Args:
        clock: the clock of the run.
        origin: start of the run on the clock; stalls are recorded in seconds from it.
    """

    clock: Clock
    origin: float = 0.0
    stalls: StallRecorder = field(default_factory=StallRecorder)
    loop_lag: Histogram = field(default_factory=Histogram)
    send_lag: Histogram = field(default_factory=Histogram)
    pool_waits: int = 0
    pool_wait_max: float = 0.0
    connections_opened: int = 0
    loop_lag_max: float = 0.0
    send_lag_max: float = 0.0
    last_sent: float = 0.0
    _saturated: float = 0.0
    _longest_saturated: float = 0.0
    _gc_pauses: int = 0
    _gc_pause_max: float = 0.0
    _gc_started: float = 0.0
    _gc_since_tick: float = 0.0
    _cpu_at_start: float = 0.0
    _started: float = 0.0
    _active: float = 0.0  # seconds and CPU seconds of the blocks that have ended
    _cpu: float = 0.0
    _runqueue_wait: float = 0.0
    _wall_clock_change: float = 0.0

    async def run(self) -> None:
        """Measure the loop lag every TICK_INTERVAL seconds and the CPU share every second, until cancelled.

        Called once for each block of a run; the statistics are those of all blocks.
        """
        now = self.clock.now
        self._started, self._cpu_at_start = now(), time.thread_time()
        last_check, last_cpu = self._started, self._cpu_at_start
        due = last_run = self._started
        runqueue_wait_at_start, wall_clock_at_start = _read_runqueue_wait(), _wall_clock_offset()
        lags: list[float] = []
        gc.callbacks.append(self._on_gc)
        try:
            while True:
                due += TICK_INTERVAL
                await self.clock.sleep_until(due)
                woken = now()
                # Garbage collections have been recorded with their own, exact intervals.
                lateness = woken - due - self._gc_since_tick
                self.stalls.add(last_run - self.origin, woken - self.origin, lateness)
                last_run, self._gc_since_tick = woken, 0.0
                lags.append(woken - due)
                # A tick that a stall skipped is late as well, and counts with its own lag: otherwise a stall of one
                # second would be a single late tick among a hundred.
                while due + TICK_INTERVAL <= woken:
                    due += TICK_INTERVAL
                    lags.append(woken - due)
                if woken - last_check >= 1.0:
                    last_check, last_cpu = self._check_saturation(last_check, last_cpu)
                    self._record_loop_lag(lags)
                    change = abs(_wall_clock_offset() - wall_clock_at_start)
                    self._wall_clock_change = max(self._wall_clock_change, change)
        finally:
            gc.callbacks.remove(self._on_gc)
            self._record_loop_lag(lags)
            self._check_saturation(last_check, last_cpu)  # a block may be shorter than a second
            self._active += now() - self._started
            self._cpu += time.thread_time() - self._cpu_at_start
            self._runqueue_wait += _read_runqueue_wait() - runqueue_wait_at_start

    def _check_saturation(self, last_check: float, last_cpu: float) -> tuple[float, float]:
        """Extend the current stretch of CPU saturation, or end it; return the new reference values."""
        now, cpu = self.clock.now(), time.thread_time()
        self._saturated = self._saturated + now - last_check if cpu - last_cpu > 0.9 * (now - last_check) else 0.0
        self._longest_saturated = max(self._longest_saturated, self._saturated)
        return now, cpu

    def _record_loop_lag(self, lags: list[float]) -> None:
        if lags:
            self.loop_lag.record_values(np.maximum(lags, 0.0))
            self.loop_lag_max = max(self.loop_lag_max, *lags)
            lags.clear()

    def _on_gc(self, phase: Literal["start", "stop"], info: dict[str, Any]) -> None:
        now = self.clock.now()
        if phase == "start":
            self._gc_started = now
            return
        pause = now - self._gc_started
        self._gc_pause_max = max(self._gc_pause_max, pause)
        self._gc_pauses += info["generation"] == 2
        self._gc_since_tick += pause
        self.stalls.add(self._gc_started - self.origin, now - self.origin, pause)

    def record_batch(self, samples: NDArray[np.void]) -> None:
        """Record the send lag, pool waits and new connections of a batch of samples, dtype SAMPLE."""
        lag = samples["sent"] - samples["scheduled"]
        lag = lag[~np.isnan(lag)]
        if lag.size:
            self.send_lag.record_values(np.maximum(lag, 0.0))
            self.send_lag_max = max(self.send_lag_max, float(lag.max()))
            self.last_sent = max(self.last_sent, float(np.nanmax(samples["sent"])))
        self.pool_waits += int(np.count_nonzero(samples["pool_wait"] > 0))
        self.pool_wait_max = max(self.pool_wait_max, float(samples["pool_wait"].max()))
        self.connections_opened += int(np.count_nonzero(samples["flags"] & NEW_CONNECTION))

    def snapshot(self, *, scheduled: int, dropped: int, send_duration: float, target_rate: float) -> GeneratorStats:
        """Return the statistics at the end of the run.

        Args:
            scheduled: number of scheduled requests.
            dropped: number of scheduled requests that were not sent.
            send_duration: length of the schedule in seconds, without the drain.
            target_rate: requests per second of the load; 0 in a closed loop.
        """
        lag, send = self.loop_lag, self.send_lag
        return GeneratorStats(
            cpu_share=self._cpu / max(self._active, 1e-9),
            longest_saturated=self._longest_saturated,
            loop_lag_p99=lag.percentile(99) if lag.total else 0.0,
            loop_lag_max=self.loop_lag_max,
            send_lag_p50=send.percentile(50) if send.total else 0.0,
            send_lag_p99=send.percentile(99) if send.total else 0.0,
            send_lag_max=self.send_lag_max,
            pool_waits=self.pool_waits,
            pool_wait_max=self.pool_wait_max,
            connections_opened=self.connections_opened,
            dropped=dropped,
            gc_pauses=self._gc_pauses,
            gc_pause_max=self._gc_pause_max,
            target_rate=target_rate,
            # A generator that sends late takes longer than the schedule.
            achieved_rate=(scheduled - dropped) / max(send_duration, self.last_sent, 1e-9),
            runqueue_wait=self._runqueue_wait,
            wall_clock_change=self._wall_clock_change,
            stalls=self.stalls.snapshot(),
        )


def _read_runqueue_wait() -> float:
    """Return the seconds for which this thread has waited for a core; 0 where the kernel does not tell."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        descriptor = os.open(_SCHEDSTAT, os.O_RDONLY)
        try:
            return int(os.read(descriptor, 128).split()[1]) / 1e9
        finally:
            os.close(descriptor)
    return 0.0


def _wall_clock_offset() -> float:
    """Return the wall clock minus the monotonic clock; it changes when the wall clock is set or the machine sleeps."""
    return time.time() - time.monotonic()
