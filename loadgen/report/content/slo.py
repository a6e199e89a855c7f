"""What is said before any number: why a run is INVALID, and which promises were kept."""

from loadgen.analysis.findings import Analysis
from loadgen.report.content.table import DASH, Cell, Column, Table, sanitize_text, text_cell


def reasons_table(findings: Analysis) -> Table:
    """Return why the run is INVALID: what was seen, what would have been accepted, what to change."""
    columns = tuple(
        Column(name, is_text=True) for name in ("What is wrong", "Seen", "Would be accepted", "What to change")
    )
    cells = tuple(
        (text_cell(r.problem), text_cell(r.observed), text_cell(r.limit), text_cell(r.remedy))
        for r in findings.verdict.reasons
    )
    return Table("Why", columns, cells)


def slo_table(findings: Analysis) -> Table | None:
    """Return every promise with what was seen, on every run; None when nothing was promised."""
    checks = [(row, check) for row in findings.runs for check in row.slos]
    if not checks:
        return None
    counted = {id(check) for check in findings.slos}
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


def slo_sentence(findings: Analysis) -> str:
    """Say in one sentence whether the promises were kept; empty when there were none."""
    if not findings.slos:
        return ""
    broken = findings.violated_slos
    if not broken:
        return f"All {len(findings.slos)} promises were kept." if len(findings.slos) > 1 else "The promise was kept."
    first = f"{sanitize_text(broken[0].step)}: {sanitize_text(broken[0].reason)}"
    return f"{len(broken)} of {len(findings.slos)} promises were not kept, such as {first}."


def _observed(reason: str, slo_text: str) -> str:
    """Return a check's reason without the promise that it begins with."""
    return reason.removeprefix(f"{slo_text}: ") or DASH
