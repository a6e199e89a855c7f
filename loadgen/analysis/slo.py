"""Slo: a promise about one figure of a run, and whether it was kept.

A promise that cannot be told from what was measured is not kept: it says so in its reason.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from loadgen.analysis.cost import Cost
from loadgen.analysis.summary import Latency, Summary
from loadgen.errors import UsageError

_LATENCY_KINDS = ("service", "response")
_PERCENTILE_RANKS = {"p50": 50.0, "p75": 75.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
_LATENCY_STATISTICS = ("mean", "median", "max", *_PERCENTILE_RANKS)


def _latency(summary: Summary, metric: str) -> float | str:
    which, figure = metric.split("_", 1)
    latency: Latency | None = summary.service if which == "service" else summary.response
    if latency is None:
        return "no call was answered well"
    if figure in _PERCENTILE_RANKS:
        percentile = latency.percentiles.get(_PERCENTILE_RANKS[figure])
        return f"{latency.count} calls cannot carry {figure}" if percentile is None else percentile.value
    return {"mean": latency.mean, "median": latency.median, "max": latency.maximum}[figure]


def _share(count: int, of: int) -> float | str:
    return count / of if of else "no request was answered"


def _completed(summary: Summary) -> int:
    return summary.ok + summary.throttled + summary.failed


# Metric -> (unit, how to read it): a figure, or why there is none.
_READERS: Mapping[str, tuple[str, Callable[[Summary, Cost | None], float | str]]] = {
    **{
        f"{which}_{figure}": ("s", lambda s, _, metric=f"{which}_{figure}": _latency(s, metric))  # type: ignore[misc]
        for which in _LATENCY_KINDS
        for figure in _LATENCY_STATISTICS
    },
    "throttle_share": ("", lambda s, _: _share(s.throttled, _completed(s))),
    "failure_share": ("", lambda s, _: _share(s.failed, _completed(s))),
    "dropped_share": ("", lambda s, _: _share(s.unfinished, s.scheduled)),
    "throttled_per_second": ("/s", lambda s, _: s.throttled_per_second),
    "tps_average": ("/s", lambda s, _: "no whole second was measured" if s.tps is None else s.tps.average),
    "cost_per_million": (
        " USD",
        lambda _, c: (
            "no call has a cost" if c is None else c.unavailable_reason if c.per_million is None else c.per_million
        ),
    ),
}
METRICS = tuple(_READERS)


@dataclass(frozen=True, slots=True)
class Slo:
    """Promise that one figure of every run stays within a bound.

    Args:
        metric: one of METRICS: `service_` or `response_` with mean, median, max, p50, p75, p90, p95, p99 or p999
            (seconds); `throttle_share`, `failure_share` (of the answers), `dropped_share` (of the scheduled requests:
            never sent or never answered); `throttled_per_second`, `tps_average`; `cost_per_million` (USD).
        at_most: the largest value that keeps the promise; None for no such bound.
        at_least: the smallest value that keeps it; None for no such bound.

    Raises:
        UsageError: the metric is unknown, or there is no bound, or one that is not a number.

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
            raise UsageError(f"SLO on {self.metric} without a bound", hint="give at_most or at_least, a finite number")
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            raise UsageError(f"SLO on {self.metric}: at least {self.at_least} and at most {self.at_most}")

    def __str__(self) -> str:
        unit = _READERS[self.metric][0]
        words = [("at least", self.at_least), ("at most", self.at_most)]
        return f"{self.metric} " + " and ".join(
            f"{word} {bound:g}{_unit_suffix(unit)}" for word, bound in words if bound is not None
        )

    def evaluate(self, summary: Summary, cost: Cost | None) -> float | str:
        """Return the figure, or in words why there is none."""
        return _READERS[self.metric][1](summary, cost)

    def is_met(self, value: float) -> bool:
        """Tell whether a value keeps the promise."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


def _unit_suffix(unit: str) -> str:
    return f" {unit}" if unit == "s" else unit


@dataclass(frozen=True, slots=True)
class SloCheck:
    """Whether one run kept one promise.

    Args:
        slo: the promise.
        step: the name of the run's step.
        value: the figure; None when it cannot be told.
        is_met: False also when it cannot be told.
        reason: in words, with the figure.
    """

    slo: Slo
    step: str
    value: float | None
    is_met: bool
    reason: str


def check_slos(slos: Iterable[Slo], *, step: str, summary: Summary, cost: Cost | None) -> tuple[SloCheck, ...]:
    """Check each promise against one run."""
    checks = []
    for slo in slos:
        value = slo.evaluate(summary, cost)
        if isinstance(value, str):
            checks.append(SloCheck(slo, step, None, is_met=False, reason=f"{slo}: cannot be told, {value}"))
        else:
            kept = slo.is_met(value)
            word = "kept" if kept else "broken"
            figure = f"{value:.4g}{_unit_suffix(_READERS[slo.metric][0])}"
            checks.append(SloCheck(slo, step, value, is_met=kept, reason=f"{slo}: {word}, {figure}"))
    return tuple(checks)
