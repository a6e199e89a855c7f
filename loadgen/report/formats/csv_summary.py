"""The CSV files: the predecessor's names and columns first, ours after them. Latencies are in milliseconds.

An empty cell is a figure that does not exist or that the sample cannot carry; it is never 0 and never -1. Each request,
row by row, is raw.py's.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from loadgen.analysis.cost import Cost
from loadgen.analysis.findings import Findings, Row
from loadgen.analysis.summary import PERCENTILES, Latency, Tps
from loadgen.measurement.cloudwatch_metrics import UNITS, Metric
from loadgen.report.content.cloudwatch import metric_figure
from loadgen.report.content.labels import clients_of, memory_of, rows_of, slots_of
from loadgen.report.content.outcomes import failures
from loadgen.report.content.table import legible, percentile_name
from loadgen.results.manifest import Manifest

Value = str | int | float | None
_FORMULA = ("=", "+", "-", "@")


def field(text: str) -> str:
    r"""Return text from a server as a cell: one line, and nothing that a spreadsheet would carry out.

    Source: OWASP, "CSV Injection".

    Example:
        >>> field('=HYPERLINK("http://x")')
        '\'=HYPERLINK("http://x")'
    """
    said = legible(text)
    return f"'{said}" if said.startswith(_FORMULA) else said


def table(rows: Iterable[Mapping[str, Value]]) -> str:
    """Return rows as CSV text, the first row's keys being the columns; empty text when there are none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for i, row in enumerate(rows):
        if i == 0:
            writer.writerow(row)
        writer.writerow(_cell(value) for value in row.values())
    return out.getvalue()


def _cell(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return field(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.9g}" if math.isfinite(value) else ""


def where(row: Row, *, is_cell: bool) -> dict[str, Value]:
    """Return the columns that say which configuration a row is; `is_cell` for one of several clients and slots."""
    cell: dict[str, Value] = {"max_concurrency": slots_of(row), "num_clients": clients_of(row)} if is_cell else {}
    return cell | {"memory_size": memory_of(row)}


def stability_summary(manifest: Manifest, findings: Findings) -> str:
    """Return `invocation_benchmark_summary.csv`: a row for each memory size."""
    return table(
        {"memory_size": memory_of(row), "successful_invocations": row.summary.ok}
        | _latency("invocation_latency", row.summary.service, ("min", "mean", "median", "max", "iqr"))
        | _percentiles("invocation_latency", row.summary.service)
        | _counts(row)
        | _tps(row.summary.tps)
        | _starts(row)
        | _circumstances(manifest, row)
        for row in rows_of(findings, "stability")
    )


def concurrency_summary(manifest: Manifest, findings: Findings) -> str:
    """Return `concurrency_benchmark_summary.csv`: a row for each MaxConcurrency and number of clients."""
    return table(_cell_row(manifest, row) for row in rows_of(findings, "concurrency"))


def _cell_row(manifest: Manifest, row: Row) -> dict[str, Value]:
    predecessors = ("throttle_exception", "insufficient_memory_error", "other_model_error", "num_invocations")
    counts, s = _counts(row), row.summary
    return (
        where(row, is_cell=True)
        | {name: counts[name] for name in predecessors}
        | _latency("invocation_latency", s.service, ("median", "mean", "max", "iqr"))
        | _tps(s.tps)
        | {"successful_invocations": s.ok}
        | counts
        | {"throttles_per_second": s.throttled_per_second}
        | {"throttle_share_depends_on_backoff": s.throttled / s.scheduled if s.scheduled else None}
        | _latency("invocation_latency", s.service, ("min",))
        | _percentiles("invocation_latency", s.service)
        | _starts(row)
        | _latency("throttled_latency", s.refused, ("median", "max"))
        | _latency("failed_latency", s.failures, ("median", "max"))
        | _circumstances(manifest, row)
    )


def steps_summary(manifest: Manifest, findings: Findings) -> str:
    """Return `steps_summary.csv`: a row for each step of the user's own, with both latencies."""
    return table(
        {"step": row.run.step.name, "load": "open loop" if row.run.is_open_loop else "closed loop"}
        | _cell_row(manifest, row)
        | _latency("response_time", row.summary.response, ("min", "mean", "median", "max", "iqr"))
        | _percentiles("response_time", row.summary.response)
        for row in rows_of(findings, "")
    )


def _latency(name: str, latency: Latency | None, wanted: Sequence[str]) -> dict[str, Value]:
    if latency is None:
        return {f"{name}_{which}": None for which in wanted}
    figures = {
        "min": latency.minimum,
        "mean": latency.mean,
        "median": latency.median,
        "max": latency.maximum,
        "iqr": latency.iqr,
    }
    return {f"{name}_{which}": figures[which] * 1000 for which in wanted}


def _percentiles(name: str, latency: Latency | None) -> dict[str, Value]:
    """Return each percentile with the ends of its 95 % interval."""
    figures: dict[str, Value] = {}
    for percent in PERCENTILES:
        found = latency.percentiles.get(percent) if latency is not None else None
        ends = (None, None, None) if found is None else (found.value * 1000, found.low * 1000, found.high * 1000)
        key = f"{name}_{percentile_name(percent)}"
        figures |= dict(zip((key, f"{key}_low", f"{key}_high"), ends, strict=True))
    return figures


def _counts(row: Row) -> dict[str, Value]:
    """Return where every call is counted: successful_invocations and all of these but the total add up to it."""
    memory, model, other = failures(row)
    return {
        "num_invocations": row.summary.scheduled,
        "throttle_exception": row.summary.throttled,
        "insufficient_memory_error": memory,
        "other_model_error": model,
        "other_failures": other,
        "unfinished": row.summary.unfinished,
        "warmup_invocations": row.summary.warmup,
    }


def _starts(row: Row) -> dict[str, Value]:
    """Return cold calls apart from warm ones."""
    starts = row.summary.cold
    names = ("cold_invocations", "warm_invocations", "cold_or_warm_unknown")
    if starts is None:
        counts: dict[str, Value] = dict.fromkeys(names)
    else:
        counts = dict(zip(names, (starts.cold, starts.warm, starts.unknown), strict=True))
    return (
        counts
        | _latency("cold_latency", starts.cold_service if starts else None, ("median", "max"))
        | _latency("warm_latency", starts.warm_service if starts else None, ("median", "max"))
    )


def _tps(tps: Tps | None) -> dict[str, Value]:
    names = ("tps_avg", "tps_p25", "tps_p50", "tps_p75", "tps_max", "tps_seconds")
    if tps is None:
        return dict.fromkeys(names)
    return dict(zip(names, (tps.average, tps.p25, tps.p50, tps.p75, tps.maximum, tps.seconds), strict=True))


def _circumstances(manifest: Manifest, row: Row) -> dict[str, Value]:
    return {
        "verdict": str(row.verdict),
        "measured_on": manifest.identity.kind,
        "ended_by": row.run.ended_by,
        "duration_seconds": row.run.duration,
        "endpoint": row.run.endpoint,
        "failure": row.run.failure,
    }


def metrics(rows: Sequence[Row], *, is_cell: bool) -> str:
    """Return `endpoint_metrics.csv`: each metric in CloudWatch's own unit, or why it is missing."""
    return table(
        _metric(name, row.run.metrics.values.get(name))
        | where(row, is_cell=is_cell)
        | {"endpoint": row.run.endpoint, "not_available": _missing(row, name)}
        for row in rows
        for name in metric_names(rows)
    )


def _metric(name: str, metric: Metric | None) -> dict[str, Value]:
    if metric is None:
        return {"metric_name": name} | dict.fromkeys(_STATISTICS) | {"Unit": UNITS.get(name, "")}
    figures = (
        metric.average,
        metric.minimum,
        metric.maximum,
        *(metric.percentiles.get(p) for p in ("p25", "p50", "p75")),
    )
    more = (metric.samples, metric.total, *(metric.percentiles.get(p) for p in ("p90", "p95", "p99")))
    values = (*figures, metric.unit, _iso(metric.timestamp), *more)
    return {"metric_name": name} | dict(zip(_STATISTICS, values, strict=True))


_STATISTICS = (
    *("Average", "Minimum", "Maximum", "p25", "p50", "p75", "Unit", "Timestamp"),
    *("SampleCount", "Sum", "p90", "p95", "p99"),
)


def _missing(row: Row, name: str) -> str:
    if name in row.run.metrics.values:
        return ""
    return row.run.metrics.missing.get(name) or row.run.failure or "not asked for"


def metric_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the metrics these rows have or miss, in AWS's order, then any others by name."""
    others = {name for row in rows for name in (*row.run.metrics.values, *row.run.metrics.missing)} - set(UNITS)
    return (*UNITS, *sorted(others))


def metrics_summary(rows: Sequence[Row], *, is_cell: bool) -> str:
    """Return `endpoint_metrics_summary.csv`: one figure for each metric; ms for latencies, sums for counts."""
    return table(where(row, is_cell=is_cell) | _figures(row, metric_names(rows)) for row in rows)


def _figures(row: Row, names: Iterable[str]) -> dict[str, Value]:
    values = row.run.metrics.values
    return {name: metric_figure(values[name]) if name in values else None for name in names}


def cost(manifest: Manifest, findings: Findings) -> str:
    """Return `metrics_with_cost.csv`: what calling each memory size costs; USD."""
    return table(_cost_rows(manifest, findings))


def _cost_rows(manifest: Manifest, findings: Findings) -> Iterator[dict[str, Value]]:
    rows = rows_of(findings, "stability")
    names = metric_names(rows)
    for row in rows:
        yield (
            {"memory_size": memory_of(row)}
            | _figures(row, names)
            | _paid(row.cost)
            | {"price_source": findings.price_source, "measured_on": manifest.identity.kind}
        )


def _paid(paid: Cost | None) -> dict[str, Value]:
    names = (
        *("average_latency", "cost_per_invocation", "cost_per_1M_invocations"),
        *("average_latency_with_cold", "cost_per_1M_invocations_with_cold"),
        *("provisioned_usd_per_hour", "latency_from", "request_bytes", "response_bytes", "price_unknown"),
    )
    if paid is None:
        return dict.fromkeys(names)
    latencies = (paid.billed * 1000, None if paid.billed_with_cold is None else paid.billed_with_cold * 1000)
    values = (
        *(latencies[0], paid.per_invocation, paid.per_million),
        *(latencies[1], paid.per_million_with_cold),
        *(paid.provisioned_hourly, paid.billed_from, paid.request_bytes, paid.response_bytes, paid.unknown),
    )
    return dict(zip(names, values, strict=True))


def savings(findings: Findings) -> str:
    """Return `cost_savings_summary.csv`: serverless against an instance up to the break-even point; USD a month."""
    found = findings.savings
    rows = () if found is None else found.rows
    head = ("monthly_invocations", "serverless_monthly_cost", "instance_monthly_cost", "monthly_percent_savings")
    text = table(
        dict(zip(head, (r.monthly_invocations, r.serverless_usd, r.instance_usd, r.percent_saved), strict=True))
        for r in rows
    )
    return text or ",".join(head) + "\n"


def _iso(instant: float) -> str:
    return datetime.fromtimestamp(instant, tz=UTC).isoformat()
