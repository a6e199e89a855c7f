"""What is said before any number: why a run is INVALID, and which promises were kept."""

from loadgen.analysis.analysis import Analysis
from loadgen.report.content.table import DASH, Cell, Column, Table, sanitize_text, text_cell


def reasons_table(analysis: Analysis) -> Table:
    """Return why the run is INVALID: what was seen, what would have been accepted, what to change."""
    columns = tuple(
        Column(name, is_text=True) for name in ("What is wrong", "Seen", "Would be accepted", "What to change")
    )
    cells = tuple(
        (text_cell(r.problem), text_cell(r.observed), text_cell(r.limit), text_cell(r.remedy))
        for r in analysis.verdict.reasons
    )
    return Table("Why", columns, cells)


def slo_table(analysis: Analysis) -> Table | None:
    """Return every promise with what was seen, on every run; None when nothing was promised."""
    checks = [(row, check) for row in analysis.runs for check in row.slos]
    if not checks:
        return None
    counted = {id(check) for check in analysis.slos}
    columns = (
        Column("Step", is_text=True),
        Column("Promise", "", "A bound on one figure of a run, as the scenario states it.", is_text=True),
        Column("Kept", is_text=True),
        Column("Seen", is_text=True),
    )
    cells = tuple(
        (
            text_cell(check.step),
            text_cell(str(check.slo)),
            Cell(("yes" if check.is_met else "NO") + ("" if id(check) in counted else " (not counted)")),
            text_cell(_observed(check.reason, str(check.slo))),
        )
        for _, check in checks
    )
    notes: tuple[str, ...] = ()
    if len(counted) < len(checks):
        notes = (
            "Not counted: sizes that are not recommended, and cells whose clients exceed MaxConcurrency by design.",
        )
    return Table("Promises", columns, cells, notes)


def slo_sentence(analysis: Analysis) -> str:
    """Say in one sentence whether the promises were kept; empty when there were none."""
    if not analysis.slos:
        return ""
    broken = analysis.violated_slos
    if not broken:
        return f"All {len(analysis.slos)} promises were kept." if len(analysis.slos) > 1 else "The promise was kept."
    first = f"{sanitize_text(broken[0].step)}: {sanitize_text(broken[0].reason)}"
    return f"{len(broken)} of {len(analysis.slos)} promises were not kept, such as {first}."


def _observed(reason: str, slo_text: str) -> str:
    """Return a check's reason without the promise that it begins with."""
    return reason.removeprefix(f"{slo_text}: ") or DASH
