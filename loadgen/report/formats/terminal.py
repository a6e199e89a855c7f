"""The report in a terminal: at most 80 columns, ASCII apart from table rules; no colors if stdout is not a terminal.

Text from servers is never interpreted as markup and contains no control characters (table.sanitize_text).
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.report.content.concurrency import concurrency_table, recommended_concurrency_table
from loadgen.report.content.cost import cost_table, savings_sentence
from loadgen.report.content.key_figures import recommendation_view
from loadgen.report.content.labels import runs_in_phase
from loadgen.report.content.latency import stability_table, steps_table
from loadgen.report.content.outcomes import calls_by_error_code, outcome_table
from loadgen.report.content.provenance import provenance_view
from loadgen.report.content.slo import slo_sentence
from loadgen.report.content.table import DASH, MISSING_CELL, Table, sanitize_text
from loadgen.results.manifest import Manifest

# For terminals of any encoding.
_ASCII = str.maketrans({"–": "-", "—": "-", "·": "-", "×": "x", "µ": "u"})
_MAX_ERRORS = 5


def render_report(manifest: Manifest, analysis: Analysis) -> RenderableType:
    """Return verdict, SLOs, recommendation and tables, for a rich console of at least 80 columns."""
    return Group(*_sections(manifest, analysis))


def _sections(manifest: Manifest, analysis: Analysis) -> Iterator[RenderableType]:
    yield from _verdict(manifest, analysis)
    if sentence := slo_sentence(analysis):
        yield _text(f"SLOs: {sentence}", "bold green" if not analysis.violated_slos else "bold red")
    for check in analysis.violated_slos:
        yield _bullet(f"{sanitize_text(check.step)}: {sanitize_text(check.reason)}")
    yield from _recommendation(analysis)
    if stability := runs_in_phase(analysis, "stability"):
        yield render_table(stability_table(analysis))
        yield from _failure_details(stability)
        yield render_table(cost_table(analysis))
        yield _text(savings_sentence(analysis))
    if concurrency := runs_in_phase(analysis, "concurrency"):
        yield render_table(concurrency_table(analysis))
        yield from _failure_details(concurrency)
        if analysis.concurrency_recommendations:
            yield render_table(recommended_concurrency_table(analysis))
    if own := runs_in_phase(analysis, ""):
        yield render_table(steps_table(analysis))
        yield from _failure_details(own)


def _verdict(manifest: Manifest, analysis: Analysis) -> Iterator[RenderableType]:
    """Yield the banner and the verdict, which come before any other number."""
    provenance = provenance_view(manifest)
    if provenance.watermark:
        yield _text(f"{provenance.watermark}: {provenance.headline}", "bold yellow")
    is_clean = analysis.verdict.is_valid and not analysis.high_failure_shares
    yield _text(sanitize_text(analysis.headline, 400), "bold green" if is_clean else "bold red")
    for share in analysis.high_failure_shares:
        yield _bullet(sanitize_text(f"{share}: {share.cause}", 400))
    for reason in analysis.verdict.reasons:
        yield _bullet(f"{sanitize_text(str(reason))}; {sanitize_text(reason.remedy)}")
    for note in analysis.verdict.notes:
        yield _bullet(sanitize_text(note))


def _recommendation(analysis: Analysis) -> Iterator[RenderableType]:
    view = recommendation_view(analysis)
    if view is None:
        return
    yield _text("")
    yield _text(f"Recommendation: {view.answer}", "bold")
    if view.warning:
        yield _text(view.warning, "bold red")
    yield _text(view.reason)


def _failure_details(rows: Sequence[RunAnalysis]) -> Iterator[RenderableType]:
    """Yield the outcome breakdown and the errors, unless all calls were ok."""
    if any(row.summary.ok != row.summary.scheduled or row.run.failure for row in rows):
        yield render_table(outcome_table(rows))
    distinct = Counter[str]()
    for row in rows:
        for code, calls in calls_by_error_code(row):
            text = f"{code.outcome.label}: {sanitize_text(code.code, 60)} {sanitize_text(code.message, 120)}".rstrip()
            distinct[text] += calls or 0
    for error, calls in distinct.most_common(_MAX_ERRORS):
        count = f" ({calls:,} call{'' if calls == 1 else 's'})" if calls else ""
        yield _bullet(f"{error}{count}")
    if len(distinct) > _MAX_ERRORS:
        yield _bullet(f"{len(distinct) - _MAX_ERRORS} more errors are listed in the HTML report")


def render_table(table: Table) -> RenderableType:
    """Return a table without its wide columns, with its title above and its footnotes below."""
    shown = [i for i, column in enumerate(table.columns) if not column.is_wide]
    rich_table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    has_units = any(table.columns[i].unit for i in shown)
    for i in shown:
        column = table.columns[i]
        head = Text(f"{column.name}\n{column.unit}".translate(_ASCII) if has_units else column.name)
        rich_table.add_column(head, justify="left" if column.is_text else "right", overflow="fold")
    for n, row in enumerate(table.rows):
        cells = [Text(row[i].text.translate(_ASCII)) for i in shown]
        rich_table.add_row(*cells, style="bold" if n == table.highlighted_row else None)
    # A footnote on dashes is omitted if no shown column has one.
    has_dashes = any(row[i] == MISSING_CELL for row in table.rows for i in shown)
    notes = (_text(note, "dim") for note in table.notes if has_dashes or not note.startswith(DASH))
    return Padding(Group(_text(table.title, "bold"), rich_table, *notes), (1, 0, 0, 0))


def _text(text: str, style: str = "") -> Text:
    return Text(text.translate(_ASCII), style=style)


def _bullet(text: str) -> RenderableType:
    return Padding(_text(f"- {text}"), (0, 0, 0, 2))
