"""Sharding: dividing a step over workers, aligning their windows, and accounting for a lost worker's requests."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from loadgen.measurement.merge import Samples, merge_windows
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE, WARMUP, checksum
from loadgen.measurement.tally import Window
from loadgen.workload.load import ClosedLoop, Load, OpenLoop
from loadgen.workload.step import ErrorLimit, Step


def shard_step(step: Step, workers: int) -> list[Step]:
    """Return a step's shards for at most so many workers: together they are exactly the whole.

    Fewer than asked for where there is less to share: a shard has a client and a request, or a slot in flight.

    Example:
        >>> from loadgen.workload.load import ClosedLoop
        >>> [s.load.count for s in shard_step(Step(None, ClosedLoop(3, count=10)), 4)]
        [4, 3, 3]
    """
    load = step.load
    if isinstance(load, OpenLoop):
        count = min(workers, load.max_in_flight)
    else:
        count = min(workers, load.clients, workers if load.count is None else load.count)
    if count == 1:
        return [step]
    limit = step.error_limit
    # A share of errors is judged over all shards; a count is a bound for each of them too.
    own = ErrorLimit(count=limit.count) if limit is not None and limit.count is not None else None
    shares = [load.shard(index, count) for index in range(count)]
    return [replace(step, load=share, error_limit=own) for share in shares if share is not None]


def reconstruct_lost_samples(
    step: Step,
    recorded_samples: Samples,
    *,
    sent: int | None,
    lost_at: float,
    request_sequence: Sequence[int],
    body_sizes: Sequence[int],
) -> tuple[Samples, int]:
    """Return what was in flight on a worker when it was lost, and how many of its requests were never due.

    A shard's schedule is known, so that what is missing from its records can be told: the requests it had begun come
    first, in the order of the schedule.

    Args:
        step: its shard of the step.
        recorded_samples: the samples it left, dtype SAMPLE.
        sent: requests that it had handed to its transport; None when that is not known.
        lost_at: seconds from the run's start.
        request_sequence: which request is sent n-th (engine.choices).
        body_sizes: bytes of each request.

    Returns:
        Samples with the outcome LOST_WITH_WORKER, and the number of requests left in its schedule.
    """
    known = set(recorded_samples["seq"].tolist())
    answered = len(recorded_samples) - int(np.count_nonzero(recorded_samples["outcome"] == Outcome.DROPPED))
    begun = math.inf if sent is None else max(0, sent - answered)
    if sent is None and isinstance(step.load, ClosedLoop):
        begun = step.load.clients  # each had one request in flight at most
    rows: list[tuple[float, ...]] = []
    unsent = 0
    for seq, due in _shard_schedule(step.load, known, begun, lost_at):
        if seq in known:
            continue
        if len(rows) >= begun or due > lost_at:
            unsent += 1
            continue
        payload = request_sequence[seq % len(request_sequence)]
        flags = WARMUP if seq < step.warmup_calls or due < step.warmup else 0
        rows.append(
            (
                seq,
                due,
                math.nan,
                math.nan,
                lost_at,
                body_sizes[payload],
                0,
                payload,
                0.0,
                Outcome.LOST_WITH_WORKER,
                flags,
                0,
                0,
            )
        )
    lost = np.array(rows, dtype=SAMPLE)
    if rows:
        lost["check"] = checksum(lost)
    return lost, unsent


def _shard_schedule(load: Load, recorded_seqs: set[int], started: float, lost_at: float) -> Iterator[tuple[int, float]]:
    """Yield (seq, due) of a shard; a closed loop's requests are due when a client is free: known no better than `lost_at`.

    A closed loop bounded by time alone has no last request: what it had begun is all there is to tell.
    """
    if isinstance(load, OpenLoop):
        yield from load
        return
    which, of = load.part
    count = load.count if load.count is not None else len(recorded_seqs) + int(started)
    for seq in itertools.islice(itertools.count(which, of), count):
        yield seq, lost_at


class WindowAligner:
    """Adds the windows of several workers by index, and passes each on when every worker at work has closed it.

    Args:
        workers: how many there are, numbered from 0.
        on_window: takes each window, in order.
    """

    def __init__(self, workers: int, on_window: Callable[[Window], None]) -> None:
        self._pending: dict[int, list[Window]] = {}
        self._closed_counts = [0] * workers  # how many windows each has closed
        self._removed = [False] * workers
        self._next_index = 0
        self._on_window = on_window

    def add(self, worker: int, window: Window) -> None:
        """Take a window of a worker; each worker's come in order."""
        self._pending.setdefault(window.index, []).append(window)
        self._closed_counts[worker] = window.index + 1
        self._emit_complete()

    def remove_worker(self, worker: int) -> None:
        """Wait no more for a worker: it has ended, or was lost."""
        self._removed[worker] = True
        self._emit_complete()

    def _emit_complete(self) -> None:
        until = min((n for n, left in zip(self._closed_counts, self._removed, strict=True) if not left), default=None)
        while self._pending and (until is None or self._next_index < until):
            if found := self._pending.pop(self._next_index, None):
                self._on_window(merge_windows(found))
            self._next_index += 1
