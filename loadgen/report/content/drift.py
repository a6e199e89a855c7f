"""The table of drift: how latency changed over the rounds in which steps were measured side by side."""

import math
from collections.abc import Sequence

from loadgen.analysis.drift import drift_over_rounds
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.report.content.labels import short_label
from loadgen.report.content.table import MISSING_CELL, Cell, Column, Table


def drift_table(rows: Sequence[RunAnalysis]) -> Table | None:
    """Return the drift over rounds; None when the steps were not measured in the same rounds."""
    rows = [row for row in rows if not row.run.failure]
    drift = drift_over_rounds([row.run for row in rows])
    if drift is None:
        return None
    meaning = "Change of the step's median latency against its own median, after the common change was taken out."
    columns = (
        Column("Rounds", "", "The rounds that are summarized in this row.", is_text=True),
        Column("Common", "%", "Change of latency that the steps had in common: the median over them."),
        *(Column(short_label(row), "%", meaning) for row in rows),
    )
    cells = tuple(
        (Cell(f"{first}" if first == last else f"{first} to {last}"), _percent(common), *map(_percent, own))
        for (first, last), common, own in zip(drift.rounds, drift.common.tolist(), drift.own.tolist(), strict=True)
    )
    note = (
        "In each round every step was called once, so that a change of the region or of this machine falls on all of "
        "them alike and does not change their order."
    )
    return Table("Drift of the median latency over the rounds", columns, cells, (note,))


def _percent(ratio: float) -> Cell:
    # Adding 0 makes a rounded -0.0 positive.
    return Cell(f"{round(100 * (ratio - 1), 1) + 0.0:+.1f}") if math.isfinite(ratio) else MISSING_CELL
