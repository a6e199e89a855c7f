"""Recorder: packs samples into a buffer on the hot path, and aggregates them into windows and totals in batches.

Recording a sample costs one struct.pack_into; numpy aggregates the buffer a few times per second.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import InternalError
from loadgen.measurement.error_table import ErrorTable
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome
from loadgen.measurement.sample import SAMPLE, SAMPLE_STRUCT, ErrorCode, checksum
from loadgen.measurement.tally import Tally, Window

_BUFFER_SAMPLES = 4096  # samples in the buffer: 256 KB


class Recorder:
    """Records samples and aggregates them into windows. For one event loop; not thread-safe.

    Args:
        on_samples: called with each batch, dtype SAMPLE, shape (n,), valid during the call only; exceptions propagate.
        interval: length of a window, in seconds.
        with_response: True in an open loop, where response time differs from service time.
        on_window: called with each closed window.
        on_error_code: called when an error occurs for the first time, before any sample that refers to it is passed on.
    """

    def __init__(
        self,
        *,
        on_samples: Callable[[NDArray[np.void]], None],
        interval: float,
        with_response: bool,
        on_window: Callable[[Window], None] | None = None,
        on_error_code: Callable[[ErrorCode], None] | None = None,
    ) -> None:
        self.tally = Tally()
        self.errors = ErrorTable(on_error_code)
        self.recorded = 0
        self._on_samples = on_samples
        self._interval = interval
        self._with_response = with_response
        self._on_window = on_window
        self._buffer = bytearray(_BUFFER_SAMPLES * SAMPLE_STRUCT.size)
        self._buffered_bytes = 0
        self._open_windows: dict[int, Tally] = {}
        self._next_window = 0  # index of the first window that is still open

    def add(
        self,
        seq: int,
        scheduled: float,
        sent: float,
        first_byte: float,
        done: float,
        request_bytes: int,
        response_bytes: int,
        request_index: int,
        pool_wait: float,
        outcome: Outcome,
        flags: int,
        code: int,
    ) -> None:
        """Record one sample, with instants in seconds from the run's start. O(1), no await; flushes a full buffer."""
        SAMPLE_STRUCT.pack_into(
            self._buffer,
            self._buffered_bytes,
            seq,
            scheduled,
            sent,
            first_byte,
            done,
            request_bytes,
            response_bytes,
            request_index,
            pool_wait,
            outcome,
            flags,
            code,
            0,
        )
        self._buffered_bytes += 64
        if self._buffered_bytes == len(self._buffer):
            self.flush()

    def flush(self) -> None:
        """Aggregate the buffered samples into windows and totals, and pass them on as one batch."""
        if not self._buffered_bytes:
            return
        samples = np.frombuffer(self._buffer, dtype=SAMPLE, count=self._buffered_bytes // SAMPLE_STRUCT.size)
        self._buffered_bytes = 0  # before writing: a batch whose write failed half-way must not be written again
        samples["check"] = checksum(samples)
        self.tally.record_samples(samples, with_response=self._with_response)
        # A reply that completed before its window closed but is recorded after it counts in the next window.
        indices = np.maximum((samples["done"] // self._interval).astype(np.int64), self._next_window)
        # Not np.unique: its first call imports numpy.ma, which blocks the event loop for tens of milliseconds and fails
        # when the process has no free file descriptor.
        for index in sorted(set(indices.tolist())):
            self._open_windows.setdefault(index, Tally()).record_samples(
                samples[indices == index], with_response=self._with_response
            )
        self._on_samples(samples)
        self.recorded += len(samples)

    def close_windows(self, now: float) -> None:
        """Flush, then close every window that ended by `now`; seconds from the run's start."""
        self.flush()
        while (self._next_window + 1) * self._interval <= now:
            self._close_window(self._interval)

    def finish(self, duration: float) -> None:
        """Flush and close all windows, the last one at `duration`."""
        self.flush()
        # A sample that completed exactly at the end, or has an instant of another clock, counts in the last window.
        last = max(self._next_window, math.ceil(duration / self._interval) - 1)
        for index in [index for index in self._open_windows if index > last]:
            self._open_windows.setdefault(last, Tally()).add(self._open_windows.pop(index))
        self.close_windows(duration)
        if self._open_windows or duration > self._next_window * self._interval:
            self._close_window(min(self._interval, max(0.0, duration - self._next_window * self._interval)))

    def _close_window(self, length: float) -> None:
        tally = self._open_windows.pop(self._next_window, None) or Tally()
        window = Window(
            self._next_window,
            self._next_window * self._interval,
            length,
            dict(tally.counts),
            tally.warmup.total(),
            {category: h.to_sparse() for category, h in tally.service.items() if h.total},
            {category: h.to_sparse() for category, h in tally.response.items() if h.total},
        )
        self._next_window += 1
        if self._on_window is not None:
            self._on_window(window)

    def check_conservation(self, scheduled: int) -> None:
        """Check that scheduled = sum of the outcome counts = recorded samples, and that the histograms agree.

        Raises:
            InternalError: a request was lost or counted twice.
        """
        completed = sum(self.tally.count(category) for category in COMPLETED_CATEGORIES)
        in_histograms = sum(h.total for h in self.tally.service.values())
        if not scheduled == self.tally.total == self.recorded or completed != in_histograms:
            raise InternalError(
                f"requests do not add up: {scheduled} scheduled, {self.tally.total} counted, "
                f"{self.recorded} recorded, {completed} completed, {in_histograms} in histograms",
                hint="this is a bug in loadgen; please report it with the run's directory",
            )
