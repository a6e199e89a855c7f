"""Outcome tables: what happened to the requests of each step."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from loadgen.analysis.findings import Row
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import WARMUP, Code
from loadgen.report.content.labels import first_column, label
from loadgen.report.content.latency import _CHUNK, _OK, _THROTTLED
from loadgen.report.content.table import NOTHING, Cell, Column, Table, count, milliseconds, percentile, share, words

# Where every call is counted: each falls into exactly one of the last six, and they add up to the first.
_PLACES = (
    Column("Due", "calls", "Requests that were due, warm-up left out; the columns to its right add up to it."),
    _OK,
    _THROTTLED,
    Column("Out of memory", "calls", "ModelError because the container ran out of memory."),
    Column("Model error", "calls", "Every other ModelError: the container answered with an error."),
    Column("Other failures", "calls", "Every other failure, of the service, the network or this machine."),
    Column("Unfinished", "calls", "No answer by our own doing: dropped since too many were in flight, or cut short."),
    Column("Warm-up", "calls", "First calls, recorded but counted nowhere else.", is_wide=True),
)


def failures(row: Row) -> tuple[int, int, int]:
    """Return how many calls ran out of memory, met another model error, or failed in any other way."""
    memory = row.summary.outcomes.get(Outcome.MODEL_OOM, 0)
    model = row.summary.outcomes.get(Outcome.MODEL_ERROR, 0)
    return memory, model, row.summary.failed - memory - model


def _places(row: Row) -> tuple[Cell, ...]:
    s = row.summary
    figures = (s.scheduled, s.ok, s.throttled, *failures(row), s.unfinished, s.warmup)
    return tuple(count(n) for n in figures)


def starts_table(rows: Sequence[Row]) -> Table | None:
    """Return cold calls apart from warm ones; None when they were told apart in no run."""
    columns = (
        first_column(rows),
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
        starts = row.summary.cold
        if starts is None:
            continue
        cold, warm = starts.cold_service, starts.warm_service
        cells.append(
            (
                Cell(label(row)),
                *(count(starts.cold), share(starts.cold, row.summary.ok), count(starts.warm), count(starts.unknown)),
                *(milliseconds(v) for v in ((cold.median, cold.maximum) if cold else (None, None))),
                milliseconds(warm.median if warm else None),
                percentile(warm.percentiles.get(95.0)) if warm else NOTHING,
                milliseconds(warm.maximum if warm else None),
                count(starts.setups),
            )
        )
        if starts.agrees is False:
            notes.append(f"{label(row)}: CloudWatch counted other cold starts than the client saw.")
    return Table("Cold and warm calls", columns, tuple(cells), tuple(notes)) if cells else None


def counts_table(rows: Sequence[Row]) -> Table:
    """Return where every call of these rows is counted: each is in exactly one column."""
    return Table(
        "Where every call went",
        (first_column(rows), *_PLACES),
        tuple((Cell(label(row)), *_places(row)) for row in rows),
        ("Each call is in exactly one column; they add up to the calls due.",),
    )


def errors_table(rows: Sequence[Row]) -> Table:
    """Return every error as its sender named it."""
    columns = (
        first_column(rows),
        Column("Counted as", "", "The outcome: the closed list of what can happen to a call.", is_text=True),
        Column("Code", "", "The error code as the service or this machine named it.", is_text=True),
        Column("HTTP", "", "The status of the answer; a dash when there was none."),
        Column("Calls"),
        Column("First message", "", is_text=True, is_wide=True),
    )
    cells = tuple(
        (
            Cell(label(row)),
            Cell(code.outcome.label),
            words(code.code),
            Cell(str(code.status)) if code.status else NOTHING,
            count(calls),
            words(code.message),
        )
        for row in rows
        for code, calls in calls_by_code(row)
    )
    return Table("Errors as their sender named them", columns, cells)


def calls_by_code(row: Row) -> list[tuple[Code, int | None]]:
    """Return each error of a run with its calls; None where samples were not kept and two codes share an outcome."""
    run = row.run
    if not run.codes:
        return []
    if run.samples.size:
        counted = np.zeros(0x10000, dtype=np.int64)
        for start in range(0, len(run.samples), _CHUNK):
            chunk = run.samples[start : start + _CHUNK]
            counted += np.bincount(chunk["code"][(chunk["flags"] & WARMUP) == 0], minlength=0x10000)
        return [(code, int(counted[code.number])) for code in run.codes]
    shared = Counter(code.outcome for code in run.codes)
    return [
        (code, row.summary.outcomes.get(code.outcome, 0) if shared[code.outcome] == 1 else None) for code in run.codes
    ]
