"""The metrics that an SLO can limit: each has a value with its 95 % interval, or a reason why there is none."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from loadgen.analysis.cost import Cost
from loadgen.analysis.latency import Latency
from loadgen.analysis.summary import Summary
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.sample import WARMUP
from loadgen.statistics.interval import Interval, share_interval, share_interval_of_counts
from loadgen.statistics.order_statistics import calls_needed

_LATENCY_KINDS = ("service", "response")
_PERCENTILE_RANKS = {"p50": 50.0, "p75": 75.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
_LATENCY_STATISTICS = ("mean", "median", "max", *_PERCENTILE_RANKS)
_ANSWERED_WITHIN = re.compile(r"answered_within_(\d+(?:\.\d+)?)(ms|s)")
ANSWERED_WITHIN = "answered_within_<number>ms"


@dataclass(frozen=True, slots=True)
class NoValue:
    """Why a metric has no value.

    Args:
        reason: human-readable.
        has_samples: whether something was measured, but too little for the metric.
    """

    reason: str
    has_samples: bool = False


_Value = Interval | NoValue
_NO_RESPONSES = NoValue("no successful responses")


def _exact(value: float, count: int) -> Interval:
    """Return a value that is a fact of this run and not an estimate, such as a maximum."""
    return Interval(value, value, value, count, None)


def _without_ends(value: float, count: int) -> Interval:
    return Interval(value, None, None, count, None)


def _latency(summary: Summary, metric: str) -> _Value:
    kind, statistic = metric.split("_", 1)
    latency: Latency | None = summary.service if kind == "service" else summary.response
    if latency is None:
        return _NO_RESPONSES
    if statistic == "max":
        return _exact(latency.maximum, latency.count)
    if statistic == "mean":
        return latency.mean_interval or _without_ends(latency.mean, latency.count)
    percent = _PERCENTILE_RANKS["p50" if statistic == "median" else statistic]
    found = latency.percentiles.get(percent)
    if found is None and statistic == "median":
        return _without_ends(latency.median, latency.count)
    if found is None:
        needed, as_many = calls_needed(percent), latency.effective_count
        independent = ""
        if latency.count >= needed:
            worth = "few" if as_many is None else f"{as_many:,.0f}"
            independent = f" that depend on each other (worth {worth} independent ones)"
        return NoValue(f"{statistic} needs {needed:,} ok calls, got {latency.count:,}{independent}", has_samples=True)
    value = latency.median if statistic == "median" else found.value
    return Interval(value, found.low, found.high, latency.count, latency.effective_count)


def _tps(summary: Summary) -> _Value:
    if summary.tps is None:
        return NoValue("tps needs one whole second of load", has_samples=summary.ok > 0)
    return summary.tps.interval or _without_ends(summary.tps.average, summary.tps.seconds)


def _cost(cost: Cost | None) -> _Value:
    if cost is None:
        return _NO_RESPONSES
    if cost.per_million is None:
        return NoValue(cost.unavailable_reason)
    return cost.per_million_interval or _without_ends(cost.per_million, 0)


def _throttled_per_second(summary: Summary) -> _Value:
    share = summary.shares.throttled
    if share is None or not summary.measured_duration:
        return NoValue("no responses")
    return share.scaled(share.count / summary.measured_duration)


# Metric -> (unit, reader).
_READERS: Mapping[str, tuple[str, Callable[[Summary, Cost | None], _Value]]] = {
    **{
        f"{kind}_{statistic}": ("s", lambda s, _, metric=f"{kind}_{statistic}": _latency(s, metric))  # type: ignore[misc]
        for kind in _LATENCY_KINDS
        for statistic in _LATENCY_STATISTICS
    },
    "throttle_share": ("", lambda s, _: s.shares.throttled or NoValue("no responses")),
    "failure_share": ("", lambda s, _: s.shares.failed or NoValue("no responses")),
    "dropped_share": ("", lambda s, _: s.shares.unfinished or NoValue("no requests were due")),
    "throttled_per_second": ("/s", lambda s, _: _throttled_per_second(s)),
    "tps_average": ("/s", lambda s, _: _tps(s)),
    "cost_per_million": (" USD", lambda _, c: _cost(c)),
}
METRICS = tuple(_READERS)


def is_metric(name: str) -> bool:
    """Tell whether an SLO can limit this metric."""
    return name in _READERS or answer_time(name) is not None


def is_share(name: str) -> bool:
    """Tell whether the values of a metric lie between 0 and 1."""
    return name.endswith("_share") or answer_time(name) is not None


def metric_unit(name: str) -> str:
    """Return the unit that follows a value of the metric; empty for a share."""
    unit = _READERS[name][0] if name in _READERS else ""
    return f" {unit}" if unit == "s" else unit


def answer_time(name: str) -> float | None:
    """Return the seconds within which `answered_within_300ms` wants answers; None for other metrics.

    Example:
        >>> answer_time("answered_within_300ms"), answer_time("answered_within_1.5s"), answer_time("service_p99")
        (0.3, 1.5, None)
    """
    found = _ANSWERED_WITHIN.fullmatch(name)
    if found is None or not float(found[1]):
        return None
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def answered_within_name(seconds: float) -> str:
    """Return the name of the metric, such as `answered_within_300ms`."""
    return f"answered_within_{round(seconds * 1000, 3):.15g}ms"


def read_metric(name: str, run: Run, summary: Summary, cost: Cost | None) -> _Value:
    """Return the value of a metric with its interval, or why there is none."""
    seconds = answer_time(name)
    value = _READERS[name][1](summary, cost) if seconds is None else _answered_within(run, summary, seconds)
    if isinstance(value, Interval) and not math.isfinite(value.value):
        return NoValue("the value is not a number")
    return value


def _answered_within(run: Run, summary: Summary, seconds: float) -> _Value:
    """Return the share of all scheduled requests with an ok response at most `seconds` after the scheduled time."""
    if not summary.scheduled:
        return NoValue("no requests were due")
    if not len(run.samples):
        histogram = (run.tally.response if run.is_open_loop else run.tally.service)[OutcomeCategory.OK]
        hits = sum(count for _, highest, count in histogram.buckets() if highest <= seconds)
        return share_interval_of_counts(hits, summary.scheduled)
    is_measured = (run.samples["flags"] & WARMUP) == 0
    order = np.argsort(run.samples["scheduled"][is_measured], kind="stable")
    latency = (run.samples["done"] - run.samples["scheduled" if run.is_open_loop else "sent"])[is_measured]
    # A microsecond for the rounding of the difference of two instants.
    is_hit = (run.samples["outcome"][is_measured] == Outcome.OK) & (latency <= seconds + 1e-6)
    return share_interval(is_hit[order], dependence=None if summary.response is None else summary.response.dependence)
