"""Merge: joins what several workers recorded of one run. Exact: counts are added, percentiles never averaged.

Pure functions on values. Who the workers are and how their records arrive is the runners'.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from loadgen.histogram import Sparse
from loadgen.load import ClosedLoop, Load, OpenLoop
from loadgen.outcome import Column, Outcome
from loadgen.record import ANSWERED, SAMPLE, WARMUP, Code, Tally, Window, checksum
from loadgen.step import ErrorLimit, Step
from loadgen.watch import Watch

Samples = NDArray[np.void]


def divide(step: Step, workers: int) -> list[Step]:
    """Return a step's shards for at most so many workers: together they are exactly the whole.

    Fewer than asked for where there is less to share: a shard has a client and a request, or a slot in flight.

    Example:
        >>> from loadgen.load import ClosedLoop
        >>> [s.load.count for s in divide(Step(None, ClosedLoop(3, count=10)), 4)]
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


def pool(parts: Sequence[tuple[Samples, Sequence[Code]]]) -> tuple[Samples, tuple[Code, ...]]:
    """Return the samples of all parts in the order of completion, and one table of codes for all of them.

    Args:
        parts: (samples of dtype SAMPLE, the codes that their numbers point to) of each worker.
    """
    if len(parts) == 1:
        return parts[0][0], tuple(parts[0][1])
    table: dict[tuple[Outcome, str], Code] = {}
    pieces = []
    for samples, codes in parts:
        numbers = np.zeros(1 << 16, dtype=np.uint16)
        for code in codes:
            known = table.setdefault((code.outcome, code.code), code._replace(number=min(len(table) + 1, 0xFFFF)))
            numbers[code.number] = known.number
        pieces.append(_renumbered(samples, numbers))
    pooled = np.concatenate(pieces) if pieces else np.empty(0, dtype=SAMPLE)
    return pooled[np.argsort(pooled["done"], kind="stable")], tuple(table.values())


def _renumbered(samples: Samples, numbers: NDArray[np.uint16]) -> Samples:
    wanted = numbers[samples["code"]]
    if np.array_equal(wanted, samples["code"]):
        return samples
    changed = np.array(samples)
    changed["code"] = wanted
    changed["check"] = checksum(changed)
    return changed


def add_tallies(tallies: Iterable[Tally]) -> Tally:
    """Return one tally of all: the same, bit for bit, as the tally of the pooled samples."""
    total = Tally()
    for tally in tallies:
        total.counts.update(tally.counts)
        total.warmup.update(tally.warmup)
        for column in ANSWERED:
            total.service[column].add(tally.service[column])
            total.response[column].add(tally.response[column])
    return total


def add_windows(windows: Sequence[Window]) -> Window:
    """Return the sum of windows of one index."""
    counts: Counter[Outcome] = Counter()
    for window in windows:
        counts.update(window.counts)
    return Window(
        windows[0].index,
        windows[0].start,
        max(window.length for window in windows),
        dict(counts),
        sum(window.warmup for window in windows),
        _add_columns([window.service for window in windows]),
        _add_columns([window.response for window in windows]),
    )


def _add_columns(parts: Sequence[Mapping[Column, Sparse]]) -> dict[Column, Sparse]:
    columns = {column: [part[column] for part in parts if column in part] for column in ANSWERED}
    return {column: _add_sparse(found) for column, found in columns.items() if found}


def _add_sparse(parts: Sequence[Sparse]) -> Sparse:
    indices, place = np.unique(np.concatenate([part.indices for part in parts]), return_inverse=True)
    counts = np.zeros(indices.size, dtype=np.int64)
    np.add.at(counts, place, np.concatenate([part.counts for part in parts]))
    return Sparse(indices, counts, sum(part.clamped for part in parts))


def worst(watches: Sequence[Watch]) -> Watch:
    """Return one watch for several generators: counts and rates added, everything else as bad as the worst saw it.

    Percentiles of several cannot be joined to one; the worst is never too good.
    """
    if not watches:
        return Watch()
    added = ("waits", "connections_opened", "dropped", "gc_pauses", "asked_rate", "achieved_rate")
    worst_of = ("cpu_share", "busiest", "loop_lag_p99", "loop_lag_max", "send_lag_p50", "send_lag_p99")
    more = ("send_lag_max", "wait_max", "gc_longest")
    return Watch(
        **{name: sum(getattr(watch, name) for watch in watches) for name in added},
        **{name: max(getattr(watch, name) for watch in watches) for name in (*worst_of, *more)},
    )


def lost_with(
    step: Step, recorded: Samples, *, sent: int | None, died: float, choices: Sequence[int], sizes: Sequence[int]
) -> tuple[Samples, int]:
    """Return what was in flight on a worker when it was lost, and how many of its requests were never due.

    A shard's schedule is known, so that what is missing from its records can be told: the requests it had begun come
    first, in the order of the schedule.

    Args:
        step: its shard of the step.
        recorded: the samples it left, dtype SAMPLE.
        sent: requests that it had handed to its transport; None when that is not known.
        died: seconds from the run's start.
        choices: which request is sent n-th (engine.choices).
        sizes: bytes of each request.

    Returns:
        Samples with the outcome LOST_WITH_WORKER, and the number of requests left in its schedule.
    """
    known = set(recorded["seq"].tolist())
    answered = len(recorded) - int(np.count_nonzero(recorded["outcome"] == Outcome.DROPPED))
    begun = math.inf if sent is None else max(0, sent - answered)
    if sent is None and isinstance(step.load, ClosedLoop):
        begun = step.load.clients  # each had one request in flight at most
    rows: list[tuple[float, ...]] = []
    unsent = 0
    for seq, due in _schedule(step.load, known, begun, died):
        if seq in known:
            continue
        if len(rows) >= begun or due > died:
            unsent += 1
            continue
        payload = choices[seq % len(choices)]
        flags = WARMUP if seq < step.warmup_calls or due < step.warmup else 0
        rows.append(
            (seq, due, math.nan, math.nan, died, sizes[payload], 0, payload, 0.0, Outcome.LOST_WITH_WORKER, flags, 0, 0)
        )
    lost = np.array(rows, dtype=SAMPLE)
    if rows:
        lost["check"] = checksum(lost)
    return lost, unsent


def _schedule(load: Load, known: set[int], begun: float, died: float) -> Iterator[tuple[int, float]]:
    """Yield (seq, due) of a shard; a closed loop's requests are due when a client is free: known no better than `died`.

    A closed loop bounded by time alone has no last request: what it had begun is all there is to tell.
    """
    if isinstance(load, OpenLoop):
        yield from load
        return
    which, of = load.part
    count = load.count if load.count is not None else len(known) + int(begun)
    for seq in itertools.islice(itertools.count(which, of), count):
        yield seq, died


class Windows:
    """Adds the windows of several workers by index, and passes each on when every worker at work has closed it.

    Args:
        workers: how many there are, numbered from 0.
        on_window: takes each window, in order.
    """

    def __init__(self, workers: int, on_window: Callable[[Window], None]) -> None:
        self._open: dict[int, list[Window]] = {}
        self._closed = [0] * workers  # how many windows each has closed
        self._left = [False] * workers
        self._next = 0
        self._on_window = on_window

    def add(self, worker: int, window: Window) -> None:
        """Take a window of a worker; each worker's come in order."""
        self._open.setdefault(window.index, []).append(window)
        self._closed[worker] = window.index + 1
        self._pass_on()

    def leave(self, worker: int) -> None:
        """Wait no more for a worker: it has ended, or was lost."""
        self._left[worker] = True
        self._pass_on()

    def _pass_on(self) -> None:
        until = min((n for n, left in zip(self._closed, self._left, strict=True) if not left), default=None)
        while self._open and (until is None or self._next < until):
            if found := self._open.pop(self._next, None):
                self._on_window(add_windows(found))
            self._next += 1
