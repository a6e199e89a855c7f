"""Service level objectives: a limit on one metric of a run, and its check against the metric's 95 % interval.

An SLO is met when the whole interval is within the limit, violated when the whole interval is beyond it, and else not
decided. What has no samples is never met.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from loadgen.analysis.cost import Cost
from loadgen.analysis.slo_metrics import (
    ANSWERED_WITHIN,
    METRICS,
    NoValue,
    answered_within_name,
    is_metric,
    is_share,
    metric_unit,
    read_metric,
)
from loadgen.analysis.summary import Summary
from loadgen.errors import UsageError
from loadgen.measurement.run import Run
from loadgen.statistics.interval import Interval

_MAX_CALLS_TO_DECIDE = 1e7  # above it, the value lies at the limit


class SloStatus(StrEnum):
    """Whether an SLO is met, with 95 % confidence."""

    MET = "met"
    VIOLATED = "violated"
    UNDECIDED = "not decided"


@dataclass(frozen=True, slots=True)
class Slo:
    """Limit one metric of every run.

    Args:
        metric: a metric: `service_` or `response_` with mean, median, max, p50, p75, p90, p95, p99 or p999 (seconds);
            `answered_within_300ms` or another time (share of all scheduled requests; see `answered_within`);
            `throttle_share` and `failure_share` (of ok + throttled + failed), `dropped_share` (of the scheduled
            requests: dropped, cancelled or lost with a worker); `throttled_per_second`, `tps_average`;
            `cost_per_million` (USD).
        at_most: largest value that meets the SLO; None for no upper limit.
        at_least: smallest value that meets it; None for no lower limit.
        on_undecided: `fail` or `pass`: the result when the calls are too few to decide.

    Raises:
        UsageError: the metric is unknown, or no limit or a limit that is not finite was given.

    Example:
        >>> print(Slo("response_p99", at_most=0.8))
        response_p99 at most 0.8 s
    """

    metric: str
    at_most: float | None = None
    at_least: float | None = None
    on_undecided: Literal["fail", "pass"] = "fail"

    def __post_init__(self) -> None:
        if not is_metric(self.metric):
            known = ", ".join((*METRICS, ANSWERED_WITHIN))
            raise UsageError(f"SLO on {self.metric!r}", hint=f"known metrics: {known}")
        bounds = [bound for bound in (self.at_most, self.at_least) if bound is not None]
        if not bounds or not all(math.isfinite(bound) for bound in bounds):
            raise UsageError(f"SLO on {self.metric} without a limit", hint="give at_most or at_least, a finite number")
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            raise UsageError(f"SLO on {self.metric}: at least {self.at_least} and at most {self.at_most}")
        if self.on_undecided not in ("fail", "pass"):
            raise UsageError(f"SLO on {self.metric}: on_undecided is {self.on_undecided!r}", hint="give fail or pass")

    @classmethod
    def answered_within(
        cls, seconds: float, *, at_least: float, on_undecided: Literal["fail", "pass"] = "fail"
    ) -> "Slo":
        """Limit the share of requests that are answered well in time.

        A request counts if its response is ok at most `seconds` after its scheduled time. All scheduled requests are
        the whole: those that were throttled, failed or dropped were not answered. Percentiles leave these out.

        Example:
            >>> print(Slo.answered_within(0.3, at_least=0.99))
            answered_within_300ms at least 0.99
        """
        if not (math.isfinite(seconds) and seconds >= 1e-6):
            raise UsageError(f"SLO answered_within {seconds!r} s", hint="give a number of seconds above 0")
        return cls(answered_within_name(seconds), at_least=at_least, on_undecided=on_undecided)

    def __str__(self) -> str:
        limits = [("at least", self.at_least), ("at most", self.at_most)]
        return f"{self.metric} " + " and ".join(
            f"{name} {limit:g}{metric_unit(self.metric)}" for name, limit in limits if limit is not None
        )

    def status_of(self, interval: Interval) -> SloStatus:
        """Tell whether an interval is within the limits, beyond one of them, or neither.

        Example:
            >>> Slo("response_p95", at_most=0.3).status_of(Interval(0.29, 0.28, 0.31, 400, 400.0)).value
            'not decided'
        """
        low, high = interval.low, interval.high
        if is_share(self.metric) and (self.at_most == 0 or self.at_least == 1):
            # "No failure" is a statement on the calls of this run: no number of calls shows it for all others.
            low = high = interval.value
        if low is None or high is None:
            return SloStatus.UNDECIDED
        if (self.at_most is not None and low > self.at_most) or (self.at_least is not None and high < self.at_least):
            return SloStatus.VIOLATED
        is_within = (self.at_most is None or high <= self.at_most) and (self.at_least is None or low >= self.at_least)
        return SloStatus.MET if is_within else SloStatus.UNDECIDED


@dataclass(frozen=True, slots=True)
class SloCheck:
    """Result of checking one SLO against one run.

    Args:
        slo: the SLO.
        step: label of the run's step.
        value: value of the metric; None if it could not be evaluated.
        is_met: whether the check passes: met, or not decided where `on_undecided` is `pass` and there are samples.
        reason: the SLO, its status, and the value with its interval or why there is none.
        status: met, violated or not decided.
        interval: the value with its 95 % interval; None if it could not be evaluated.
    """

    slo: Slo
    step: str
    value: float | None
    is_met: bool
    reason: str
    status: SloStatus
    interval: Interval | None = None


def check_slos(slos: Iterable[Slo], *, run: Run, summary: Summary, cost: Cost | None) -> tuple[SloCheck, ...]:
    """Check each SLO against one run."""
    return tuple(_check(slo, run, summary, cost) for slo in slos)


def _check(slo: Slo, run: Run, summary: Summary, cost: Cost | None) -> SloCheck:
    found, step = read_metric(slo.metric, run, summary, cost), run.step.label
    if isinstance(found, NoValue):
        status = SloStatus.UNDECIDED
        reason = f"{slo}: {status if found.has_samples else 'not evaluated'}, {found.reason}"
        return SloCheck(slo, step, None, found.has_samples and slo.on_undecided == "pass", reason, status)
    status = slo.status_of(found)
    is_met = status is SloStatus.MET or (status is SloStatus.UNDECIDED and slo.on_undecided == "pass")
    reason = f"{slo}: {status}, {_observed(slo, found)}"
    if status is SloStatus.UNDECIDED:
        reason += _calls_to_decide(slo, found)
    return SloCheck(slo, step, found.value, is_met, reason, status, found)


def _observed(slo: Slo, found: Interval) -> str:
    unit = metric_unit(slo.metric)
    if found.ends is None:
        return f"{found.value:.4g}{unit} (no 95 % interval: too few independent calls)"
    low, high = found.ends
    return f"{found.value:.4g}{unit}" + ("" if low == high else f" (95 % interval {low:.4g} to {high:.4g})")


def _calls_to_decide(slo: Slo, found: Interval) -> str:
    """Return how many calls would probably decide: the interval shrinks with the square root of their number."""
    if found.ends is None or found.count < 1:
        return ""
    low, high = found.ends
    needed = 0.0
    for limit in (slo.at_most, slo.at_least):
        if limit is not None and low <= limit <= high:
            distance = abs(found.value - limit)
            width = high - found.value if limit >= found.value else found.value - low
            needed = max(needed, found.count * (width / distance) ** 2 if distance else math.inf)
    if not needed:
        return ""
    what = "seconds" if slo.metric == "tps_average" else "calls"
    if needed > _MAX_CALLS_TO_DECIDE:
        return f"; the value lies at the limit, so that more {what} may not decide"
    return f"; about {float(f'{needed:.2g}'):,.0f} {what} would decide"
