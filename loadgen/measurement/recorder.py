"""Samples and windows: what is kept of each request, and what of each second.

A sample is one fixed record of 64 bytes, so that a file of them needs no index, survives a torn end and is read by
`numpy.fromfile(path, dtype=SAMPLE, clock_offset=64)`. The Recorder packs samples into one buffer on the hot path, and folds
the buffer into histograms a few times a second, handing each batch on; where files lie is results.py's.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import InternalError
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome
from loadgen.measurement.sample import _SAMPLE_STRUCT, SAMPLE, ErrorCode, checksum
from loadgen.measurement.tally import Tally, Window
from loadgen.redaction import redact_payload

assert _SAMPLE_STRUCT.size == SAMPLE.itemsize == 64  # noqa: S101 - our own invariant, checked once at import
_BUFFER_SAMPLES = 4096  # samples in the buffer: 256 KB
_MAX_ERROR_CODES = 0xFFFF  # what fits a sample; more would be an attack, not answers: the last number gathers the rest


class Recorder:
    """Takes samples on the hot path; folds and writes them when told. One loop, one thread.

    Args:
        on_samples: takes each batch, dtype SAMPLE, shape (n,), valid during the call only; its errors pass through.
        interval: seconds of a window.
        with_response: True in an open loop, where response time differs from service time.
        on_window: called with each closed window.
        on_error_code: called when an error is seen for the first time, before any sample that points to it is written.
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
        self.error_codes: dict[tuple[Outcome, str], ErrorCode] = {}
        self.recorded = 0
        self._on_samples = on_samples
        self._interval = interval
        self._with_response = with_response
        self._on_window = on_window
        self._on_error_code = on_error_code
        self._buffer = bytearray(_BUFFER_SAMPLES * _SAMPLE_STRUCT.size)
        self._buffered_bytes = 0
        self._open_windows: dict[int, Tally] = {}
        self._next_window = 0  # the first window that is not closed yet

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
        """Record one sample, instants in seconds from the run's start. O(1), no await; folds when full."""
        _SAMPLE_STRUCT.pack_into(
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

    def error_code_number(self, outcome: Outcome, code: str, status: int, message: str, body: bytes = b"") -> int:
        """Return the number that samples use for this error; its first message is kept, without the body's words."""
        known = self.error_codes.get((outcome, code))
        if known is None:
            if len(self.error_codes) == _MAX_ERROR_CODES:
                return _MAX_ERROR_CODES
            known = self.error_codes[outcome, code] = ErrorCode(
                len(self.error_codes) + 1, outcome, code[:128], status, redact_payload(message, body)[:256]
            )
            if self._on_error_code is not None:
                self._on_error_code(known)
        return known.number

    def flush(self) -> None:
        """Fold what the buffer holds into windows and totals, and write it: one write for the whole batch."""
        if not self._buffered_bytes:
            return
        samples = np.frombuffer(self._buffer, dtype=SAMPLE, count=self._buffered_bytes // _SAMPLE_STRUCT.size)
        self._buffered_bytes = 0  # now: a batch that cannot be kept must not be offered again behind its own torn half
        samples["check"] = checksum(samples)
        self.tally.record_samples(samples, with_response=self._with_response)
        # A reply can be stamped just before its window closed and recorded just after: it goes to the next one then.
        indices = np.maximum((samples["done"] // self._interval).astype(np.int64), self._next_window)
        # Not np.unique: its first call imports numpy.ma, which stops the loop for tens of milliseconds, and fails once
        # a run has used up its descriptors.
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
        # What completed on the last stroke, or was stamped by another clock, belongs to the last window.
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
            {column: h.to_sparse() for column, h in tally.service.items() if h.total},
            {column: h.to_sparse() for column, h in tally.response.items() if h.total},
        )
        self._next_window += 1
        if self._on_window is not None:
            self._on_window(window)

    def check_conservation(self, scheduled: int) -> None:
        """Assert the law of conservation: scheduled = each outcome's count = records = histogram counts.

        Raises:
            InternalError: a request was lost or counted twice.
        """
        answered = sum(self.tally.count(column) for column in COMPLETED_CATEGORIES)
        folded = sum(h.total for h in self.tally.service.values())
        if not scheduled == self.tally.total == self.recorded or answered != folded:
            raise InternalError(
                f"requests do not add up: {scheduled} scheduled, {self.tally.total} counted, "
                f"{self.recorded} recorded, {answered} answered, {folded} in histograms",
                hint="this is a bug in loadgen; please report it with the run's directory",
            )
