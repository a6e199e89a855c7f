"""The tables in a terminal. Plain text when it is none: no colours, no more than 80 columns, ASCII of our own.

What comes from servers is put in as text, never as markup, and holds no control characters (table.sanitize_text).
"""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.report.content.cost import cost_table, savings_sentence
from loadgen.report.content.labels import runs_in_phase
from loadgen.report.content.latency import (
    concurrency_table,
    recommended_concurrency_table,
    stability_table,
    steps_table,
)
from loadgen.report.content.outcomes import outcome_table
from loadgen.report.content.provenance import provenance_view
from loadgen.report.content.recommendation import recommendation_view
from loadgen.report.content.slo import slo_sentence
from loadgen.report.content.table import DASH, MISSING_CELL, Table, sanitize_text
from loadgen.results.manifest import Manifest

# So that a terminal of any encoding can show what we write ourselves.
_ASCII = str.maketrans({"–": "-", "—": "-", "·": "-", "×": "x", "µ": "u"})
_MAX_ERRORS = 5


def render_report(manifest: Manifest, analysis: Analysis) -> RenderableType:
    """Return the verdict, the recommendation and the tables, to be printed on a rich console of 80 columns or more."""
    return Group(*_sections(manifest, analysis))


def _sections(manifest: Manifest, analysis: Analysis) -> Iterator[RenderableType]:
    yield from _verdict(manifest, analysis)
    if said := slo_sentence(analysis):
        yield _text(f"Promises: {said}", "bold green" if not analysis.violated_slos else "bold red")
    for check in analysis.violated_slos:
        yield _bullet(f"{sanitize_text(check.step)}: {sanitize_text(check.reason)}")
    yield from _recommendation(analysis)
    if stability := runs_in_phase(analysis, "stability"):
        yield _render_table(stability_table(analysis))
        yield from _failure_details(stability)
        yield _render_table(cost_table(analysis))
        yield _text(savings_sentence(analysis))
    if concurrency := runs_in_phase(analysis, "concurrency"):
        yield _render_table(concurrency_table(analysis))
        yield from _failure_details(concurrency)
        if analysis.concurrency_recommendations:
            yield _render_table(recommended_concurrency_table(analysis))
    if own := runs_in_phase(analysis, ""):
        yield _render_table(steps_table(analysis))
        yield from _failure_details(own)


def _verdict(manifest: Manifest, analysis: Analysis) -> Iterator[RenderableType]:
    """Yield what must be read before any number."""
    place = provenance_view(manifest)
    if place.watermark:
        yield _text(f"{place.watermark}: {place.headline}", "bold yellow")
    yield _text(str(analysis.verdict), "bold green" if analysis.verdict.is_valid else "bold red")
    for reason in analysis.verdict.reasons:
        said = (f"{reason.problem}: {reason.observed}", f"accepted: {reason.limit}", reason.remedy)
        yield _bullet("; ".join(sanitize_text(part) for part in said))
    for note in analysis.verdict.notes:
        yield _bullet(sanitize_text(note))


def _recommendation(analysis: Analysis) -> Iterator[RenderableType]:
    choice = recommendation_view(analysis)
    if choice is None:
        return
    yield _text("")
    yield _text(f"Recommendation: {choice.answer}", "bold")
    if choice.warning:
        yield _text(choice.warning, "bold red")
    yield _text(choice.reason)


def _failure_details(rows: Sequence[RunAnalysis]) -> Iterator[RenderableType]:
    """Yield where every call went, unless all of them went well."""
    if any(row.summary.ok != row.summary.scheduled or row.run.failure for row in rows):
        yield _render_table(outcome_table(rows))
    seen = [
        f"{code.outcome.label}: {sanitize_text(code.code, 60)} {sanitize_text(code.message, 120)}".rstrip()
        for row in rows
        for code in row.run.error_codes
    ]
    distinct = list(dict.fromkeys(seen))
    for said in distinct[:_MAX_ERRORS]:
        yield _bullet(said)
    if len(distinct) > _MAX_ERRORS:
        yield _bullet(f"and {len(distinct) - _MAX_ERRORS} more errors; the report has them all")


def _render_table(table: Table) -> RenderableType:
    """Return a table without its wide columns: its title above, its footnotes below."""
    shown = [i for i, column in enumerate(table.columns) if not column.is_wide]
    drawn = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    has_units = any(table.columns[i].unit for i in shown)
    for i in shown:
        column = table.columns[i]
        head = Text(f"{column.name}\n{column.unit}".translate(_ASCII) if has_units else column.name)
        drawn.add_column(head, justify="left" if column.is_text else "right", overflow="fold")
    for n, row in enumerate(table.rows):
        cells = [Text(row[i].text.translate(_ASCII)) for i in shown]
        drawn.add_row(*cells, style="bold" if n == table.highlighted_row else None)
    # A footnote on dashes is of no use where the column that has them is left out.
    has_dashes = any(row[i] == MISSING_CELL for row in table.rows for i in shown)
    notes = (_text(note, "dim") for note in table.notes if has_dashes or not note.startswith(DASH))
    return Padding(Group(_text(table.title, "bold"), drawn, *notes), (1, 0, 0, 0))


def _text(text: str, style: str = "") -> Text:
    return Text(text.translate(_ASCII), style=style)


def _bullet(text: str) -> RenderableType:
    return Padding(_text(f"- {text}"), (0, 0, 0, 2))
