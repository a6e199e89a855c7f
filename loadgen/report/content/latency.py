"""The tables of what was measured: the stability benchmark, the concurrency benchmark, and steps of the user's own."""

from collections.abc import Sequence

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.analysis.summary import Latency
from loadgen.report.content.labels import (
    STEP_COLUMN,
    client_count_of,
    max_concurrency_of,
    memory_mb_of,
    recommended_row,
    runs_in_phase,
    short_label,
)
from loadgen.report.content.table import (
    MISSING_CELL,
    Cell,
    Column,
    Table,
    count_cell,
    dash_note,
    milliseconds_cell,
    number_cell,
    percent_cell,
    percentile_cell,
    sanitize_text,
    text_cell,
)
from loadgen.workload.load import ClosedLoop

_TAIL = (90.0, 95.0, 99.0)
_EXTREME_TAIL = (99.9,)
_CHUNK_SAMPLES = 1 << 18  # samples looked at together
_MEMORY = Column("Memory", "MB", "MemorySizeInMB of the endpoint; its CPU grows with it.")
_MAX_CONCURRENCY = Column(
    "Max conc.", "", "MaxConcurrency of the endpoint: requests served at once. One more is refused."
)
_CLIENTS = Column("Clients", "", "Simulated callers. Each waits for its answer before it calls again.")
_OK = Column("ok", "calls", "Calls that were answered well. Latencies are theirs alone.")
_THROTTLED = Column("Throttled", "calls", "Calls refused with a ThrottlingException.")
_LATENCY_COLUMNS = (
    Column("Min", "ms"),
    Column("Mean", "ms", "The arithmetic mean. Nothing is trimmed: cold starts are in it.", is_wide=True),
    Column("Median", "ms", "Half of the calls were faster; below it, where the true value lies with 95 % confidence."),
    Column("p75", "ms", "Three calls in four were faster.", is_wide=True),
    Column("p90", "ms", "Nine calls in ten were faster."),
    Column("p95", "ms", "19 calls in 20 were faster."),
    # Source: MLPerf inference rules, "Constraints": queries for a 99 % confidence in each percentile.
    Column("p99", "ms", "99 calls in 100 were faster. MLPerf asks for 262,742 calls; with fewer, mind the interval."),
    Column("p99.9", "ms", "999 calls in 1,000 were faster.", is_wide=True),
    Column("Max", "ms", "The slowest call, cold starts included."),
    Column("IQR", "ms", "Interquartile range: the width of the middle half of all calls.", is_wide=True),
)


def latency_cells(latency: Latency | None) -> tuple[Cell, ...]:
    """Return the cells of the latency columns; dashes when no call was answered."""
    if latency is None:
        return (MISSING_CELL,) * len(_LATENCY_COLUMNS)
    return (
        milliseconds_cell(latency.minimum),
        milliseconds_cell(latency.mean),
        Cell(milliseconds_cell(latency.median).text, percentile_cell(latency.percentiles.get(50.0)).detail),
        percentile_cell(latency.percentiles.get(75.0)),
        *(percentile_cell(latency.percentiles.get(p)) for p in (*_TAIL, *_EXTREME_TAIL)),
        milliseconds_cell(latency.maximum),
        milliseconds_cell(latency.iqr if latency.count > 1 else None),
    )


def _dash_notes(rows: Sequence[RunAnalysis], percents: Sequence[float]) -> tuple[str, ...]:
    """Explain the dashes of the percentiles that at least one row with answers is too small for."""
    kept = [latency for row in rows if (latency := row.summary.service) is not None]
    return dash_note([p for p in percents if any(latency.percentiles.get(p) is None for latency in kept)])


def _row_notes(rows: Sequence[RunAnalysis]) -> tuple[str, ...]:
    """Say what must be known to read these rows."""
    notes = list(_dash_notes(rows, _TAIL))
    notes += [f"{short_label(row)}: {sanitize_text(row.run.failure)}." for row in rows if row.run.failure]
    notes += [
        f"{short_label(row)}: no call was answered well."
        for row in rows
        if row.summary.scheduled and not row.summary.ok
    ]
    notes += [f"{short_label(row)}: {sanitize_text(note)}." for row in rows for note in row.run.data_errors]
    invalid = [short_label(row) for row in rows if not row.verdict.is_valid]
    if invalid:
        notes.append(f"INVALID, for the reasons given at the top: {'; '.join(invalid)}.")
    stopped = [short_label(row) for row in rows if row.run.stop_reason == "errors"]
    if stopped:
        notes.append(f"Given up after too many errors: {'; '.join(stopped)}.")
    if any(row.run.together for row in rows):
        notes.append("Several endpoints were measured at the same time: they may have disturbed each other.")
    return tuple(notes)


# Each client of a closed loop calls when it is free: no call waits for its turn.
_SAME_RESPONSE_TIME = "Closed loop: the response time is the same by definition."


def _tps_notes(rows: Sequence[RunAnalysis]) -> tuple[str, ...]:
    if any(row.summary.ok and row.summary.tps is None for row in rows):
        return ("TPS needs a run of at least one whole second between its first and its last.",)
    return ()


def stability_table(analysis: Analysis) -> Table:
    """Return the latencies of each memory size."""
    rows = runs_in_phase(analysis, "stability")
    return Table(
        "Latency of each memory size",
        (_MEMORY, _OK, *_LATENCY_COLUMNS),
        tuple((_memory_cell(row), count_cell(row.summary.ok), *latency_cells(row.summary.service)) for row in rows),
        (f"Service time of ok calls; one client, MaxConcurrency 1. {_SAME_RESPONSE_TIME}", *_row_notes(rows)),
        highlighted_row=recommended_row(rows, analysis),
        wide_notes=_dash_notes(rows, _EXTREME_TAIL),
    )


def _memory_cell(row: RunAnalysis) -> Cell:
    memory_mb = memory_mb_of(row)
    return MISSING_CELL if memory_mb is None else Cell(str(memory_mb))


def concurrency_table(analysis: Analysis) -> Table:
    """Return throughput, refusals and latencies of each MaxConcurrency under each number of clients."""
    rows = runs_in_phase(analysis, "concurrency")
    columns = (
        *(_MAX_CONCURRENCY, _CLIENTS),
        Column("Calls", "", "Requests that were due, warm-up left out."),
        Column("TPS", "1/s", "Ok answers per second, averaged over whole seconds, empty ones included."),
        Column("TPS p50", "1/s", "The median of the ok answers of each whole second.", is_wide=True),
        Column("TPS max", "1/s", "The best whole second.", is_wide=True),
        _THROTTLED,
        Column("Thr./s", "1/s", "Calls refused per second of the run."),
        Column(
            "Share*",
            "%",
            "Share of calls throttled. It depends on the backoff: how soon refused clients retry.",
        ),
        Column("Failed", "calls", "Every failure that is no throttle."),
        Column("Median", "ms"),
        *(Column("Mean", "ms", is_wide=True), Column("p95", "ms", is_wide=True), Column("p99", "ms", is_wide=True)),
        *(Column("Max", "ms"), Column("IQR", "ms", is_wide=True)),
    )
    notes = (
        f"Latencies are service times of ok calls. {_SAME_RESPONSE_TIME}",
        "A call that was refused counts as throttled only.",
        f"* depends on backoff: {_describe_backoffs(rows)}. Compare throttles per second instead.",
    )
    cells = tuple(
        (count_cell(max_concurrency_of(row)), count_cell(client_count_of(row)), *_concurrency_cells(row))
        for row in rows
    )
    return Table("Throughput, refusals and latency", columns, cells, (*notes, *_tps_notes(rows), *_row_notes(rows)))


def _concurrency_cells(row: RunAnalysis) -> tuple[Cell, ...]:
    s, tps, latency = row.summary, row.summary.tps, row.summary.service
    return (
        count_cell(s.scheduled),
        number_cell(tps.average if tps else None),
        number_cell(tps.p50 if tps else None),
        number_cell(tps.maximum if tps else None),
        count_cell(s.throttled),
        number_cell(s.throttled_per_second),
        percent_cell(s.throttled, s.scheduled),
        count_cell(s.failed),
        milliseconds_cell(latency.median if latency else None),
        milliseconds_cell(latency.mean if latency else None),
        percentile_cell(latency.percentiles.get(95.0)) if latency else MISSING_CELL,
        percentile_cell(latency.percentiles.get(99.0)) if latency else MISSING_CELL,
        milliseconds_cell(latency.maximum if latency else None),
        milliseconds_cell(latency.iqr if latency and latency.count > 1 else None),
    )


def _describe_backoffs(rows: Sequence[RunAnalysis]) -> str:
    pauses = {row.run.step.load.backoff for row in rows if isinstance(row.run.step.load, ClosedLoop)}
    said = sorted(
        f"{p:g} s" if isinstance(p, float | int) else f"{p.low:g} to {p.high:g} s (drawn evenly)" for p in pauses
    )
    return f"a refused client paused {' or '.join(said)} before it called again" if said else "a refused client retries"


def recommended_concurrency_table(analysis: Analysis) -> Table:
    """Return the smallest MaxConcurrency that served each number of clients."""
    return Table(
        "Smallest MaxConcurrency without throttles",
        (_CLIENTS, Column("MaxConcurrency"), Column("Why", is_text=True)),
        tuple(
            (count_cell(a.clients), count_cell(a.max_concurrency), text_cell(a.reason))
            for a in analysis.concurrency_recommendations
        ),
        ()
        if all(a.max_concurrency for a in analysis.concurrency_recommendations)
        else ("–: none of those measured served them all.",),
    )


def steps_table(analysis: Analysis) -> Table:
    """Return throughput and both latencies of the user's own steps."""
    rows = runs_in_phase(analysis, "")
    columns = (
        STEP_COLUMN,
        Column(
            "Kind", "", "Service time: what the target took. Response time: from when the call was due.", is_text=True
        ),
        _OK,
        Column("TPS", "1/s", "Ok answers per second, averaged over whole seconds, empty ones included."),
        Column("Throttled", "%", "Share of calls refused. In a closed loop it depends on the backoff.", is_wide=True),
        *_LATENCY_COLUMNS,
    )
    cells = []
    for row in rows:
        s = row.summary
        first = (Cell(short_label(row)), Cell("service" if row.run.is_open_loop else "both*"))
        rates = (
            count_cell(s.ok),
            number_cell(s.tps.average if s.tps else None),
            percent_cell(s.throttled, s.scheduled),
        )
        cells.append((*first, *rates, *latency_cells(s.service)))
        if row.run.is_open_loop:
            cells.append((Cell(""), Cell("response"), *(Cell(""),) * 3, *latency_cells(s.response)))
    note = () if all(row.run.is_open_loop for row in rows) else ("* in a closed loop response time is service time.",)
    notes = (*note, *_tps_notes(rows), *_row_notes(rows))
    return Table(
        "Throughput and latency of each step", columns, tuple(cells), notes, wide_notes=_dash_notes(rows, _EXTREME_TAIL)
    )
