"""Latency tables: of each memory size, and of a scenario's own steps."""

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.latency import Latency
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.analysis.summary import Tps
from loadgen.report.content.columns import MEMORY_COLUMN, OK_COLUMN, STEP_COLUMN, TPS_COLUMN
from loadgen.report.content.labels import memory_cell, recommended_row, runs_in_phase, short_label
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
    independent_count_cell,
    interval_cell,
    milliseconds_cell,
    number_cell,
    percent_cell,
    percentile_cell,
)

_TAIL = (90.0, 95.0, 99.0)
_EXTREME_TAIL = (99.9,)
_LATENCY_COLUMNS = (
    Column("Min", "ms"),
    Column("Mean", "ms", "Arithmetic mean. Nothing is trimmed; cold starts are included.", is_wide=True),
    Column("Median", "ms", "Half of the calls were faster. Below it: its 95 % confidence interval."),
    Column("p75", "ms", "75 % of the calls were faster.", is_wide=True),
    Column("p90", "ms", "90 % of the calls were faster."),
    Column("p95", "ms", "95 % of the calls were faster."),
    # Source: MLPerf inference rules, "Constraints": queries for a 99 % confidence in each percentile.
    Column("p99", "ms", "99 % of the calls were faster. MLPerf requires 262,742 calls for it; see the interval."),
    Column("p99.9", "ms", "99.9 % of the calls were faster.", is_wide=True),
    Column("Max", "ms", "Slowest call, cold starts included."),
    Column("IQR", "ms", "Interquartile range: width of the middle half of all calls.", is_wide=True),
)


def _latency_cells(latency: Latency | None) -> tuple[Cell, ...]:
    """Return the cells of the latency columns; dashes if there was no successful response."""
    if latency is None:
        return (MISSING_CELL,) * len(_LATENCY_COLUMNS)
    return (
        milliseconds_cell(latency.minimum),
        Cell(milliseconds_cell(latency.mean).text, interval_cell(latency.mean_interval, factor=1000).detail),
        Cell(milliseconds_cell(latency.median).text, percentile_cell(latency.percentiles.get(50.0)).detail),
        percentile_cell(latency.percentiles.get(75.0)),
        *(percentile_cell(latency.percentiles.get(p)) for p in (*_TAIL, *_EXTREME_TAIL)),
        milliseconds_cell(latency.maximum),
        milliseconds_cell(latency.iqr if latency.count > 1 else None),
    )


def ok_cell(row: RunAnalysis) -> Cell:
    """Return the number of ok calls, and of how many independent ones they carry as much."""
    latency = row.summary.service
    return independent_count_cell(row.summary.ok, None if latency is None else latency.effective_count)


def tps_cell(tps: Tps | None) -> Cell:
    """Return the average TPS with its interval; a dash without a whole second."""
    if tps is None:
        return MISSING_CELL
    return Cell(number_cell(tps.average).text, interval_cell(tps.interval).detail)


def stability_table(analysis: Analysis) -> Table:
    """Return the latencies of each memory size."""
    rows = runs_in_phase(analysis, "stability")
    note = f"Service time of ok calls; one client, MaxConcurrency 1. {SAME_RESPONSE_TIME_NOTE}"
    return Table(
        "Latency of each memory size",
        (MEMORY_COLUMN, OK_COLUMN, *_LATENCY_COLUMNS),
        tuple((memory_cell(row), ok_cell(row), *_latency_cells(row.summary.service)) for row in rows),
        (note, *dependence_notes(rows), *percentile_notes(rows, _TAIL), *run_notes(rows)),
        highlighted_row=recommended_row(rows, analysis),
        wide_notes=percentile_notes(rows, _EXTREME_TAIL),
    )


def steps_table(analysis: Analysis) -> Table:
    """Return throughput, service times and response times of a scenario's own steps."""
    rows = runs_in_phase(analysis, "")
    kind_meaning = "service: time from sent to done. response: time from scheduled to done."
    throttle_meaning = "Share of calls throttled. In a closed loop it depends on the backoff."
    columns = (
        *(STEP_COLUMN, Column("Kind", "", kind_meaning, is_text=True), OK_COLUMN, TPS_COLUMN),
        Column("Throttle %", "", throttle_meaning, is_wide=True),
        *_LATENCY_COLUMNS,
    )
    cells = []
    for row in rows:
        s = row.summary
        rates = (
            ok_cell(row),
            tps_cell(s.tps),
            Cell(percent_cell(s.throttled, s.scheduled).text, interval_cell(s.shares.throttled, factor=100).detail),
        )
        kind = Cell("service" if row.run.is_open_loop else "both*")
        cells.append((Cell(short_label(row)), kind, *rates, *_latency_cells(s.service)))
        if row.run.is_open_loop:
            cells.append((Cell(""), Cell("response"), *(Cell(""),) * 3, *_latency_cells(s.response)))
    note = () if all(row.run.is_open_loop for row in rows) else (f"* {SAME_RESPONSE_TIME_NOTE}",)
    return Table(
        "Throughput and latency of each step",
        columns,
        tuple(cells),
        (*note, *tps_notes(rows), *dependence_notes(rows), *percentile_notes(rows, _TAIL), *run_notes(rows)),
        wide_notes=percentile_notes(rows, _EXTREME_TAIL),
    )
