"""Outcome tables: what happened to the requests of each step."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import WARMUP, ErrorCode
from loadgen.report.content.labels import label_column, short_label
from loadgen.report.content.latency import _CHUNK_SAMPLES, _OK, _THROTTLED
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

# Where every call is counted: each falls into exactly one of the last six, and they add up to the first.
_OUTCOME_COLUMNS = (
    Column("Due", "calls", "Requests that were due, warm-up left out; the columns to its right add up to it."),
    _OK,
    _THROTTLED,
    Column("Out of memory", "calls", "ModelError because the container ran out of memory."),
    Column("Model error", "calls", "Every other ModelError: the container answered with an error."),
    Column("Other failures", "calls", "Every other failure, of the service, the network or this machine."),
    Column("Unfinished", "calls", "No answer by our own doing: dropped since too many were in flight, or cut short."),
    Column("Warm-up", "calls", "First calls, recorded but counted nowhere else.", is_wide=True),
)


def failure_counts(row: RunAnalysis) -> tuple[int, int, int]:
    """Return how many calls ran out of memory, met another model error, or failed in any other way."""
    memory = row.summary.outcomes.get(Outcome.MODEL_OOM, 0)
    model = row.summary.outcomes.get(Outcome.MODEL_ERROR, 0)
    return memory, model, row.summary.failed - memory - model


def _outcome_cells(row: RunAnalysis) -> tuple[Cell, ...]:
    s = row.summary
    figures = (s.scheduled, s.ok, s.throttled, *failure_counts(row), s.unfinished, s.warmup)
    return tuple(count_cell(n) for n in figures)


def cold_start_table(rows: Sequence[RunAnalysis]) -> Table | None:
    """Return cold calls apart from warm ones; None when they were told apart in no run."""
    columns = (
        label_column(rows),
        Column("Cold", "calls", "Ok calls that met a cold start, told from what the client sees; AWS does not say."),
        Column("Share", "%"),
        Column("Warm", "calls"),
        Column("Unknown", "calls", "Ok calls of which it cannot be told whether they met a cold start."),
        Column("Cold median", "ms"),
        Column("Cold max", "ms"),
        Column("Warm median", "ms"),
        Column("Warm p95", "ms"),
        Column("Warm max", "ms"),
        Column("ModelSetupTime", "count", "Cold starts that CloudWatch counted."),
    )
    cells, notes = [], []
    for row in rows:
        starts = row.summary.cold_starts
        if starts is None:
            continue
        cold, warm = starts.cold_service, starts.warm_service
        cells.append(
            (
                Cell(short_label(row)),
                *(
                    count_cell(starts.cold),
                    percent_cell(starts.cold, row.summary.ok),
                    count_cell(starts.warm),
                    count_cell(starts.unknown),
                ),
                *(milliseconds_cell(v) for v in ((cold.median, cold.maximum) if cold else (None, None))),
                milliseconds_cell(warm.median if warm else None),
                percentile_cell(warm.percentiles.get(95.0)) if warm else MISSING_CELL,
                milliseconds_cell(warm.maximum if warm else None),
                count_cell(starts.cloudwatch_cold_starts),
            )
        )
        if starts.is_consistent is False:
            notes.append(f"{short_label(row)}: CloudWatch counted other cold starts than the client saw.")
    return Table("Cold and warm calls", columns, tuple(cells), tuple(notes)) if cells else None


def outcome_table(rows: Sequence[RunAnalysis]) -> Table:
    """Return where every call of these rows is counted: each is in exactly one column."""
    return Table(
        "Where every call went",
        (label_column(rows), *_OUTCOME_COLUMNS),
        tuple((Cell(short_label(row)), *_outcome_cells(row)) for row in rows),
        ("Each call is in exactly one column; they add up to the calls due.",),
    )


def errors_table(rows: Sequence[RunAnalysis]) -> Table:
    """Return every error as its sender named it."""
    columns = (
        label_column(rows),
        Column("Counted as", "", "The outcome: the closed list of what can happen to a call.", is_text=True),
        Column("Code", "", "The error code as the service or this machine named it.", is_text=True),
        Column("HTTP", "", "The status of the answer; a dash when there was none."),
        Column("Calls"),
        Column("First message", "", is_text=True, is_wide=True),
    )
    cells = tuple(
        (
            Cell(short_label(row)),
            Cell(code.outcome.label),
            text_cell(code.code),
            Cell(str(code.status)) if code.status else MISSING_CELL,
            count_cell(calls),
            text_cell(code.message),
        )
        for row in rows
        for code, calls in calls_by_error_code(row)
    )
    return Table("Errors as their sender named them", columns, cells)


def calls_by_error_code(row: RunAnalysis) -> list[tuple[ErrorCode, int | None]]:
    """Return each error of a run with its calls; None where samples were not kept and two codes share an outcome."""
    run = row.run
    if not run.error_codes:
        return []
    if run.samples.size:
        counted = np.zeros(0x10000, dtype=np.int64)
        for start in range(0, len(run.samples), _CHUNK_SAMPLES):
            chunk = run.samples[start : start + _CHUNK_SAMPLES]
            counted += np.bincount(chunk["code"][(chunk["flags"] & WARMUP) == 0], minlength=0x10000)
        return [(code, int(counted[code.number])) for code in run.error_codes]
    shared = Counter(code.outcome for code in run.error_codes)
    return [
        (code, row.summary.outcomes.get(code.outcome, 0) if shared[code.outcome] == 1 else None)
        for code in run.error_codes
    ]
