"""The CSV summaries: columns of sm-serverless-benchmarking first, added columns after them; latencies in milliseconds.

An empty cell is a value that does not exist or needs more calls; it is never 0 or -1.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.cost import Cost
from loadgen.analysis.latency import PERCENTILES, Latency
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.analysis.summary import Tps
from loadgen.measurement.cloudwatch_metrics import UNITS, CloudWatchMetric
from loadgen.report.content.cloudwatch import metric_value
from loadgen.report.content.labels import client_count_of, max_concurrency_of, runs_in_phase
from loadgen.report.content.outcomes import failure_counts
from loadgen.report.content.table import percentile_name, sanitize_text
from loadgen.results.manifest import Manifest

CsvValue = str | int | float | None
_FORMULA_PREFIXES = ("=", "+", "-", "@")


def csv_cell(text: str) -> str:
    r"""Return text from a server as a cell: one line that a spreadsheet does not execute as a formula.

    Source: OWASP, "CSV Injection".

    Example:
        >>> csv_cell('=HYPERLINK("http://x")')
        '\'=HYPERLINK("http://x")'
    """
    clean = sanitize_text(text)
    return f"'{clean}" if clean.startswith(_FORMULA_PREFIXES) else clean


def csv_text(rows: Iterable[Mapping[str, CsvValue]]) -> str:
    """Return rows as CSV text; the keys of the first row are the columns, and no rows give empty text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for i, row in enumerate(rows):
        if i == 0:
            writer.writerow(row)
        writer.writerow(_format_value(value) for value in row.values())
    return out.getvalue()


def _format_value(value: CsvValue) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return csv_cell(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.9g}" if math.isfinite(value) else ""


def configuration_columns(row: RunAnalysis, *, include_concurrency: bool) -> dict[str, CsvValue]:
    """Return the configuration columns; `include_concurrency` adds max_concurrency and num_clients."""
    columns: dict[str, CsvValue] = {}
    if include_concurrency:
        columns = {"max_concurrency": max_concurrency_of(row), "num_clients": client_count_of(row)}
    return columns | {"memory_size": row.memory_mb}


def stability_summary_csv(manifest: Manifest, analysis: Analysis) -> str:
    """Return `invocation_benchmark_summary.csv`: one row per memory size."""
    return csv_text(
        {"memory_size": row.memory_mb, "successful_invocations": row.summary.ok}
        | _latency_columns("invocation_latency", row.summary.service, ("min", "mean", "median", "max", "iqr"))
        | _percentile_columns("invocation_latency", row.summary.service)
        | _outcome_columns(row)
        | _tps_columns(row.summary.tps)
        | _cold_start_columns(row)
        | _context_columns(manifest, row)
        | _interval_columns(row)
        for row in runs_in_phase(analysis, "stability")
    )


def concurrency_summary_csv(manifest: Manifest, analysis: Analysis) -> str:
    """Return `concurrency_benchmark_summary.csv`: one row per MaxConcurrency and number of clients."""
    rows = runs_in_phase(analysis, "concurrency")
    return csv_text(_concurrency_row(manifest, row) | _interval_columns(row) for row in rows)


def _concurrency_row(manifest: Manifest, row: RunAnalysis) -> dict[str, CsvValue]:
    predecessors = ("throttle_exception", "insufficient_memory_error", "other_model_error", "num_invocations")
    counts, s = _outcome_columns(row), row.summary
    return (
        configuration_columns(row, include_concurrency=True)
        | {name: counts[name] for name in predecessors}
        | _latency_columns("invocation_latency", s.service, ("median", "mean", "max", "iqr"))
        | _tps_columns(s.tps)
        | {"successful_invocations": s.ok}
        | counts
        | {"throttles_per_second": s.throttled_per_second}
        | {"throttle_share_depends_on_backoff": s.throttled / s.scheduled if s.scheduled else None}
        | _latency_columns("invocation_latency", s.service, ("min",))
        | _percentile_columns("invocation_latency", s.service)
        | _cold_start_columns(row)
        | _latency_columns("throttled_latency", s.throttled_latency, ("median", "max"))
        | _latency_columns("failed_latency", s.failed_latency, ("median", "max"))
        | _context_columns(manifest, row)
    )


def steps_summary_csv(manifest: Manifest, analysis: Analysis) -> str:
    """Return `steps_summary.csv`: one row per step of the scenario, with service and response times."""
    return csv_text(
        {"step": row.run.step.label, "load": "open loop" if row.run.is_open_loop else "closed loop"}
        | _concurrency_row(manifest, row)
        | _latency_columns("response_time", row.summary.response, ("min", "mean", "median", "max", "iqr"))
        | _percentile_columns("response_time", row.summary.response)
        | _interval_columns(row)
        for row in runs_in_phase(analysis, "")
    )


def _latency_columns(name: str, latency: Latency | None, statistics: Sequence[str]) -> dict[str, CsvValue]:
    if latency is None:
        return {f"{name}_{statistic}": None for statistic in statistics}
    values = {
        "min": latency.minimum,
        "mean": latency.mean,
        "median": latency.median,
        "max": latency.maximum,
        "iqr": latency.iqr,
    }
    return {f"{name}_{statistic}": values[statistic] * 1000 for statistic in statistics}


def _percentile_columns(name: str, latency: Latency | None) -> dict[str, CsvValue]:
    """Return each percentile with the ends of its 95 % interval."""
    columns: dict[str, CsvValue] = {}
    for percent in PERCENTILES:
        found = latency.percentiles.get(percent) if latency is not None else None
        ends = (None, None, None) if found is None else (found.value * 1000, found.low * 1000, found.high * 1000)
        key = f"{name}_{percentile_name(percent)}"
        columns |= dict(zip((key, f"{key}_low", f"{key}_high"), ends, strict=True))
    return columns


def _outcome_columns(row: RunAnalysis) -> dict[str, CsvValue]:
    """Return the outcome columns; with successful_invocations all but the total and the warm-up add up to the total."""
    memory, model, other = failure_counts(row)
    return {
        "num_invocations": row.summary.scheduled,
        "throttle_exception": row.summary.throttled,
        "insufficient_memory_error": memory,
        "other_model_error": model,
        "other_failures": other,
        "unfinished": row.summary.unfinished,
        "warmup_invocations": row.summary.warmup,
    }


def _cold_start_columns(row: RunAnalysis) -> dict[str, CsvValue]:
    """Return counts and latencies of cold and warm calls."""
    starts = row.summary.cold_starts
    names = ("cold_invocations", "warm_invocations", "cold_or_warm_unknown")
    if starts is None:
        counts: dict[str, CsvValue] = dict.fromkeys(names)
    else:
        counts = dict(zip(names, (starts.cold, starts.warm, starts.unknown), strict=True))
    return (
        counts
        | _latency_columns("cold_latency", starts.cold_service if starts else None, ("median", "max"))
        | _latency_columns("warm_latency", starts.warm_service if starts else None, ("median", "max"))
    )


def _tps_columns(tps: Tps | None) -> dict[str, CsvValue]:
    names = ("tps_avg", "tps_p25", "tps_p50", "tps_p75", "tps_max", "tps_seconds")
    if tps is None:
        return dict.fromkeys(names)
    return dict(zip(names, (tps.average, tps.p25, tps.p50, tps.p75, tps.maximum, tps.seconds), strict=True))


def _interval_columns(row: RunAnalysis) -> dict[str, CsvValue]:
    """Return the ends of the 95 % intervals of mean, TPS and shares, and the effective number of ok calls."""
    s, latency = row.summary, row.summary.service
    intervals = {
        "invocation_latency_mean": latency.mean_interval.scaled(1000) if latency and latency.mean_interval else None,
        "tps_avg": None if s.tps is None else s.tps.interval,
        "throttle_share": s.shares.throttled,
        "failure_share": s.shares.failed,
        "unfinished_share": s.shares.unfinished,
    }
    columns: dict[str, CsvValue] = {"effective_invocations": latency.effective_count if latency else None}
    for name, interval in intervals.items():
        if name.endswith("_share"):
            columns[name] = None if interval is None else interval.value
        columns |= {
            f"{name}_low": interval.low if interval else None,
            f"{name}_high": interval.high if interval else None,
        }
    return columns


def _context_columns(manifest: Manifest, row: RunAnalysis) -> dict[str, CsvValue]:
    return {
        "verdict": str(row.verdict),
        "measured_on": manifest.identity.kind,
        "stop_reason": row.run.stop_reason,
        "duration_seconds": row.run.duration,
        "endpoint": row.run.endpoint,
        "failure": row.run.failure,
    }


def metrics_csv(rows: Sequence[RunAnalysis], *, include_concurrency: bool) -> str:
    """Return `endpoint_metrics.csv`: each metric in CloudWatch's unit, or why it is missing."""
    return csv_text(
        _metric_columns(name, row.run.metrics.values.get(name))
        | configuration_columns(row, include_concurrency=include_concurrency)
        | {"endpoint": row.run.endpoint, "not_available": _unavailable_reason(row, name)}
        for row in rows
        for name in metric_names(rows)
    )


def _metric_columns(name: str, metric: CloudWatchMetric | None) -> dict[str, CsvValue]:
    if metric is None:
        return {"metric_name": name} | dict.fromkeys(_STATISTICS) | {"Unit": UNITS.get(name, "")}
    statistics = (
        metric.average,
        metric.minimum,
        metric.maximum,
        *(metric.percentiles.get(p) for p in ("p25", "p50", "p75")),
    )
    more = (metric.sample_count, metric.total, *(metric.percentiles.get(p) for p in ("p90", "p95", "p99")))
    values = (*statistics, metric.unit, _iso_timestamp(metric.timestamp), *more)
    return {"metric_name": name} | dict(zip(_STATISTICS, values, strict=True))


_STATISTICS = (
    *("Average", "Minimum", "Maximum", "p25", "p50", "p75", "Unit", "Timestamp"),
    *("SampleCount", "Sum", "p90", "p95", "p99"),
)


def _unavailable_reason(row: RunAnalysis, name: str) -> str:
    if name in row.run.metrics.values:
        return ""
    return row.run.metrics.unavailable.get(name) or row.run.failure or "not queried"


def metric_names(rows: Sequence[RunAnalysis]) -> tuple[str, ...]:
    """Return the known metrics in AWS's order, then any others of these runs by name."""
    others = {name for row in rows for name in (*row.run.metrics.values, *row.run.metrics.unavailable)} - set(UNITS)
    return (*UNITS, *sorted(others))


def metrics_summary_csv(rows: Sequence[RunAnalysis], *, include_concurrency: bool) -> str:
    """Return `endpoint_metrics_summary.csv`: one value per metric; latencies in ms, counts as sums."""
    return csv_text(
        configuration_columns(row, include_concurrency=include_concurrency) | _metric_values(row, metric_names(rows))
        for row in rows
    )


def _metric_values(row: RunAnalysis, names: Iterable[str]) -> dict[str, CsvValue]:
    values = row.run.metrics.values
    return {name: metric_value(values[name]) if name in values else None for name in names}


def cost_csv(manifest: Manifest, analysis: Analysis) -> str:
    """Return `metrics_with_cost.csv`: metrics and cost of each memory size, USD."""
    return csv_text(_cost_rows(manifest, analysis))


def _cost_rows(manifest: Manifest, analysis: Analysis) -> Iterator[dict[str, CsvValue]]:
    rows = runs_in_phase(analysis, "stability")
    names = metric_names(rows)
    for row in rows:
        yield (
            {"memory_size": row.memory_mb}
            | _metric_values(row, names)
            | _cost_columns(row.cost)
            | {"price_source": analysis.price_source, "measured_on": manifest.identity.kind}
        )


def _cost_columns(cost: Cost | None) -> dict[str, CsvValue]:
    names = (
        *("average_latency", "cost_per_invocation", "cost_per_1M_invocations"),
        *("average_latency_with_cold", "cost_per_1M_invocations_with_cold"),
        *("provisioned_usd_per_hour", "latency_from", "request_bytes", "response_bytes", "price_unknown"),
        *("cost_per_1M_invocations_low", "cost_per_1M_invocations_high"),
    )
    if cost is None:
        return dict.fromkeys(names)
    latencies = (
        cost.billed_duration * 1000,
        None if cost.billed_duration_with_cold_starts is None else cost.billed_duration_with_cold_starts * 1000,
    )
    values = (
        *(latencies[0], cost.per_invocation, cost.per_million),
        *(latencies[1], cost.per_million_with_cold_starts),
        *(
            cost.provisioned_hourly,
            cost.billed_source,
            cost.request_bytes,
            cost.response_bytes,
            cost.unavailable_reason,
        ),
        *((None, None) if cost.per_million_interval is None else cost.per_million_interval.ends or (None, None)),
    )
    return dict(zip(names, values, strict=True))


def savings_csv(analysis: Analysis) -> str:
    """Return `cost_savings_summary.csv`: serverless and instance up to the break-even point, USD per month."""
    rows = () if analysis.savings is None else analysis.savings.rows
    header = ("monthly_invocations", "serverless_monthly_cost", "instance_monthly_cost", "monthly_percent_savings")
    text = csv_text(
        dict(zip(header, (r.monthly_invocations, r.serverless_usd, r.instance_usd, r.percent_saved), strict=True))
        for r in rows
    )
    return text or ",".join(header) + "\n"


def _iso_timestamp(instant: float) -> str:
    return datetime.fromtimestamp(instant, tz=UTC).isoformat()
