"""Recorder: packs samples into a buffer on the hot path, and aggregates them into windows and totals in batches.

Recording a sample costs one struct.pack_into; numpy aggregates the buffer a few times per second.
"""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import InternalError
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome
from loadgen.measurement.sample import SAMPLE, SAMPLE_STRUCT, ErrorCode, checksum, fold_message
from loadgen.measurement.tally import Tally, Window
from loadgen.redaction import redact_payload

_BUFFER_SAMPLES = 4096  # samples in the buffer: 256 KB
_MAX_ERROR_CODES = 0xFFFF  # the largest number that fits a sample; all further error codes share it
_MAX_MESSAGES = 20  # different messages of one error code that are kept
_FURTHER_MESSAGES = "further messages, not kept"


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
        self.error_codes: dict[tuple[Outcome, str, int, str], ErrorCode] = {}
        self._message_counts: Counter[tuple[Outcome, str]] = Counter()
        self.recorded = 0
        self._on_samples = on_samples
        self._interval = interval
        self._with_response = with_response
        self._on_window = on_window
        self._on_error_code = on_error_code
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

    def error_code_number(
        self, outcome: Outcome, code: str, status: int, message: str, body: bytes = b"", original_status: int = 0
    ) -> int:
        """Return the number by which samples refer to this error, and store its first message.

        Messages that differ only in numbers and identifiers are one error. After 20 different messages of a code, all
        further ones are one error without a message of its own.

        Args:
            outcome: outcome of the request.
            code: the error code; truncated to 128 characters.
            status: HTTP status, or 0.
            message: the error's message; truncated to 256 characters.
            body: the request's body; parts of it are removed from the message.
            original_status: the model container's status, or 0.
        """
        code = code[:128]
        key = (outcome, code, original_status, fold_message(message))
        known = self.error_codes.get(key)
        if known is None and self._message_counts[outcome, code] >= _MAX_MESSAGES:
            message, original_status = _FURTHER_MESSAGES, 0
            key = (outcome, code, 0, _FURTHER_MESSAGES)
            known = self.error_codes.get(key)
        if known is None:
            if len(self.error_codes) == _MAX_ERROR_CODES:
                return _MAX_ERROR_CODES
            self._message_counts[outcome, code] += 1
            text = redact_payload(message, body)[:256]
            known = ErrorCode(len(self.error_codes) + 1, outcome, code, status, text, original_status)
            self.error_codes[key] = known
            if self._on_error_code is not None:
                self._on_error_code(known)
        return known.number

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
