"""Summary: every number that is derived from one run. Percentiles with intervals, TPS, shares, sizes.

Nothing is trimmed; a figure that the sample cannot carry is None, and is shown as a dash. Exact from the samples where
they were kept, else from the histograms. The arithmetic of intervals is order.py's, telling cold calls is cold.py's.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.cold_start import StartLabel, label_cold_starts
from loadgen.measurement.histogram import Histogram, highest_equivalent_value, lowest_equivalent_value
from loadgen.measurement.order_statistics import confidence_interval_ranks, nearest_rank
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome, OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.sample import WARMUP
from loadgen.workload.load import OpenLoop

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Percentile:
    """A percentile with its distribution-free 95 % confidence interval; seconds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Latency:
    """The distribution of the latencies of one column; seconds.

    Args:
        count: how many; at least 1.
        minimum: and the rest: exact where samples were kept, else within 0.1 %.
        mean: arithmetic.
        median: the middle.
        maximum: nothing is trimmed.
        iqr: third quartile minus first.
        percentiles: percent -> value with interval; None where the count cannot carry it.
    """

    count: int
    minimum: float
    mean: float
    median: float
    maximum: float
    iqr: float
    percentiles: Mapping[float, Percentile | None]


@dataclass(frozen=True, slots=True)
class Tps:
    """Answers per whole second, empty seconds included, without the partial first and last.

    Args:
        seconds: how many whole seconds were counted; at least 1.
        average: and the rest: ok answers per second over them.
    """

    seconds: int
    average: float
    p25: float
    p50: float
    p75: float
    maximum: float


@dataclass(frozen=True, slots=True)
class ColdStartSummary:
    """Ok calls told apart by whether they met a cold start, from what the client sees (see cold.py).

    Args:
        cold: how many met one.
        warm: how many did not.
        unknown: how many cannot be told.
        cold_service: service times of the cold ones; None when there were none.
        warm_service: service times of the warm ones; None when there were none.
        cloudwatch_cold_starts: cold starts that CloudWatch counted (ModelSetupTime); None where it is not known.
        is_consistent: True when these counts and CloudWatch's can both be right; None when there is nothing to compare with.
    """

    cold: int
    warm: int
    unknown: int
    cold_service: Latency | None
    warm_service: Latency | None
    cloudwatch_cold_starts: int | None
    is_consistent: bool | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run says.

    Args:
        scheduled: requests that were due, warm-up left out; it equals ok + throttled + failed + unfinished.
        ok: and the next three: how many fell into each column.
        outcomes: how many had each outcome; only those that occurred.
        warmup: calls left out of everything else here.
        service: service times of ok calls; None when there were none.
        response: response times of ok calls; in a closed loop the same as `service` by definition.
        throttled_latency: service times of throttled calls.
        failed_latency: service times of failed calls.
        tps: None when the run has no whole second.
        throttled_per_second: over the measured time.
        request_bytes: mean payload size of all requests sent.
        response_bytes: mean size of ok answers; None when there were none.
        measured_duration: seconds that the counts cover.
        cold_starts: cold calls apart from warm ones; None when samples were not kept, or no call was answered well.
    """

    scheduled: int
    ok: int
    throttled: int
    failed: int
    unfinished: int
    outcomes: Mapping[Outcome, int]
    warmup: int
    service: Latency | None
    response: Latency | None
    throttled_latency: Latency | None
    failed_latency: Latency | None
    tps: Tps | None
    throttled_per_second: float
    request_bytes: float
    response_bytes: float | None
    measured_duration: float
    cold_starts: ColdStartSummary | None = None


_CHUNK = 1 << 18  # samples looked at together: 16 MB of records


def summarize(run: Run) -> Summary:
    """Derive every number of one run. O(n log n); holds eight bytes for each answer, and one chunk of samples."""
    counts = run.tally.counts
    by_column = {column: run.count(column) for column in OutcomeCategory}
    measured = max(0.0, run.duration - run.measurement_start)
    if len(run.samples):
        latency = _from_samples(run)
        tps = _tps(_ok_per_second(run.samples, run.measurement_start, _whole_seconds(run)))
        request_bytes, response_bytes = _mean_sizes(run.samples)
    else:
        latency = _from_histograms(run)
        tps = _tps(_ok_per_second_from_windows(run))
        request_bytes, response_bytes = 0.0, None
    service = latency(OutcomeCategory.OK, "sent")
    return Summary(
        scheduled=counts.total(),
        ok=by_column[OutcomeCategory.OK],
        throttled=by_column[OutcomeCategory.THROTTLED],
        failed=by_column[OutcomeCategory.FAILED],
        unfinished=by_column[OutcomeCategory.UNFINISHED],
        outcomes={outcome: counts[outcome] for outcome in sorted(counts) if counts[outcome]},
        warmup=run.tally.warmup.total(),
        service=service,
        response=latency(OutcomeCategory.OK, "scheduled") if run.is_open_loop else service,
        throttled_latency=latency(OutcomeCategory.THROTTLED, "sent"),
        failed_latency=latency(OutcomeCategory.FAILED, "sent"),
        tps=tps,
        throttled_per_second=by_column[OutcomeCategory.THROTTLED] / measured if measured else 0.0,
        request_bytes=request_bytes,
        response_bytes=response_bytes,
        measured_duration=measured,
        cold_starts=_summarize_cold_starts(run) if len(run.samples) and by_column[OutcomeCategory.OK] else None,
    )


# (column, the instant that latency is counted from) -> its distribution
_LatencyReader = Callable[[OutcomeCategory, str], Latency | None]


def _from_samples(run: Run) -> _LatencyReader:
    def read(column: OutcomeCategory, since: str) -> Latency | None:
        return latency_from_values(_latencies(lambda: _measured_chunks(run.samples, column), since))

    return read


def _latencies(chunks: Callable[[], Iterator[NDArray[np.void]]], since: str) -> NDArray[np.float64]:
    """Gather a latency from chunks of samples, which are gone through twice: once to know how many there are."""
    values = np.empty(sum(len(chunk) for chunk in chunks()))
    filled = 0
    for chunk in chunks():
        values[filled : filled + len(chunk)] = chunk["done"] - chunk[since]
        filled += len(chunk)
    return values


def _summarize_cold_starts(run: Run) -> ColdStartSummary:
    starts = label_cold_starts(run)

    def labelled(start: StartLabel) -> Iterator[NDArray[np.void]]:
        return _measured_chunks(run.samples, OutcomeCategory.OK, starts.labels == start)

    cold = latency_from_values(_latencies(lambda: labelled(StartLabel.COLD), "sent"))
    warm = latency_from_values(_latencies(lambda: labelled(StartLabel.WARM), "sent"))
    return ColdStartSummary(
        cold=0 if cold is None else cold.count,
        warm=0 if warm is None else warm.count,
        unknown=sum(len(chunk) for chunk in labelled(StartLabel.UNKNOWN)),
        cold_service=cold,
        warm_service=warm,
        cloudwatch_cold_starts=starts.cloudwatch_cold_starts,
        is_consistent=starts.is_consistent,
    )


def _from_histograms(run: Run) -> _LatencyReader:
    def read(column: OutcomeCategory, since: str) -> Latency | None:
        return latency_from_histogram((run.tally.service if since == "sent" else run.tally.response)[column])

    return read


def _measured_chunks(
    samples: NDArray[np.void], category: OutcomeCategory | None = None, selected: NDArray[np.bool_] | None = None
) -> Iterator[NDArray[np.void]]:
    """Yield the samples that count, of one column or of all, in chunks; never a copy of the whole."""
    chosen = np.array([category is None or _category(number) is category for number in range(256)])
    for start in range(0, len(samples), _CHUNK):
        chunk = np.asarray(samples[start : start + _CHUNK])
        wanted = ((chunk["flags"] & WARMUP) == 0) & chosen[chunk["outcome"]]
        yield chunk[wanted if selected is None else wanted & selected[start : start + _CHUNK]]


def _category(number: int) -> OutcomeCategory | None:
    return Outcome(number).category if number in _OUTCOME_NUMBERS else None


_OUTCOME_NUMBERS = frozenset(int(outcome) for outcome in Outcome)


def latency_from_values(values: NDArray[np.float64]) -> Latency | None:
    """Describe latencies in float seconds, shape (n,), which are sorted in place; None when there are none."""
    count = values.size
    if not count:
        return None
    values.sort()
    quartiles = [_quantile(values, share) for share in (0.25, 0.5, 0.75)]
    return Latency(
        count=count,
        minimum=float(values[0]),
        mean=float(values.mean()),
        median=quartiles[1],
        maximum=float(values[-1]),
        iqr=quartiles[2] - quartiles[0],
        percentiles=_percentiles(count, lambda rank: float(values[rank - 1])),
    )


def _quantile(values: NDArray[np.float64], share: float) -> float:
    """Return a quantile of sorted values as spreadsheets and pandas do: in a straight line between two neighbours."""
    position = share * (values.size - 1)
    below = math.floor(position)
    above = min(below + 1, values.size - 1)
    return float(values[below] + (position - below) * (values[above] - values[below]))


def latency_from_histogram(histogram: Histogram) -> Latency | None:
    """Describe the latencies of a histogram, within 0.1 %; None when there are none."""
    if not histogram.total:
        return None
    indices = np.flatnonzero(histogram.counts)
    low, high = lowest_equivalent_value(indices), highest_equivalent_value(indices)
    at = histogram.value_at_rank
    count = histogram.total
    return Latency(
        count=count,
        minimum=int(low[0]) / 1e6,
        mean=float(np.average((low + high) / 2, weights=histogram.counts[indices])) / 1e6,
        median=at(nearest_rank(50, count)),
        maximum=int(high[-1]) / 1e6,
        iqr=at(nearest_rank(75, count)) - at(nearest_rank(25, count)),
        percentiles=_percentiles(count, at),
    )


def _percentiles(count: int, value_at_rank: Callable[[int], float]) -> Mapping[float, Percentile | None]:
    """Return each percentile with its interval; `value_at_rank` gives the latency of a rank, 1 being the least."""
    found: dict[float, Percentile | None] = {}
    for percent in PERCENTILES:
        ranks = confidence_interval_ranks(percent, count)
        found[percent] = ranks and Percentile(
            value_at_rank(nearest_rank(percent, count)), value_at_rank(ranks[0]), value_at_rank(ranks[1])
        )
    return found


def _mean_sizes(samples: NDArray[np.void]) -> tuple[float, float | None]:
    """Return the mean bytes of what was sent, and of ok answers."""
    sent = sent_bytes = ok = ok_bytes = 0
    for chunk in _measured_chunks(samples):
        asked = chunk["request_bytes"][~np.isnan(chunk["sent"])]
        sent, sent_bytes = sent + asked.size, sent_bytes + int(asked.sum(dtype=np.int64))
    for chunk in _measured_chunks(samples, OutcomeCategory.OK):
        ok, ok_bytes = ok + len(chunk), ok_bytes + int(chunk["response_bytes"].sum(dtype=np.int64))
    return sent_bytes / sent if sent else 0.0, ok_bytes / ok if ok else None


def _whole_seconds(run: Run) -> int:
    """Return how many whole seconds the load was offered for, from the end of the warm-up.

    Waiting for the last answers once a load has ended by its clock is no time in which answers could have come as
    before: it is left out, or one slow answer would dilute the whole.
    """
    load = run.step.load
    ends = [run.duration] if load.duration is None else [run.duration, load.duration]
    if isinstance(load, OpenLoop) and math.isfinite(load.arrivals.duration):
        ends.append(load.arrivals.duration)
    return max(0, math.floor(min(ends) - run.measurement_start + 1e-9))


def _ok_per_second(samples: NDArray[np.void], start: float, seconds: int) -> NDArray[np.float64]:
    """Return the ok answers of each whole second from `start`, shape (seconds,)."""
    found = np.zeros(seconds, dtype=np.int64)
    for chunk in _measured_chunks(samples, OutcomeCategory.OK):
        second = np.floor(chunk["done"] - start).astype(np.int64)
        found += np.bincount(second[(second >= 0) & (second < seconds)], minlength=seconds)
    return found.astype(np.float64)


def _ok_per_second_from_windows(run: Run) -> NDArray[np.float64]:
    """Return the ok answers per second of each whole second, from the windows: of each window when those are longer."""
    first = math.ceil(run.measurement_start / run.window - 1e-9)
    last = math.floor((run.measurement_start + _whole_seconds(run)) / run.window + 1e-9)
    counts = run.window_counts[first : max(first, last), COMPLETED_CATEGORIES.index(OutcomeCategory.OK)].astype(
        np.float64
    )
    together = max(1, round(1 / run.window))  # windows that make a second
    whole = len(counts) // together * together
    return np.asarray(counts[:whole].reshape(-1, together).sum(axis=1) / (together * run.window))


def _tps(rates: NDArray[np.float64]) -> Tps | None:
    if not rates.size:
        return None
    rates.sort()
    p25, p50, p75 = (_quantile(rates, share) for share in (0.25, 0.5, 0.75))
    return Tps(rates.size, float(rates.mean()), p25, p50, p75, float(rates[-1]))
