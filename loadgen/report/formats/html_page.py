"""The page: one file that needs no network, and that a reader who did not run anything can understand.

Everything is escaped by default. The two exceptions are our own style and script, and charts, whose texts Vega has
escaped. A Content-Security-Policy names style and script by their hashes and forbids everything else.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.report.charts.selection import ReportCharts, build_charts
from loadgen.report.charts.vega import Chart
from loadgen.report.content.cloudwatch import metrics_table
from loadgen.report.content.configuration import configuration_table, glossary, step_config_table
from loadgen.report.content.cost import cost_table, savings_sentence, savings_table, scores_table
from loadgen.report.content.generator import generator_health_table
from loadgen.report.content.labels import runs_in_phase
from loadgen.report.content.latency import (
    concurrency_table,
    recommended_concurrency_table,
    stability_table,
    steps_table,
)
from loadgen.report.content.outcomes import cold_start_table, errors_table, outcome_table
from loadgen.report.content.provenance import provenance_view
from loadgen.report.content.recommendation import RecommendationView, recommendation_view
from loadgen.report.content.slo import reasons_table, slo_sentence, slo_table
from loadgen.report.content.table import Table, sanitize_text
from loadgen.results.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Block:
    """A chart or a table in its place."""

    table: Table | None = None
    chart: Chart | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading of its own."""

    anchor: str
    title: str
    text: str = ""
    blocks: tuple[Block, ...] = ()
    commands: tuple[str, ...] = ()
    glossary: tuple[tuple[str, str, str], ...] = ()


def render_page(manifest: Manifest, analysis: Analysis, report_charts: ReportCharts | None = None) -> str:
    """Return the whole report as one HTML file.

    Args:
        manifest: what was run.
        analysis: what its runs say.
        report_charts: the charts, where they have been drawn already.
    """
    drawn = build_charts(manifest, analysis) if report_charts is None else report_charts
    environment = _environment()
    style, script = _template_source("report.css"), _template_source("report.js")
    sections = _sections(manifest, analysis, drawn)
    reasons, scores = reasons_table(analysis), scores_table(analysis)
    shown = [block.table for section in sections for block in section.blocks if block.table is not None]
    sections.append(_glossary([*([scores] if scores else []), *shown]))
    choice: RecommendationView | None = recommendation_view(analysis)
    return environment.get_template("report.html").render(
        policy=_content_security_policy(style, script),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        heading=sanitize_text(manifest.title or manifest.scenario) or "Benchmark",
        meta=_meta(manifest),
        version=sanitize_text(manifest.versions.get("loadgen", "")),
        provenance=provenance_view(manifest),
        verdict=str(analysis.verdict),
        reasons=reasons,
        verdict_notes=[sanitize_text(note) for note in analysis.verdict.notes],
        recommendation=choice,
        scores=scores,
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
    """Return the sections that these analysis have something for, in reading order."""
    sections = []
    if stability := runs_in_phase(analysis, "stability"):
        sections += [_stability(analysis, stability, report_charts), _cost(analysis, report_charts)]
    if concurrency := runs_in_phase(analysis, "concurrency"):
        sections.append(_concurrency(analysis, concurrency, report_charts))
    if own := runs_in_phase(analysis, ""):
        sections.append(_steps(analysis, own, report_charts))
    generator = Section(
        "generator",
        "What the generator saw of itself",
        "A generator that is the bottleneck measures itself. It watches for that, and the verdict rests on this.",
        (Block(generator_health_table(analysis.runs)),),
    )
    return [*sections, generator, _configuration(manifest, analysis), _reproduction(manifest)]


def _stability(analysis: Analysis, rows: Sequence[RunAnalysis], report_charts: ReportCharts) -> Section:
    words = (
        "Each memory size was deployed with MaxConcurrency 1 and called by one client, so that calls never compete. "
        "Nothing is trimmed: the first calls and cold starts are in the numbers."
    )
    tables = (cold_start_table(rows), outcome_table(rows), errors_table(rows), metrics_table(rows))
    blocks = (Block(stability_table(analysis)), Block(chart=report_charts.stability), *map(Block, tables))
    return Section("stability", "Stability: latency of each memory size", words, blocks)


def _cost(analysis: Analysis, report_charts: ReportCharts) -> Section:
    words = savings_sentence(analysis)
    blocks = (Block(chart=report_charts.cost), Block(cost_table(analysis)), Block(savings_table(analysis)))
    return Section("cost", "Cost", words, blocks)


def _concurrency(analysis: Analysis, rows: Sequence[RunAnalysis], report_charts: ReportCharts) -> Section:
    words = (
        "Each MaxConcurrency was called by a growing number of clients. With more clients than slots some calls are "
        "refused: that is the limit doing its work, and tells which MaxConcurrency carries which traffic."
    )
    tables = (cold_start_table(rows), outcome_table(rows), errors_table(rows), metrics_table(rows))
    first = (Block(recommended_concurrency_table(analysis)), Block(concurrency_table(analysis)))
    return Section(
        "concurrency", "Concurrency", words, (*first, Block(chart=report_charts.concurrency), *map(Block, tables))
    )


def _steps(analysis: Analysis, rows: Sequence[RunAnalysis], report_charts: ReportCharts) -> Section:
    words = (
        "Service time is what the target took. Response time counts from the moment a call was due, and is what a user "
        "would have waited."
    )
    charts = (*report_charts.timelines, report_charts.steps)
    tables = (cold_start_table(rows), outcome_table(rows), errors_table(rows), metrics_table(rows))
    blocks = (Block(steps_table(analysis)), *(Block(chart=chart) for chart in charts), *map(Block, tables))
    return Section("steps", "Steps", words, blocks)


def _configuration(manifest: Manifest, analysis: Analysis) -> Section:
    words = "Every setting, seed and version that led to these numbers."
    blocks = (Block(step_config_table(analysis.runs)), Block(configuration_table(manifest)))
    return Section("configuration", "Configuration", words, blocks)


def _reproduction(manifest: Manifest) -> Section:
    words = (
        "The same scenario with the same seeds, and this report once more from the saved runs, byte for byte the same:"
    )
    commands = (sanitize_text(manifest.command, 2000), "python -m loadgen report DIRECTORY")
    return Section("again", "How to run it again", words, commands=tuple(line for line in commands if line))


def _glossary(tables: Sequence[Table]) -> Section:
    return Section("glossary", "What the columns mean", "Every table names its units.", glossary=glossary(tables))


def _content_security_policy(style: str, script: str) -> str:
    """Return a Content-Security-Policy that allows our style and our script, and nothing from anywhere."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("loadgen.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Vega escapes every text it draws; a test feeds it hostile ones.
    environment.filters["drawn"] = Markup
    return environment


def _template_source(name: str) -> str:
    """Return one of our own files as it stands."""
    environment = _environment()
    assert environment.loader is not None  # noqa: S101 - set two functions above
    return environment.loader.get_source(environment, name)[0]
