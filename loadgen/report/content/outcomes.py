"""Outcome tables: the category of every request, cold starts, and the errors."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import WARMUP, ErrorCode
from loadgen.report.content.columns import OK_COLUMN, THROTTLED_COLUMN
from loadgen.report.content.labels import label_column, short_label
from loadgen.report.content.table import (
    MISSING_CELL,
    Cell,
    Column,
    Table,
    count_cell,
    milliseconds_cell,
    percent_cell,
    percentile_cell,
    text_cell,
)

_CHUNK = 1 << 18  # samples per chunk
# Each request is in exactly one column from ok to Unfinished; they add up to the first.
_OUTCOME_COLUMNS = (
    Column("Due", "calls", "Requests due, without the warm-up; the columns from ok to Unfinished add up to it."),
    OK_COLUMN,
    THROTTLED_COLUMN,
    Column("Out of memory", "calls", "ModelError because the container ran out of memory."),
    Column("Model error", "calls", "Any other ModelError: the container returned an error."),
    Column("Other failures", "calls", "Any other failure of the service, the network or this machine."),
    Column("Unfinished", "calls", "Dropped at max_in_flight, cancelled at the end, or lost with a worker."),
    Column("Warm-up", "calls", "Calls of the warm-up; recorded, but not counted elsewhere.", is_wide=True),
)


def failure_counts(row: RunAnalysis) -> tuple[int, int, int]:
    """Return the numbers of out-of-memory errors, other model errors, and other failures."""
    memory = row.summary.outcomes.get(Outcome.MODEL_OOM, 0)
    model = row.summary.outcomes.get(Outcome.MODEL_ERROR, 0)
    return memory, model, row.summary.failed - memory - model


def outcome_table(rows: Sequence[RunAnalysis]) -> Table:
    """Return the number of requests per outcome category."""
    cells = []
    for row in rows:
        s = row.summary
        counts = (s.scheduled, s.ok, s.throttled, *failure_counts(row), s.unfinished, s.warmup)
        cells.append((Cell(short_label(row)), *map(count_cell, counts)))
    note = "Each request is in exactly one column; they add up to the requests due."
    return Table("Outcome breakdown", (label_column(rows), *_OUTCOME_COLUMNS), tuple(cells), (note,))


def cold_start_table(rows: Sequence[RunAnalysis]) -> Table | None:
    """Return counts and latencies of cold and warm calls; None if no run has cold-start labels."""
    columns = (
        label_column(rows),
        Column(
            "Cold", "calls", "Ok calls that met a cold start, from client-side observations; AWS does not report it."
        ),
        Column("Cold %"),
        Column("Warm", "calls"),
        Column("Unknown", "calls", "Ok calls that could not be labelled cold or warm."),
        Column("Cold median", "ms"),
        Column("Cold max", "ms"),
        Column("Warm median", "ms"),
        Column("Warm p95", "ms"),
        Column("Warm max", "ms"),
        Column("ModelSetupTime", "count", "Cold starts that CloudWatch counted."),
    )
    labelled = [row for row in rows if row.summary.cold_starts is not None]
    notes = tuple(
        f"{short_label(row)}: CloudWatch counted {starts.cloudwatch_cold_starts:,} cold starts, which the latencies of "
        "the calls do not show; its count stands, and calls that may have been cold are unknown."
        for row in labelled
        if (starts := row.summary.cold_starts) is not None
        and starts.is_consistent is False
        and starts.cloudwatch_cold_starts is not None
    )
    cells = tuple(_cold_start_cells(row) for row in labelled)
    return Table("Cold and warm calls", columns, cells, notes) if cells else None


def _cold_start_cells(row: RunAnalysis) -> tuple[Cell, ...]:
    starts = row.summary.cold_starts
    assert starts is not None  # noqa: S101 - the caller selects labelled runs
    cold, warm = starts.cold_service, starts.warm_service
    return (
        Cell(short_label(row)),
        count_cell(starts.cold),
        percent_cell(starts.cold, row.summary.ok),
        count_cell(starts.warm),
        count_cell(starts.unknown),
        milliseconds_cell(cold.median if cold else None),
        milliseconds_cell(cold.maximum if cold else None),
        milliseconds_cell(warm.median if warm else None),
        percentile_cell(warm.percentiles.get(95.0)) if warm else MISSING_CELL,
        milliseconds_cell(warm.maximum if warm else None),
        count_cell(starts.cloudwatch_cold_starts),
    )


def errors_table(rows: Sequence[RunAnalysis]) -> Table:
    """Return every distinct error with its number of calls."""
    columns = (
        label_column(rows),
        Column("Outcome", "", "How loadgen classifies the error.", is_text=True),
        Column("Code", "", "Error code of the service, or the local cause.", is_text=True),
        Column("HTTP", "", "HTTP status; a dash if there was no response."),
        Column("Container", "", "Status that the model container returned; a dash if there is none.", is_wide=True),
        Column("Calls"),
        Column("First message", "", is_text=True, is_wide=True),
    )
    cells = tuple(
        (
            Cell(short_label(row)),
            Cell(code.outcome.label),
            text_cell(code.code),
            Cell(str(code.status)) if code.status else MISSING_CELL,
            Cell(str(code.original_status)) if code.original_status else MISSING_CELL,
            count_cell(calls),
            text_cell(code.message),
        )
        for row in rows
        for code, calls in calls_by_error_code(row)
    )
    return Table("Errors", columns, cells)


def calls_by_error_code(row: RunAnalysis) -> list[tuple[ErrorCode, int | None]]:
    """Return each error code with its number of calls.

    The number is None if samples were not kept and several codes share an outcome.
    """
    run = row.run
    if not run.error_codes:
        return []
    if run.samples.size:
        counts = np.zeros(0x10000, dtype=np.int64)
        for start in range(0, len(run.samples), _CHUNK):
            chunk = run.samples[start : start + _CHUNK]
            counts += np.bincount(chunk["code"][(chunk["flags"] & WARMUP) == 0], minlength=0x10000)
        return [(code, int(counts[code.number])) for code in run.error_codes]
    codes_per_outcome = Counter(code.outcome for code in run.error_codes)
    return [
        (code, row.summary.outcomes.get(code.outcome, 0) if codes_per_outcome[code.outcome] == 1 else None)
        for code in run.error_codes
    ]
