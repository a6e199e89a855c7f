"""The report as one HTML file that needs no network.

Everything is escaped except the style, the script, and the charts, whose texts Vega escapes. A Content-Security-Policy
allows style and script by their hashes and forbids everything else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.report.charts.selection import ReportCharts, build_charts
from loadgen.report.charts.vega import Chart
from loadgen.report.content.cloudwatch import metrics_table
from loadgen.report.content.concurrency import concurrency_table, recommended_concurrency_table
from loadgen.report.content.configuration import configuration_table, glossary, step_config_table
from loadgen.report.content.cost import cost_table, savings_sentence, savings_table, scores_table
from loadgen.report.content.drift import drift_table
from loadgen.report.content.generator import figure_validity_table, generator_health_table
from loadgen.report.content.key_figures import recommendation_view
from loadgen.report.content.labels import runs_in_phase
from loadgen.report.content.latency import stability_table, steps_table
from loadgen.report.content.outcomes import cold_start_table, errors_table, outcome_table
from loadgen.report.content.provenance import provenance_view
from loadgen.report.content.slo import reasons_table, slo_sentence, slo_table
from loadgen.report.content.table import Table, sanitize_text
from loadgen.report.formats.html_template import content_security_policy, page_environment, template_source
from loadgen.results.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Block:
    """A chart or a table."""

    table: Table | None = None
    chart: Chart | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page."""

    anchor: str
    title: str
    text: str = ""
    blocks: tuple[Block, ...] = ()
    commands: tuple[str, ...] = ()
    glossary: tuple[tuple[str, str, str], ...] = ()


def render_page(manifest: Manifest, analysis: Analysis, report_charts: ReportCharts | None = None) -> str:
    """Return the report as one HTML file.

    Args:
        manifest: the manifest of the output directory.
        analysis: the analysis of its runs.
        report_charts: the charts; None builds them.
    """
    charts = build_charts(manifest, analysis) if report_charts is None else report_charts
    environment = page_environment()
    style, script = template_source("report.css"), template_source("report.js")
    sections = _sections(manifest, analysis, charts)
    scores = scores_table(analysis)
    tables = [block.table for section in sections for block in section.blocks if block.table is not None]
    sections.append(_glossary([*([scores] if scores else []), *tables]))
    return environment.get_template("report.html").render(
        policy=content_security_policy(style, script),
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        heading=sanitize_text(manifest.title or manifest.scenario) or "Benchmark",
        meta=_meta(manifest),
        version=sanitize_text(manifest.versions.get("loadgen", "")),
        provenance=provenance_view(manifest),
        verdict=str(analysis.verdict),
        headline=sanitize_text(analysis.headline, 400),
        failure_shares=[sanitize_text(f"{share}: {share.cause}", 400) for share in analysis.high_failure_shares],
        reasons=reasons_table(analysis),
        verdict_notes=[sanitize_text(note) for note in analysis.verdict.notes],
        recommendation=recommendation_view(analysis),
        scores=scores,
        trade_off=charts.trade_off,
        sections=sections,
        slos=slo_table(analysis),
        slo_sentence=slo_sentence(analysis),
        slos_met=not analysis.violated_slos,
    )


def _meta(manifest: Manifest) -> str:
    parts = (
        sanitize_text(manifest.scenario),
        sanitize_text(manifest.created),
        provenance_view(manifest).name,
        f"run {sanitize_text(manifest.run_id)}",
    )
    return " · ".join(part for part in parts if part)


def _sections(manifest: Manifest, analysis: Analysis, report_charts: ReportCharts) -> list[Section]:
    """Return the sections that have content, in reading order."""
    sections = []
    if stability := runs_in_phase(analysis, "stability"):
        sections += [_stability(analysis, stability, report_charts), _cost(analysis, report_charts)]
    if concurrency := runs_in_phase(analysis, "concurrency"):
        sections.append(_concurrency(analysis, concurrency, report_charts))
    if own := runs_in_phase(analysis, ""):
        sections.append(_steps(analysis, own, report_charts))
    generator = Section(
        "generator",
        "Load-generator health",
        "When the load generator stands still or saturates, latencies include its own delays. The first table shows by "
        "how much each figure was moved, which decides the verdict; the second what the generator measured of itself.",
        (Block(figure_validity_table(analysis.runs)), Block(generator_health_table(analysis.runs))),
    )
    return [*sections, generator, _configuration(manifest, analysis), _reproduction(manifest)]


def _stability(analysis: Analysis, rows: Sequence[RunAnalysis], report_charts: ReportCharts) -> Section:
    text = (
        "Each memory size was deployed with MaxConcurrency 1 and called by one client, so that calls do not compete. "
        "Nothing is trimmed: the numbers include the first calls and cold starts."
    )
    tables = (Block(stability_table(analysis)), Block(chart=report_charts.stability), Block(drift_table(rows)))
    blocks = (*tables, *_run_blocks(rows))
    return Section("stability", "Stability: latency of each memory size", text, blocks)


def _run_blocks(rows: Sequence[RunAnalysis]) -> tuple[Block, ...]:
    """Return the tables that every phase has."""
    tables = (cold_start_table(rows), outcome_table(rows), errors_table(rows), metrics_table(rows))
    return tuple(Block(table) for table in tables)


def _cost(analysis: Analysis, report_charts: ReportCharts) -> Section:
    blocks = (Block(chart=report_charts.cost), Block(cost_table(analysis)), Block(savings_table(analysis)))
    return Section("cost", "Cost", savings_sentence(analysis), blocks)


def _concurrency(analysis: Analysis, rows: Sequence[RunAnalysis], report_charts: ReportCharts) -> Section:
    text = (
        "Each MaxConcurrency was called by an increasing number of clients. With more clients than MaxConcurrency some "
        "calls are throttled by design; the tables show which MaxConcurrency serves how many clients."
    )
    tables = (Block(recommended_concurrency_table(analysis)), Block(concurrency_table(analysis)))
    blocks = (*tables, Block(chart=report_charts.concurrency), *_run_blocks(rows))
    return Section("concurrency", "Concurrency", text, blocks)


def _steps(analysis: Analysis, rows: Sequence[RunAnalysis], report_charts: ReportCharts) -> Section:
    text = (
        "Service time is the time from sent to done. Response time starts at the scheduled instant and is what a user "
        "would have waited."
    )
    charts = (*report_charts.timelines, report_charts.steps)
    drift = Block(drift_table(rows))
    blocks = (Block(steps_table(analysis)), *(Block(chart=chart) for chart in charts), drift, *_run_blocks(rows))
    return Section("steps", "Steps", text, blocks)


def _configuration(manifest: Manifest, analysis: Analysis) -> Section:
    blocks = (Block(step_config_table(analysis.runs)), Block(configuration_table(manifest)))
    return Section("configuration", "Configuration", "Every setting, seed, hash and version.", blocks)


def _reproduction(manifest: Manifest) -> Section:
    text = "The first command repeats the run with the same seeds. The second builds this report from the saved runs."
    commands = (sanitize_text(manifest.command, 2000), "python -m loadgen report DIRECTORY")
    return Section("reproduce", "Reproduce", text, commands=tuple(line for line in commands if line))


def _glossary(tables: Sequence[Table]) -> Section:
    return Section("glossary", "Glossary", "Columns of the tables above.", glossary=glossary(tables))
