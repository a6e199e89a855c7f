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
from loadgen.analysis.latency import Latency, latency_from_histogram, latency_from_values, quantile
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome, OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.sample import WARMUP
from loadgen.statistics.autocorrelation import Dependence
from loadgen.statistics.interval import Interval, mean_interval, share_interval, share_interval_of_counts
from loadgen.workload.load import OpenLoop

MIN_SECONDS = 10  # whole seconds for quartiles and the maximum of the TPS


@dataclass(frozen=True, slots=True)
class Tps:
    """Ok responses per whole second, without the partial first and last second.

    Args:
        seconds: number of whole seconds, at least 1; seconds without a response count.
        average: mean ok responses per second.
        p25: first quartile; None, as the next three, with fewer than MIN_SECONDS seconds.
        p50: median.
        p75: third quartile.
        maximum: best second.
        interval: 95 % interval of the average; None with too few seconds.
    """

    seconds: int
    average: float
    p25: float | None
    p50: float | None
    p75: float | None
    maximum: float | None
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of calls with their 95 % intervals.

    Without the samples the order of the calls is unknown, and the intervals are those of independent calls.

    Args:
        throttled: of the calls that were ok, throttled or failed; None if there are none.
        failed: likewise.
        unfinished: of the scheduled requests; None if there are none.
    """

    throttled: Interval | None
    failed: Interval | None
    unfinished: Interval | None


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
        served: calls that an instance served, with failures and the warm-up, as CloudWatch counts them.
        served_service_mean: mean service time of those, seconds; None if there are none.
    """

    cold: int
    warm: int
    unknown: int
    cold_service: Latency | None
    warm_service: Latency | None
    cloudwatch_cold_starts: int | None
    is_consistent: bool | None
    served: int = 0
    served_service_mean: float | None = None


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
        shares: shares of throttled, failed and unfinished calls with intervals.
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
    shares: Shares = Shares(None, None, None)


_CHUNK = 1 << 18  # samples per chunk: 16 MB


def summarize(run: Run) -> Summary:
    """Summarize one run. O(n log n); needs about 50 bytes per response and one chunk of samples."""
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
        shares=_shares(run, by_category, None if service is None else service.dependence),
    )


def _shares(run: Run, counts: Mapping[OutcomeCategory, int], dependence: Dependence | None) -> Shares:
    """Return the shares; throttles and failures may come in groups, as slow calls do."""
    scheduled = sum(counts.values())
    completed = scheduled - counts[OutcomeCategory.UNFINISHED]
    categories = _categories_in_order(run.samples)
    is_completed = categories != _CATEGORIES.index(OutcomeCategory.UNFINISHED)

    def share(category: OutcomeCategory, of: NDArray[np.bool_] | None, total: int) -> Interval | None:
        if not total:
            return None
        if categories.size != scheduled:  # the samples were not kept, or are damaged
            return share_interval_of_counts(counts[category], total)
        is_hit = categories == _CATEGORIES.index(category)
        return share_interval(is_hit if of is None else is_hit[of], dependence=dependence)

    return Shares(
        share(OutcomeCategory.THROTTLED, is_completed, completed),
        share(OutcomeCategory.FAILED, is_completed, completed),
        share(OutcomeCategory.UNFINISHED, None, scheduled),
    )


def _categories_in_order(samples: NDArray[np.void]) -> NDArray[np.uint8]:
    """Return the index in _CATEGORIES of each measured request, in the order in which they were due, shape (n,)."""
    count = sum(len(chunk) for chunk in _measured_chunks(samples))
    categories, due = np.empty(count, dtype=np.uint8), np.empty(count)
    filled = 0
    for chunk in _measured_chunks(samples):
        part = slice(filled, filled + len(chunk))
        categories[part], due[part] = _CATEGORY_INDEX[chunk["outcome"]], chunk["scheduled"]
        filled += len(chunk)
    return np.asarray(categories[np.argsort(due, kind="stable")])


# (category, start instant of the latency: `sent` or `scheduled`) -> distribution
_LatencyReader = Callable[[OutcomeCategory, str], Latency | None]


def _from_samples(run: Run) -> _LatencyReader:
    def read(category: OutcomeCategory, since: str) -> Latency | None:
        return latency_from_values(_latencies(lambda: _measured_chunks(run.samples, category), since))

    return read


def _latencies(chunks: Callable[[], Iterator[NDArray[np.void]]], since: str) -> NDArray[np.float64]:
    """Return the latencies of all chunks in the order of time; `chunks` is called twice, first to count."""
    starts = np.empty(sum(len(chunk) for chunk in chunks()))
    values = np.empty(starts.size)
    filled = 0
    for chunk in chunks():
        part = slice(filled, filled + len(chunk))
        starts[part] = chunk[since]
        values[part] = chunk["done"] - chunk[since]
        filled += len(chunk)
    return values[np.argsort(starts, kind="stable")]


def _summarize_cold_starts(run: Run) -> ColdStartSummary:
    starts = label_cold_starts(run)

    def labelled(start: StartLabel) -> Iterator[NDArray[np.void]]:
        return _measured_chunks(run.samples, OutcomeCategory.OK, starts.labels == start)

    is_served = starts.labels != StartLabel.NOT_SERVED
    served = int(np.count_nonzero(is_served))
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
        served=served,
        served_service_mean=_sum_of_latencies(run.samples, is_served) / served if served else None,
    )


def _sum_of_latencies(samples: NDArray[np.void], selected: NDArray[np.bool_]) -> float:
    """Return the exact sum of the selected latencies, warm-up included, whatever the chunks."""
    starts = range(0, len(samples), _CHUNK)
    chunks = (np.asarray(samples[start : start + _CHUNK])[selected[start : start + _CHUNK]] for start in starts)
    return math.fsum(latency for chunk in chunks for latency in (chunk["done"] - chunk["sent"]).tolist())


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
_CATEGORIES = tuple(OutcomeCategory)
_CATEGORY_INDEX = np.array(
    [_CATEGORIES.index(Outcome(n).category) if n in _OUTCOME_NUMBERS else 255 for n in range(256)], dtype=np.uint8
)


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
    """Return the throughput of whole seconds in the order of time."""
    if not rates.size:
        return None
    average = mean_interval(rates)
    interval = None if average.ends is None else average
    if rates.size < MIN_SECONDS:
        return Tps(rates.size, average.value, None, None, None, None, interval)
    ascending = np.sort(rates)
    p25, p50, p75 = (quantile(ascending, share) for share in (0.25, 0.5, 0.75))
    return Tps(rates.size, average.value, p25, p50, p75, float(ascending[-1]), interval)
