"""The tables in a terminal. Plain text when it is none: no colours, no more than 80 columns, ASCII of our own.

What comes from servers is put in as text, never as markup, and holds no control characters (table.legible).
"""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from loadgen.analysis.findings import Findings, Row
from loadgen.report.content.cost import cost_table, savings_sentence
from loadgen.report.content.labels import rows_of
from loadgen.report.content.latency import advice_table, concurrency_table, stability_table, steps_table
from loadgen.report.content.outcomes import counts_table
from loadgen.report.content.provenance import place_of
from loadgen.report.content.recommendation import choice_of
from loadgen.report.content.slo import promises_sentence
from loadgen.report.content.table import DASH, NOTHING, Table, legible
from loadgen.results.manifest import Manifest

# So that a terminal of any encoding can show what we write ourselves.
_ASCII = str.maketrans({"–": "-", "—": "-", "·": "-", "×": "x", "µ": "u"})
_MOST_ERRORS = 5


def tables(manifest: Manifest, findings: Findings) -> RenderableType:
    """Return the verdict, the recommendation and the tables, to be printed on a rich console of 80 columns or more."""
    return Group(*_parts(manifest, findings))


def _parts(manifest: Manifest, findings: Findings) -> Iterator[RenderableType]:
    yield from _verdict(manifest, findings)
    if said := promises_sentence(findings):
        yield _line(f"Promises: {said}", "bold green" if not findings.broken_slos else "bold red")
    for check in findings.broken_slos:
        yield _item(f"{legible(check.step)}: {legible(check.reason)}")
    yield from _choice(findings)
    if stability := rows_of(findings, "stability"):
        yield _table(stability_table(findings))
        yield from _uneven(stability)
        yield _table(cost_table(findings))
        yield _line(savings_sentence(findings))
    if concurrency := rows_of(findings, "concurrency"):
        yield _table(concurrency_table(findings))
        yield from _uneven(concurrency)
        if findings.advice:
            yield _table(advice_table(findings))
    if own := rows_of(findings, ""):
        yield _table(steps_table(findings))
        yield from _uneven(own)


def _verdict(manifest: Manifest, findings: Findings) -> Iterator[RenderableType]:
    """Yield what must be read before any number."""
    place = place_of(manifest)
    if place.mark:
        yield _line(f"{place.mark}: {place.headline}", "bold yellow")
    yield _line(str(findings.verdict), "bold green" if findings.verdict.is_valid else "bold red")
    for reason in findings.verdict.reasons:
        said = (f"{reason.what}: {reason.figure}", f"accepted: {reason.bound}", reason.advice)
        yield _item("; ".join(legible(part) for part in said))
    for note in findings.verdict.notes:
        yield _item(legible(note))


def _choice(findings: Findings) -> Iterator[RenderableType]:
    choice = choice_of(findings)
    if choice is None:
        return
    yield _line("")
    yield _line(f"Recommendation: {choice.answer}", "bold")
    if choice.doubt:
        yield _line(choice.doubt, "bold red")
    yield _line(choice.reason)


def _uneven(rows: Sequence[Row]) -> Iterator[RenderableType]:
    """Yield where every call went, unless all of them went well."""
    if any(row.summary.ok != row.summary.scheduled or row.run.failure for row in rows):
        yield _table(counts_table(rows))
    seen = [
        f"{code.outcome.label}: {legible(code.code, 60)} {legible(code.message, 120)}".rstrip()
        for row in rows
        for code in row.run.codes
    ]
    distinct = list(dict.fromkeys(seen))
    for said in distinct[:_MOST_ERRORS]:
        yield _item(said)
    if len(distinct) > _MOST_ERRORS:
        yield _item(f"and {len(distinct) - _MOST_ERRORS} more errors; the report has them all")


def _table(table: Table) -> RenderableType:
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
        drawn.add_row(*cells, style="bold" if n == table.marked else None)
    # A footnote on dashes is of no use where the column that has them is left out.
    has_dashes = any(row[i] == NOTHING for row in table.rows for i in shown)
    notes = (_line(note, "dim") for note in table.notes if has_dashes or not note.startswith(DASH))
    return Padding(Group(_line(table.title, "bold"), drawn, *notes), (1, 0, 0, 0))


def _line(text: str, style: str = "") -> Text:
    return Text(text.translate(_ASCII), style=style)


def _item(text: str) -> RenderableType:
    return Padding(_line(f"- {text}"), (0, 0, 0, 2))
