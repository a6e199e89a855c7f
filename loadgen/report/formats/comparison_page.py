"""The page of a comparison: the answer first, then both distributions, then the tables. Needs no network."""

from markupsafe import Markup

from loadgen.comparison.comparison import Comparison
from loadgen.report.charts.comparison import comparison_chart
from loadgen.report.content.comparison import (
    compared_names,
    comparison_headline,
    gates_table,
    measurements_table,
    step_tables,
)
from loadgen.report.content.table import sanitize_text
from loadgen.report.formats.html_template import content_security_policy, page_environment, template_source


def render_comparison(comparison: Comparison) -> str:
    """Return the comparison as one HTML file."""
    style, script = template_source("report.css"), template_source("report.js")
    return (
        page_environment()
        .get_template("comparison.html")
        .render(
            policy=content_security_policy(style, script),
            style=Markup(style),  # noqa: S704 - a file of this package
            script=Markup(script),  # noqa: S704 - a file of this package
            watermark=_watermark(comparison),
            headline=comparison_headline(comparison),
            interleaved=comparison.is_interleaved,
            heading=sanitize_text(compared_names(comparison)),
            differences=[sanitize_text(text) for text in comparison.differences],
            notes=[sanitize_text(text) for text in comparison.notes],
            chart=comparison_chart(comparison, _watermark(comparison)),
            tables=step_tables(comparison),
            gates=gates_table(comparison),
            measurements=measurements_table(comparison),
        )
    )


def _watermark(comparison: Comparison) -> str:
    kinds = {one.conditions.measured_on for one in (comparison.base, comparison.new)}
    return "" if kinds == {"aws"} else f"Measured on {' and '.join(sorted(kinds))}, not on AWS"
