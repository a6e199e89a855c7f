"""The verdict's reasons and the SLO checks, shown before any other number."""

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.slo import SloCheck, SloStatus
from loadgen.report.content.table import Cell, Column, Table, text_cell


def reasons_table(analysis: Analysis) -> Table:
    """Return the failed validity checks: observed value, limit and remedy."""
    columns = tuple(Column(name, is_text=True) for name in ("Failed check", "Observed", "Limit", "Remedy"))
    cells = tuple(
        (text_cell(r.problem), text_cell(r.observed), text_cell(r.limit), text_cell(r.remedy))
        for r in analysis.verdict.reasons
    )
    return Table("Reasons", columns, cells)


def slo_table(analysis: Analysis) -> Table | None:
    """Return every SLO check of every run with the observed value; None without SLOs."""
    checks = [check for row in analysis.runs for check in row.slos]
    if not checks:
        return None
    counted = {id(check) for check in analysis.slos}
    columns = (
        Column("Step", is_text=True),
        Column("SLO", "", "Limit on one metric of a run, from the scenario.", is_text=True),
        Column("Met", "", "Not decided: the 95 % interval of the value contains the limit.", is_text=True),
        Column("Observed", is_text=True),
    )
    cells = tuple(
        (
            text_cell(check.step),
            text_cell(str(check.slo)),
            Cell(_met(check) + ("" if id(check) in counted else " (not counted)")),
            text_cell(_observed(check.reason, str(check.slo))),
        )
        for check in checks
    )
    notes: tuple[str, ...] = ()
    if len(counted) < len(checks):
        notes = ("Not counted: sizes that are not recommended, and runs with more clients than MaxConcurrency.",)
    return Table("SLO checks", columns, cells, notes)


def slo_sentence(analysis: Analysis) -> str:
    """Return one sentence on whether the SLOs are met; empty without SLOs."""
    count, violated = len(analysis.slos), len(analysis.violated_slos)
    if not count:
        return ""
    undecided = sum(check.status is SloStatus.UNDECIDED for check in analysis.slos)
    if violated:
        of_these = sum(check.status is SloStatus.UNDECIDED for check in analysis.violated_slos)
        return f"{violated} of {count} SLO checks not met" + (
            f", {of_these} of these not decided." if of_these else "."
        )
    if undecided:
        return f"{count - undecided} of {count} SLO checks are met, {undecided} not decided, which the SLOs accept."
    return "The SLO is met." if count == 1 else f"All {count} SLO checks are met."


def _met(check: SloCheck) -> str:
    if check.status is SloStatus.UNDECIDED:
        return "not decided" + (" (accepted)" if check.is_met else "")
    return "yes" if check.is_met else "NO"


def _observed(reason: str, slo_text: str) -> str:
    """Return a check's reason without the SLO and its status."""
    return reason.removeprefix(f"{slo_text}: ").partition(", ")[2]
