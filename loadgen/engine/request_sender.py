"""RequestSender: sends one request, records it as one sample and counts it. The hot path.

Rule: every scheduled request ends in exactly one sample, whatever the transport does. When to send is decided by the
load drivers.
"""

import asyncio
import math
from collections.abc import Callable, Sequence

import numpy as np

from loadgen.engine.clock import Clock
from loadgen.interfaces import Transport, TransportError
from loadgen.measurement.outcome import Outcome, OutcomeCategory, classify
from loadgen.measurement.recorder import Recorder
from loadgen.measurement.sample import NEW_CONNECTION, WARMUP
from loadgen.workload.request import Reply, Request
from loadgen.workload.step import ErrorLimit, Step

_SEQUENCE_PERIOD = 1 << 16  # requests drawn ahead; the sequence repeats after that many
_NAN = float("nan")


def request_sequence(seed: int, request_count: int) -> list[int]:
    """Return the index of the request that is sent n-th, for each n of one period; the sequence then repeats.

    A function of (seed, n) alone, so that every memory size and every shard sends the same requests.

    Args:
        seed: selects the sequence.
        request_count: number of requests to choose from.
    """
    drawn: list[int] = np.random.default_rng(seed).integers(request_count, size=_SEQUENCE_PERIOD).tolist()
    return drawn


class RequestSender:
    """Sends the requests of one run and counts their outcomes.

    Args:
        step: provides the warm-up and the error limit.
        transport: carries the requests.
        requests: the requests to choose from.
        seed: selects the sequence of requests.
        clock: stamps requests that got no reply.
        recorder: receives one sample for each request.
        stop_load: called with `errors` when the error limit is reached.
    """

    __slots__ = (
        "_add_sample",
        "_error_limit",
        "_error_number",
        "_invoke",
        "_now",
        "_sequence",
        "_stop_load",
        "_warmup",
        "_warmup_calls",
        "completed",
        "dropped",
        "errors",
        "measurement_start",
        "origin",
        "scheduled",
    )

    def __init__(
        self,
        step: Step,
        transport: Transport,
        requests: Sequence[Request],
        *,
        seed: int,
        clock: Clock,
        recorder: Recorder,
        stop_load: Callable[[str], None],
    ) -> None:
        self.origin = 0.0  # the instant on the clock that counts as the start of the run
        self.scheduled = 0
        self.completed = 0
        self.errors = 0
        self.dropped = 0
        self.measurement_start = 0.0 if not step.warmup_calls else _NAN
        self._warmup = step.warmup
        self._warmup_calls = step.warmup_calls
        self._error_limit = step.error_limit or ErrorLimit()
        self._invoke = transport.invoke
        self._now = clock.now
        self._add_sample = recorder.add
        self._error_number = recorder.errors.number
        self._stop_load = stop_load
        numbered = list(enumerate(requests))
        self._sequence = [numbered[index] for index in request_sequence(seed, len(requests))]

    def count_scheduled(self, seq: int, scheduled: float) -> None:
        """Count a request as scheduled: from here on it must end in an outcome."""
        self.scheduled += 1
        if math.isnan(self.measurement_start) and seq >= self._warmup_calls:
            self.measurement_start = scheduled - self.origin

    async def send(self, seq: int, scheduled: float) -> Outcome:
        """Send one request, record its sample and return its outcome.

        Args:
            seq: the request's number in the schedule.
            scheduled: the instant on the clock at which it was due.

        Raises:
            CancelledError: the request was cancelled in flight; its sample is recorded first.
            Exception: any exception of the transport other than TransportError, and any of the recorder's callbacks.
        """
        index, request = self._sequence[seq % _SEQUENCE_PERIOD]
        try:
            reply = await self._invoke(request)
        except TransportError as error:
            outcome = error.outcome
            reply = Reply(0, error.sent, _NAN, error.done, code=error.detail, pool_wait=error.pool_wait)
        except asyncio.CancelledError:
            cancelled = Reply(0, _NAN, _NAN, self._now())
            self._record(seq, scheduled, index, request, Outcome.CANCELLED_IN_FLIGHT, cancelled)
            raise
        else:
            outcome = Outcome.OK if reply.status == 200 and not reply.code else classify(reply)
        self._record(seq, scheduled, index, request, outcome, reply)
        return outcome

    def drop(self, seq: int, scheduled: float) -> None:
        """Record a request that is not sent because `max_in_flight` is reached."""
        index, request = self._sequence[seq % _SEQUENCE_PERIOD]
        self.dropped += 1
        self._record(seq, scheduled, index, request, Outcome.DROPPED, Reply(0, _NAN, _NAN, self._now()))

    def _record(self, seq: int, scheduled: float, index: int, request: Request, outcome: Outcome, reply: Reply) -> None:
        """Record one sample and check the error limit. Instants arrive on the clock's scale."""
        code = 0
        if outcome is Outcome.OK:
            self.completed += 1
        elif outcome.category is not OutcomeCategory.UNFINISHED:
            name = reply.code or str(reply.status)
            code = self._error_number(
                outcome,
                name,
                reply.status,
                reply.message,
                body=request.body,
                original_status=reply.original_status,
                request_index=index,
            )
            self.completed += 1
            self.errors += 1
        origin = self.origin
        due = scheduled - origin
        is_warmup = seq < self._warmup_calls or due < self._warmup
        self._add_sample(
            seq,
            due,
            reply.sent - origin,
            reply.first_byte - origin,
            reply.done - origin,
            len(request.body),
            reply.response_bytes,
            index,
            reply.pool_wait,
            outcome,
            reply.is_new_connection * NEW_CONNECTION + is_warmup * WARMUP,
            code,
        )
        if self.errors and self._error_limit.is_reached(self.errors, self.completed):
            self._stop_load("errors")
