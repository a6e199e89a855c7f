"""The metrics that are compared, and the blocks that each needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.statistics.interval import Interval
from loadgen.statistics.order_statistics import calls_needed

MIN_BLOCK_CALLS = 20


@dataclass(frozen=True, slots=True)
class Metric:
    """One compared metric.

    Args:
        name: name in options and files.
        title: name in tables.
        unit: unit in which it is displayed; empty for shares, which are displayed in percent.
        factor: of the displayed unit per stored unit.
        percent: of a percentile; 0 otherwise.
        is_share: True for a share of the calls: its change is a difference in percentage points, not a ratio.
        more_is_worse: False for throughput.
        is_default_gate: whether it decides the exit status without --fail-if.
    """

    name: str
    title: str
    unit: str = "ms"
    factor: float = 1000.0
    percent: float = 0.0
    is_share: bool = False
    more_is_worse: bool = True
    is_default_gate: bool = False

    @property
    def block_calls(self) -> int:
        """Calls that a block needs: one beyond the percentile is expected among them."""
        return max(MIN_BLOCK_CALLS, round(100 / (100 - self.percent)) if self.percent else 0)


METRICS = (
    Metric("mean", "mean"),
    Metric("p50", "p50", percent=50, is_default_gate=True),
    Metric("p90", "p90", percent=90),
    Metric("p95", "p95", percent=95, is_default_gate=True),
    Metric("p99", "p99", percent=99),
    Metric("cost", "cost per million calls", "USD", 1.0, is_default_gate=True),
    Metric("tps", "TPS", "/s", 1.0, more_is_worse=False, is_default_gate=True),
    Metric("throttled", "throttled share", "", 100.0, is_share=True, is_default_gate=True),
    Metric("failed", "failed share", "", 100.0, is_share=True, is_default_gate=True),
)
METRIC_BY_NAME: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in METRICS})


def measured_values(row: RunAnalysis) -> dict[str, Interval | str]:
    """Return each metric of one run with its interval, or why it has none.

    Latencies are response times in an open loop and service times in a closed loop: what a caller waits for.
    """
    found: dict[str, Interval | str] = {}
    latency, summary = row.summary.response, row.summary
    for metric in METRICS[:5]:
        if latency is None:
            found[metric.name] = "no call was ok"
        elif not metric.percent:
            mean = latency.mean_interval
            found["mean"] = mean or Interval(latency.mean, None, None, latency.count, None)
        elif (value := latency.percentiles.get(metric.percent)) is not None:
            found[metric.name] = Interval(value.value, value.low, value.high, latency.count, latency.effective_count)
        else:
            independent = calls_needed(metric.percent)
            found[metric.name] = f"needs {independent:,} independent ok calls, got {_independent(latency)}"
    found["cost"] = _cost(row)
    tps = summary.tps
    if tps is None:
        found["tps"] = "needs one whole second of load"
    else:
        found["tps"] = tps.interval or Interval(tps.average, None, None, tps.seconds, None)
    found["throttled"] = summary.shares.throttled or "no call was completed"
    found["failed"] = summary.shares.failed or "no call was completed"
    return found


def _independent(latency: object) -> str:
    effective, count = getattr(latency, "effective_count", None), getattr(latency, "count", 0)
    return f"{count if effective is None else effective:,.0f}"


def _cost(row: RunAnalysis) -> Interval | str:
    if row.run.step.config is None:
        return "an existing endpoint has no known configuration"
    if row.cost is None:
        return "no call was ok"
    if row.cost.per_million is None:
        return row.cost.unavailable_reason
    return row.cost.per_million_interval or Interval(row.cost.per_million, None, None, row.summary.ok, None)
