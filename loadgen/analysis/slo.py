"""Service level objectives: a limit on one metric of a run, and its check.

An SLO that cannot be evaluated is not met; the reason states why.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from loadgen.analysis.cost import Cost
from loadgen.analysis.latency import Latency
from loadgen.analysis.summary import Summary
from loadgen.errors import UsageError
from loadgen.statistics.order_statistics import calls_needed

_LATENCY_KINDS = ("service", "response")
_PERCENTILE_RANKS = {"p50": 50.0, "p75": 75.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
_LATENCY_STATISTICS = ("mean", "median", "max", *_PERCENTILE_RANKS)


def _latency(summary: Summary, metric: str) -> float | str:
    kind, statistic = metric.split("_", 1)
    latency: Latency | None = summary.service if kind == "service" else summary.response
    if latency is None:
        return "no successful responses"
    if statistic in _PERCENTILE_RANKS:
        percentile = latency.percentiles.get(_PERCENTILE_RANKS[statistic])
        if percentile is None:
            return f"{statistic} needs {calls_needed(_PERCENTILE_RANKS[statistic]):,} ok calls, got {latency.count:,}"
        return percentile.value
    return {"mean": latency.mean, "median": latency.median, "max": latency.maximum}[statistic]


def _share(count: int, of: int) -> float | str:
    return count / of if of else "no responses"


def _completed(summary: Summary) -> int:
    return summary.ok + summary.throttled + summary.failed


# Metric -> (unit, reader). A reader returns the value, or why there is none.
_READERS: Mapping[str, tuple[str, Callable[[Summary, Cost | None], float | str]]] = {
    **{
        f"{kind}_{statistic}": ("s", lambda s, _, metric=f"{kind}_{statistic}": _latency(s, metric))  # type: ignore[misc]
        for kind in _LATENCY_KINDS
        for statistic in _LATENCY_STATISTICS
    },
    "throttle_share": ("", lambda s, _: _share(s.throttled, _completed(s))),
    "failure_share": ("", lambda s, _: _share(s.failed, _completed(s))),
    "dropped_share": ("", lambda s, _: _share(s.unfinished, s.scheduled)),
    "throttled_per_second": ("/s", lambda s, _: s.throttled_per_second),
    "tps_average": ("/s", lambda s, _: "tps needs one whole second of load" if s.tps is None else s.tps.average),
    "cost_per_million": (
        " USD",
        lambda _, c: (
            "no successful responses" if c is None else c.unavailable_reason if c.per_million is None else c.per_million
        ),
    ),
}
METRICS = tuple(_READERS)


@dataclass(frozen=True, slots=True)
class Slo:
    """Limit one metric of every run.

    Args:
        metric: one of METRICS: `service_` or `response_` with mean, median, max, p50, p75, p90, p95, p99 or p999
            (seconds); `throttle_share` and `failure_share` (of ok + throttled + failed), `dropped_share` (of the
            scheduled requests: dropped, cancelled or lost with a worker); `throttled_per_second`, `tps_average`;
            `cost_per_million` (USD).
        at_most: largest value that meets the SLO; None for no upper limit.
        at_least: smallest value that meets it; None for no lower limit.

    Raises:
        UsageError: the metric is unknown, or no limit or a limit that is not finite was given.

    Example:
        >>> print(Slo("response_p99", at_most=0.8))
        response_p99 at most 0.8 s
    """

    metric: str
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if self.metric not in _READERS:
            raise UsageError(f"SLO on {self.metric!r}", hint=f"known metrics: {', '.join(METRICS)}")
        bounds = [bound for bound in (self.at_most, self.at_least) if bound is not None]
        if not bounds or not all(math.isfinite(bound) for bound in bounds):
            raise UsageError(f"SLO on {self.metric} without a limit", hint="give at_most or at_least, a finite number")
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            raise UsageError(f"SLO on {self.metric}: at least {self.at_least} and at most {self.at_most}")

    def __str__(self) -> str:
        unit = _READERS[self.metric][0]
        limits = [("at least", self.at_least), ("at most", self.at_most)]
        return f"{self.metric} " + " and ".join(
            f"{name} {limit:g}{_unit_suffix(unit)}" for name, limit in limits if limit is not None
        )

    def evaluate(self, summary: Summary, cost: Cost | None) -> float | str:
        """Return the value of the metric, or a message why there is none."""
        return _READERS[self.metric][1](summary, cost)

    def is_met(self, value: float) -> bool:
        """Tell whether a value is within the limits."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


def _unit_suffix(unit: str) -> str:
    return f" {unit}" if unit == "s" else unit


@dataclass(frozen=True, slots=True)
class SloCheck:
    """Result of checking one SLO against one run.

    Args:
        slo: the SLO.
        step: label of the run's step.
        value: value of the metric; None if it could not be evaluated.
        is_met: False also if it could not be evaluated.
        reason: the SLO, `met`, `violated` or `not evaluated`, and the value or why there is none.
    """

    slo: Slo
    step: str
    value: float | None
    is_met: bool
    reason: str


def check_slos(slos: Iterable[Slo], *, step: str, summary: Summary, cost: Cost | None) -> tuple[SloCheck, ...]:
    """Check each SLO against one run; `step` is the label of its step."""
    checks = []
    for slo in slos:
        value = slo.evaluate(summary, cost)
        if isinstance(value, str):
            checks.append(SloCheck(slo, step, None, is_met=False, reason=f"{slo}: not evaluated, {value}"))
        else:
            is_met = slo.is_met(value)
            status = "met" if is_met else "violated"
            observed = f"{value:.4g}{_unit_suffix(_READERS[slo.metric][0])}"
            checks.append(SloCheck(slo, step, value, is_met=is_met, reason=f"{slo}: {status}, {observed}"))
    return tuple(checks)
