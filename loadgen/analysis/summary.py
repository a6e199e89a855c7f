"""Summary of one run: counts, latency distributions with confidence intervals, TPS and sizes.

Nothing is trimmed. A percentile with too few calls is None. Values are exact if the samples were kept, else they come
from the histograms.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.cold_start import StartLabel, label_cold_starts
from loadgen.measurement.histogram import Histogram, highest_equivalent_value, lowest_equivalent_value
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome, OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.sample import WARMUP
from loadgen.statistics.order_statistics import interpolated_ranks, nearest_rank, value_between
from loadgen.workload.load import OpenLoop

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Percentile:
    """A percentile with its distribution-free 95 % confidence interval, in seconds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Distribution of the latencies of one category, in seconds; within 0.1 % if the samples were not kept.

    Args:
        count: number of calls, at least 1.
        minimum: shortest latency.
        mean: arithmetic mean.
        median: median.
        maximum: longest latency.
        iqr: interquartile range.
        percentiles: percent -> value with interval; None if there are too few calls.
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
    """Ok responses per whole second, without the partial first and last second.

    Args:
        seconds: number of whole seconds, at least 1; seconds without a response count.
        average: mean ok responses per second.
        p25: first quartile.
        p50: median.
        p75: third quartile.
        maximum: best second.
    """

    seconds: int
    average: float
    p25: float
    p50: float
    p75: float
    maximum: float


@dataclass(frozen=True, slots=True)
class ColdStartSummary:
    """Ok calls by cold-start label, as observed by the client (see cold_start.py).

    Args:
        cold: calls that met a cold start.
        warm: calls that did not.
        unknown: calls that could not be labelled.
        cold_service: service times of cold calls; None if there are none.
        warm_service: service times of warm calls; None if there are none.
        cloudwatch_cold_starts: cold starts that CloudWatch counted (ModelSetupTime); None if unknown.
        is_consistent: whether the labels agree with CloudWatch's count; None if that is unknown.
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
    """Counts and distributions of one run, without its warm-up.

    Args:
        scheduled: requests due; equals ok + throttled + failed + unfinished.
        ok: successful calls.
        throttled: throttled calls.
        failed: failed calls.
        unfinished: requests dropped, cancelled or lost with a worker.
        outcomes: requests per outcome; only outcomes that occurred.
        warmup: requests of the warm-up, counted nowhere else.
        service: service times of ok calls; None if there are none.
        response: response times of ok calls; equal to `service` in a closed loop.
        throttled_latency: service times of throttled calls.
        failed_latency: service times of failed calls.
        tps: throughput; None if the run has no whole second.
        throttled_per_second: throttled calls per second of `measured_duration`.
        request_bytes: mean body size of all requests sent.
        response_bytes: mean body size of ok responses; None if there are none.
        measured_duration: seconds after the warm-up.
        cold_starts: calls by cold-start label; None if samples were not kept or no call was successful.
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


_CHUNK = 1 << 18  # samples per chunk: 16 MB


def summarize(run: Run) -> Summary:
    """Summarize one run. O(n log n); needs 8 bytes per response and one chunk of samples."""
    counts = run.tally.counts
    by_category = {category: run.count(category) for category in OutcomeCategory}
    measured_duration = max(0.0, run.duration - run.measurement_start)
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
        ok=by_category[OutcomeCategory.OK],
        throttled=by_category[OutcomeCategory.THROTTLED],
        failed=by_category[OutcomeCategory.FAILED],
        unfinished=by_category[OutcomeCategory.UNFINISHED],
        outcomes={outcome: counts[outcome] for outcome in sorted(counts) if counts[outcome]},
        warmup=run.tally.warmup.total(),
        service=service,
        response=latency(OutcomeCategory.OK, "scheduled") if run.is_open_loop else service,
        throttled_latency=latency(OutcomeCategory.THROTTLED, "sent"),
        failed_latency=latency(OutcomeCategory.FAILED, "sent"),
        tps=tps,
        throttled_per_second=by_category[OutcomeCategory.THROTTLED] / measured_duration if measured_duration else 0.0,
        request_bytes=request_bytes,
        response_bytes=response_bytes,
        measured_duration=measured_duration,
        cold_starts=_summarize_cold_starts(run) if len(run.samples) and by_category[OutcomeCategory.OK] else None,
    )


# (category, start instant of the latency: `sent` or `scheduled`) -> distribution
_LatencyReader = Callable[[OutcomeCategory, str], Latency | None]


def _from_samples(run: Run) -> _LatencyReader:
    def read(category: OutcomeCategory, since: str) -> Latency | None:
        return latency_from_values(_latencies(lambda: _measured_chunks(run.samples, category), since))

    return read


def _latencies(chunks: Callable[[], Iterator[NDArray[np.void]]], since: str) -> NDArray[np.float64]:
    """Return the latencies of all chunks in one array; `chunks` is called twice, first to count."""
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
    def read(category: OutcomeCategory, since: str) -> Latency | None:
        return latency_from_histogram((run.tally.service if since == "sent" else run.tally.response)[category])

    return read


def _measured_chunks(
    samples: NDArray[np.void], category: OutcomeCategory | None = None, selected: NDArray[np.bool_] | None = None
) -> Iterator[NDArray[np.void]]:
    """Yield the samples after the warm-up, of one category or of all, in chunks."""
    in_chosen = np.array([category is None or _category(number) is category for number in range(256)])
    for start in range(0, len(samples), _CHUNK):
        chunk = np.asarray(samples[start : start + _CHUNK])
        wanted = ((chunk["flags"] & WARMUP) == 0) & in_chosen[chunk["outcome"]]
        yield chunk[wanted if selected is None else wanted & selected[start : start + _CHUNK]]


def _category(number: int) -> OutcomeCategory | None:
    return Outcome(number).category if number in _OUTCOME_NUMBERS else None


_OUTCOME_NUMBERS = frozenset(int(outcome) for outcome in Outcome)


def latency_from_values(values: NDArray[np.float64]) -> Latency | None:
    """Return the distribution of latencies (seconds, shape (n,), sorted in place); None if there are none."""
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
    """Return a quantile of sorted values by linear interpolation, as pandas and spreadsheets do."""
    position = share * (values.size - 1)
    below = math.floor(position)
    above = min(below + 1, values.size - 1)
    return float(values[below] + (position - below) * (values[above] - values[below]))


def latency_from_histogram(histogram: Histogram) -> Latency | None:
    """Return the distribution of a histogram, within 0.1 %; None if it is empty."""
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
    """Return each percentile with its interval; `value_at_rank(1)` is the shortest latency."""
    found: dict[float, Percentile | None] = {}
    for percent in PERCENTILES:
        shares = interpolated_ranks(percent, count)
        found[percent] = shares and Percentile(
            value_at_rank(nearest_rank(percent, count)),
            *(value_between(value_at_rank, share * (count + 1)) for share in shares),
        )
    return found


def _mean_sizes(samples: NDArray[np.void]) -> tuple[float, float | None]:
    """Return the mean body size of sent requests and of ok responses, in bytes."""
    sent = sent_bytes = ok = ok_bytes = 0
    for chunk in _measured_chunks(samples):
        sizes = chunk["request_bytes"][~np.isnan(chunk["sent"])]
        sent, sent_bytes = sent + sizes.size, sent_bytes + int(sizes.sum(dtype=np.int64))
    for chunk in _measured_chunks(samples, OutcomeCategory.OK):
        ok, ok_bytes = ok + len(chunk), ok_bytes + int(chunk["response_bytes"].sum(dtype=np.int64))
    return sent_bytes / sent if sent else 0.0, ok_bytes / ok if ok else None


def _whole_seconds(run: Run) -> int:
    """Return the number of whole seconds of load after the warm-up.

    The drain after the end of the schedule is excluded, since one slow response would lower the TPS of the run.
    """
    load = run.step.load
    ends = [run.duration] if load.duration is None else [run.duration, load.duration]
    if isinstance(load, OpenLoop) and math.isfinite(load.arrivals.duration):
        ends.append(load.arrivals.duration)
    return max(0, math.floor(min(ends) - run.measurement_start + 1e-9))


def _ok_per_second(samples: NDArray[np.void], start: float, seconds: int) -> NDArray[np.float64]:
    """Return the ok responses of each whole second from `start`, shape (seconds,)."""
    found = np.zeros(seconds, dtype=np.int64)
    for chunk in _measured_chunks(samples, OutcomeCategory.OK):
        second = np.floor(chunk["done"] - start).astype(np.int64)
        found += np.bincount(second[(second >= 0) & (second < seconds)], minlength=seconds)
    return found.astype(np.float64)


def _ok_per_second_from_windows(run: Run) -> NDArray[np.float64]:
    """Return the ok responses per second of each whole second, or of each window if windows are longer."""
    first = math.ceil(run.measurement_start / run.window - 1e-9)
    last = math.floor((run.measurement_start + _whole_seconds(run)) / run.window + 1e-9)
    counts = run.window_counts[first : max(first, last), COMPLETED_CATEGORIES.index(OutcomeCategory.OK)].astype(
        np.float64
    )
    per_second = max(1, round(1 / run.window))  # windows per second
    whole = len(counts) // per_second * per_second
    return np.asarray(counts[:whole].reshape(-1, per_second).sum(axis=1) / (per_second * run.window))


def _tps(rates: NDArray[np.float64]) -> Tps | None:
    if not rates.size:
        return None
    rates.sort()
    p25, p50, p75 = (_quantile(rates, share) for share in (0.25, 0.5, 0.75))
    return Tps(rates.size, float(rates.mean()), p25, p50, p75, float(rates[-1]))
