"""Sharding: a step divided over workers, their windows aligned, and the requests of a lost worker accounted for."""

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
from loadgen.workload.step import Step


def shard_step(step: Step, workers: int) -> list[Step]:
    """Return the shards of a step, which together send exactly what the step would.

    Args:
        step: the step to divide.
        workers: number of shards at most; each has at least one client and one request, or one slot in flight.

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
    # The coordinator checks the limit over all shards; a count also bounds each of them.
    own_limit = replace(limit, share=None) if limit is not None and limit.count is not None else None
    shards = [load.shard(index, count) for index in range(count)]
    return [replace(step, load=shard, error_limit=own_limit) for shard in shards if shard is not None]


def reconstruct_lost_samples(
    step: Step,
    recorded_samples: Samples,
    *,
    sent: int | None,
    lost_at: float,
    request_sequence: Sequence[int],
    body_sizes: Sequence[int],
) -> tuple[Samples, int]:
    """Return samples for the requests that were in flight on a lost worker, and the number of its unsent requests.

    The schedule of a shard is known, so that the missing requests can be computed: those in flight are the first ones
    of the schedule without a sample.

    Args:
        step: the worker's shard of the step.
        recorded_samples: the samples of the worker, dtype SAMPLE.
        sent: number of requests passed to the worker's transport; None when unknown.
        lost_at: seconds from the run's start.
        request_sequence: index of the n-th request's payload (`engine.request_sequence`).
        body_sizes: bytes of each payload.

    Returns:
        Samples with the outcome LOST_WITH_WORKER, and the number of requests left in the schedule.
    """
    recorded_seqs = set(recorded_samples["seq"].tolist())
    completed = len(recorded_samples) - int(np.count_nonzero(recorded_samples["outcome"] == Outcome.DROPPED))
    in_flight = math.inf if sent is None else max(0, sent - completed)
    if sent is None and isinstance(step.load, ClosedLoop):
        in_flight = step.load.clients  # at most one request for each client
    rows: list[tuple[float, ...]] = []
    unsent = 0
    for seq, due in _shard_schedule(step.load, recorded_seqs, in_flight, lost_at):
        if seq in recorded_seqs:
            continue
        if len(rows) >= in_flight or due > lost_at:
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


def _shard_schedule(
    load: Load, recorded_seqs: set[int], in_flight: float, lost_at: float
) -> Iterator[tuple[int, float]]:
    """Yield (seq, due) of a shard.

    The requests of a closed loop are due when a client is free; `lost_at` stands for these unknown instants. A closed
    loop that is bounded by time only has no last request; then the requests in flight are the last ones.
    """
    if isinstance(load, OpenLoop):
        yield from load
        return
    which, of = load.part
    count = load.count if load.count is not None else len(recorded_seqs) + int(in_flight)
    for seq in itertools.islice(itertools.count(which, of), count):
        yield seq, lost_at


class WindowAligner:
    """Merges the windows of several workers by index; emits a window when every active worker has closed it.

    Args:
        workers: number of workers; they are numbered from 0.
        on_window: receives the merged windows, in order.
    """

    def __init__(self, workers: int, on_window: Callable[[Window], None]) -> None:
        self._pending: dict[int, list[Window]] = {}
        self._closed_counts = [0] * workers  # number of closed windows of each worker
        self._removed = [False] * workers
        self._next_index = 0
        self._on_window = on_window

    def add(self, worker: int, window: Window) -> None:
        """Add a window of a worker; each worker's windows must come in order."""
        self._pending.setdefault(window.index, []).append(window)
        self._closed_counts[worker] = window.index + 1
        self._emit_complete()

    def remove_worker(self, worker: int) -> None:
        """Stop waiting for a worker that has completed its shard or was lost."""
        self._removed[worker] = True
        self._emit_complete()

    def _emit_complete(self) -> None:
        until = min((n for n, left in zip(self._closed_counts, self._removed, strict=True) if not left), default=None)
        while self._pending and (until is None or self._next_index < until):
            if found := self._pending.pop(self._next_index, None):
                self._on_window(merge_windows(found))
            self._next_index += 1
