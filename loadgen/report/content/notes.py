"""Footnotes of the tables of measurements."""

from collections.abc import Sequence

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.report.content.labels import short_label
from loadgen.report.content.table import MAX_DEPENDENT_SHARE, percentile_note, sanitize_text

# A client of a closed loop sends when it is free, so no call waits for its scheduled time.
SAME_RESPONSE_TIME_NOTE = "Closed loop: response time equals service time."


def percentile_notes(rows: Sequence[RunAnalysis], percents: Sequence[float]) -> tuple[str, ...]:
    """Explain the dashes of percentiles for which at least one of the runs has too few ok calls."""
    latencies = [latency for row in rows if (latency := row.summary.service) is not None]
    return percentile_note([p for p in percents if any(latency.percentiles.get(p) is None for latency in latencies)])


def dependence_notes(rows: Sequence[RunAnalysis]) -> tuple[str, ...]:
    """Say of which runs the calls depend on each other, and of how many independent ones they carry as much."""
    return tuple(
        f"{short_label(row)}: its {latency.count:,} ok calls depend on each other and carry as much as "
        f"{latency.effective_count:,.0f} independent ones."
        for row in rows
        if (latency := row.summary.service) is not None
        and latency.effective_count is not None
        and latency.effective_count < MAX_DEPENDENT_SHARE * latency.count
    )


def tps_notes(rows: Sequence[RunAnalysis]) -> tuple[str, ...]:
    """Explain the dashes of TPS columns."""
    if any(row.summary.ok and row.summary.tps is None for row in rows):
        return ("–: TPS needs a run with at least one whole second.",)
    return ()


def run_notes(rows: Sequence[RunAnalysis]) -> tuple[str, ...]:
    """Return the notes that limit what these rows say: failures, damage, INVALID runs, runs stopped early."""
    notes = [f"{short_label(row)}: {sanitize_text(row.run.failure)}." for row in rows if row.run.failure]
    notes += [
        f"{short_label(row)}: no successful responses." for row in rows if row.summary.scheduled and not row.summary.ok
    ]
    notes += [f"{short_label(row)}: {sanitize_text(note)}." for row in rows for note in row.run.data_errors]
    if invalid := [short_label(row) for row in rows if not row.verdict.is_valid and row.summary.ok]:
        notes.append(f"INVALID (see the reasons at the top): {'; '.join(invalid)}.")
    if stopped := [short_label(row) for row in rows if row.run.stop_reason == "errors"]:
        notes.append(f"Stopped at the error limit: {'; '.join(stopped)}.")
    if any(row.run.together for row in rows):
        notes.append("Several endpoints were measured at the same time; they may have influenced each other.")
    return tuple(notes)
