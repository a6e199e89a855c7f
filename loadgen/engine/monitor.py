"""Watch: the generator's eye on itself. When it was the bottleneck, the numbers are not the target's.

Facts only; judging them is verdict.py's.
"""

import gc
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from loadgen.engine.clock import Clock
from loadgen.measurement.generator_stats import Watch
from loadgen.measurement.histogram import Histogram
from loadgen.measurement.sample import FRESH

TICK = 0.01  # seconds between two looks at the loop: ten times finer than the stall that spoils a run


@dataclass(slots=True)
class Watcher:
    """Collects the facts of one run while it lasts."""

    clock: Clock
    loop_lag: Histogram = field(default_factory=Histogram)
    send_lag: Histogram = field(default_factory=Histogram)
    waits: int = 0
    wait_max: float = 0.0
    connections_opened: int = 0
    loop_lag_max: float = 0.0
    send_lag_max: float = 0.0
    last_sent: float = 0.0
    _busy: float = 0.0
    _busiest: float = 0.0
    _gc_pauses: int = 0
    _gc_longest: float = 0.0
    _gc_began: float = 0.0
    _cpu_began: float = 0.0
    _began: float = 0.0

    async def tick(self) -> None:
        """Look at the loop every TICK seconds until cancelled."""
        now = self.clock.now
        self._began, self._cpu_began = now(), time.thread_time()
        looked, used = self._began, self._cpu_began
        due = self._began
        late: list[float] = []
        gc.callbacks.append(self._collected)
        try:
            while True:
                due += TICK
                await self.clock.until(due)
                at = now()
                late.append(at - due)
                # What a stall kept from being looked at was late as well: each look that it swallowed counts, or one
                # stall of a second would be one late look among a hundred.
                while due + TICK <= at:
                    due += TICK
                    late.append(at - due)
                if now() - looked >= 1.0:
                    looked, used = self._look(looked, used)
                    self._fold(late)
        finally:
            gc.callbacks.remove(self._collected)
            self._fold(late)

    def _look(self, looked: float, used: float) -> tuple[float, float]:
        """Add the second that passed to the busy stretch, or end the stretch."""
        now, cpu = self.clock.now(), time.thread_time()
        self._busy = self._busy + now - looked if cpu - used > 0.9 * (now - looked) else 0.0
        self._busiest = max(self._busiest, self._busy)
        return now, cpu

    def _fold(self, late: list[float]) -> None:
        if late:
            self.loop_lag.fold(np.maximum(late, 0.0))
            self.loop_lag_max = max(self.loop_lag_max, *late)
            late.clear()

    def _collected(self, phase: Literal["start", "stop"], info: dict[str, Any]) -> None:
        if phase == "start":
            self._gc_began = time.perf_counter()
            return
        self._gc_longest = max(self._gc_longest, time.perf_counter() - self._gc_began)
        self._gc_pauses += info["generation"] == 2

    def observe(self, samples: NDArray[np.void]) -> None:
        """Look at a batch of samples, dtype SAMPLE: how late they left, and what they met on the way."""
        lag = samples["sent"] - samples["scheduled"]
        lag = lag[~np.isnan(lag)]
        if lag.size:
            self.send_lag.fold(np.maximum(lag, 0.0))
            self.send_lag_max = max(self.send_lag_max, float(lag.max()))
            self.last_sent = max(self.last_sent, float(np.nanmax(samples["sent"])))
        self.waits += int(np.count_nonzero(samples["waited"] > 0))
        self.wait_max = max(self.wait_max, float(samples["waited"].max()))
        self.connections_opened += int(np.count_nonzero(samples["flags"] & FRESH))

    def seen(self, *, scheduled: int, dropped: int, sending: float, asked_rate: float) -> Watch:
        """Return what was seen, at the end of the run.

        Args:
            scheduled: requests that were due.
            dropped: how many of them were not sent.
            sending: seconds over which they were due; the drain is no part of it.
            asked_rate: requests a second that the load asked for.
        """
        lasted = max(self.clock.now() - self._began, 1e-9)
        lag, send = self.loop_lag, self.send_lag
        return Watch(
            cpu_share=(time.thread_time() - self._cpu_began) / lasted,
            busiest=self._busiest,
            loop_lag_p99=lag.percentile(99) if lag.total else 0.0,
            loop_lag_max=self.loop_lag_max,
            send_lag_p50=send.percentile(50) if send.total else 0.0,
            send_lag_p99=send.percentile(99) if send.total else 0.0,
            send_lag_max=self.send_lag_max,
            waits=self.waits,
            wait_max=self.wait_max,
            connections_opened=self.connections_opened,
            dropped=dropped,
            gc_pauses=self._gc_pauses,
            gc_longest=self._gc_longest,
            asked_rate=asked_rate,
            # Whoever sent late took longer than the schedule.
            achieved_rate=(scheduled - dropped) / max(sending, self.last_sent, 1e-9),
        )
