"""Tables of the concurrency benchmark: throughput, throttles, latency, and the recommended MaxConcurrency."""

from collections.abc import Sequence

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.report.content.columns import THROTTLED_COLUMN, TPS_COLUMN
from loadgen.report.content.labels import client_count_of, max_concurrency_of, runs_in_phase
from loadgen.report.content.latency import tps_cell
from loadgen.report.content.notes import (
    SAME_RESPONSE_TIME_NOTE,
    dependence_notes,
    percentile_notes,
    run_notes,
    tps_notes,
)
from loadgen.report.content.table import (
    MISSING_CELL,
    Cell,
    Column,
    Table,
    count_cell,
    interval_cell,
    milliseconds_cell,
    number_cell,
    percent_cell,
    percentile_cell,
    text_cell,
)
from loadgen.workload.load import ClosedLoop

_CLIENTS = Column("Clients", "", "Simulated clients. Each waits for its response before its next call.")
_THROTTLE_PERCENT_MEANING = "Share of calls throttled. It depends on the backoff after which throttled clients retry."
_COLUMNS = (
    Column("Max conc.", "", "MaxConcurrency of the endpoint: number of requests served at once; more are throttled."),
    _CLIENTS,
    Column("Calls", "", "Requests due, without the warm-up."),
    TPS_COLUMN,
    Column("TPS p50", "1/s", "Median of the successful responses of each whole second.", is_wide=True),
    Column("TPS max", "1/s", "Best whole second.", is_wide=True),
    THROTTLED_COLUMN,
    Column("Throttled/s", "", "Throttled calls per second of the run."),
    Column("Throttle %*", "", _THROTTLE_PERCENT_MEANING, is_wide=True),
    Column("Failed", "calls", "Failed calls; throttled calls are not included."),
    Column("Median", "ms"),
    *(Column("Mean", "ms", is_wide=True), Column("p95", "ms", is_wide=True), Column("p99", "ms", is_wide=True)),
    *(Column("Max", "ms"), Column("IQR", "ms", is_wide=True)),
)


def concurrency_table(analysis: Analysis) -> Table:
    """Return throughput, throttles and latencies of each MaxConcurrency and number of clients."""
    rows = runs_in_phase(analysis, "concurrency")
    backoff_note = f"* depends on the backoff: {_describe_backoffs(rows)}. Compare throttled calls per second instead."
    latency_note = f"Latencies are service times of ok calls. {SAME_RESPONSE_TIME_NOTE}"
    return Table(
        "Throughput, throttles and latency",
        _COLUMNS,
        tuple(_cells(row) for row in rows),
        (latency_note, *tps_notes(rows), *dependence_notes(rows), *run_notes(rows)),
        wide_notes=(backoff_note, *percentile_notes(rows, (95.0, 99.0))),
    )


def _cells(row: RunAnalysis) -> tuple[Cell, ...]:
    s, tps, latency = row.summary, row.summary.tps, row.summary.service
    mean = milliseconds_cell(latency.mean if latency else None)
    return (
        count_cell(max_concurrency_of(row)),
        count_cell(client_count_of(row)),
        count_cell(s.scheduled),
        tps_cell(tps),
        number_cell(tps.p50 if tps else None),
        number_cell(tps.maximum if tps else None),
        count_cell(s.throttled),
        number_cell(s.throttled_per_second),
        Cell(percent_cell(s.throttled, s.scheduled).text, interval_cell(s.shares.throttled, factor=100).detail),
        count_cell(s.failed),
        milliseconds_cell(latency.median if latency else None),
        interval_cell(latency.mean_interval, factor=1000) if latency and latency.mean_interval else mean,
        percentile_cell(latency.percentiles.get(95.0)) if latency else MISSING_CELL,
        percentile_cell(latency.percentiles.get(99.0)) if latency else MISSING_CELL,
        milliseconds_cell(latency.maximum if latency else None),
        milliseconds_cell(latency.iqr if latency and latency.count > 1 else None),
    )


def _describe_backoffs(rows: Sequence[RunAnalysis]) -> str:
    pauses = {row.run.step.load.backoff for row in rows if isinstance(row.run.step.load, ClosedLoop)}
    texts = sorted(
        f"{pause:g} s" if isinstance(pause, float | int) else f"{pause.low:g} to {pause.high:g} s (uniform)"
        for pause in pauses
    )
    return (
        f"a throttled client waited {' or '.join(texts)} before its next call" if texts else "throttled clients retry"
    )


def recommended_concurrency_table(analysis: Analysis) -> Table:
    """Return the smallest MaxConcurrency that served each number of clients."""
    recommendations = analysis.concurrency_recommendations
    is_complete = all(r.max_concurrency for r in recommendations)
    return Table(
        "Smallest MaxConcurrency without throttles",
        (_CLIENTS, Column("MaxConcurrency"), Column("Reason", is_text=True)),
        tuple((count_cell(r.clients), count_cell(r.max_concurrency), text_cell(r.reason)) for r in recommendations),
        () if is_complete else ("–: no measured MaxConcurrency served this many clients.",),
    )
