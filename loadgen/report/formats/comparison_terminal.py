"""A comparison in a terminal: the answer, what limits it, then the tables; at most 80 columns."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from loadgen.comparison.comparison import Comparison
from loadgen.report.content.comparison import comparison_headline, step_tables
from loadgen.report.content.table import sanitize_text
from loadgen.report.formats.terminal import render_table


def render_comparison_text(comparison: Comparison) -> RenderableType:
    """Return the answer and the tables of a comparison, for a rich console of at least 80 columns."""
    return Group(*_sections(comparison))


def _sections(comparison: Comparison) -> Iterator[RenderableType]:
    headline = comparison_headline(comparison)
    style = "bold yellow" if headline.is_open else "bold green" if headline.is_good else "bold red"
    yield Text(f"{headline.title}: {sanitize_text(headline.sentence)}", style)
    if comparison.is_interleaved:
        yield Text("Interleaved: both were called in alternating blocks of one run.")
    for text in comparison.differences:
        yield Text(f"  - compared although: {sanitize_text(text)}", "bold yellow")
    for text in comparison.notes:
        yield Text(f"  - {sanitize_text(text)}")
    for table in step_tables(comparison):
        yield render_table(table)
    for step in comparison.steps:
        for one in step.metrics:
            if one.explanation:
                text = f"  - {step.label}: {one.difference.metric.title} cannot be told: {one.explanation}"
                yield Text(sanitize_text(text))
