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

from loadgen.analysis.findings import Findings, Row
from loadgen.report.charts.selection import Drawings, draw
from loadgen.report.charts.vega import Chart
from loadgen.report.content.cloudwatch import metrics_table
from loadgen.report.content.configuration import configuration_table, glossary, steps_asked_table
from loadgen.report.content.cost import cost_table, savings_sentence, savings_table, scores_table
from loadgen.report.content.generator import watch_table
from loadgen.report.content.labels import rows_of
from loadgen.report.content.latency import advice_table, concurrency_table, stability_table, steps_table
from loadgen.report.content.outcomes import counts_table, errors_table, starts_table
from loadgen.report.content.provenance import place_of
from loadgen.report.content.recommendation import Choice, choice_of
from loadgen.report.content.slo import promises_sentence, promises_table, reasons_table
from loadgen.report.content.table import Table, legible
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
    words: str = ""
    blocks: tuple[Block, ...] = ()
    commands: tuple[str, ...] = ()
    glossary: tuple[tuple[str, str, str], ...] = ()


def page(manifest: Manifest, findings: Findings, drawings: Drawings | None = None) -> str:
    """Return the whole report as one HTML file.

    Args:
        manifest: what was run.
        findings: what its runs say.
        drawings: the charts, where they have been drawn already.
    """
    drawn = draw(manifest, findings) if drawings is None else drawings
    environment = _environment()
    style, script = _source("report.css"), _source("report.js")
    sections = _sections(manifest, findings, drawn)
    reasons, scores = reasons_table(findings), scores_table(findings)
    shown = [block.table for section in sections for block in section.blocks if block.table is not None]
    sections.append(_glossary([*([scores] if scores else []), *shown]))
    choice: Choice | None = choice_of(findings)
    return environment.get_template("report.html").render(
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        heading=legible(manifest.question or manifest.scenario) or "Benchmark",
        meta=_meta(manifest),
        version=legible(manifest.versions.get("loadgen", "")),
        place=place_of(manifest),
        verdict=str(findings.verdict),
        reasons=reasons,
        verdict_notes=[legible(note) for note in findings.verdict.notes],
        choice=choice,
        scores=scores,
        sections=sections,
        promises=promises_table(findings),
        promises_sentence=promises_sentence(findings),
        are_kept=not findings.broken_slos,
    )


def _meta(manifest: Manifest) -> str:
    parts = (
        legible(manifest.scenario),
        legible(manifest.created),
        place_of(manifest).name,
        f"run {legible(manifest.run_id)}",
    )
    return " · ".join(part for part in parts if part)


def _sections(manifest: Manifest, findings: Findings, drawn: Drawings) -> list[Section]:
    """Return the sections that these findings have something for, in reading order."""
    sections = []
    if stability := rows_of(findings, "stability"):
        sections += [_stability(findings, stability, drawn), _cost(findings, drawn)]
    if concurrency := rows_of(findings, "concurrency"):
        sections.append(_concurrency(findings, concurrency, drawn))
    if own := rows_of(findings, ""):
        sections.append(_own(findings, own, drawn))
    generator = Section(
        "generator",
        "What the generator saw of itself",
        "A generator that is the bottleneck measures itself. It watches for that, and the verdict rests on this.",
        (Block(watch_table(findings.rows)),),
    )
    return [*sections, generator, _configuration(manifest, findings), _again(manifest)]


def _stability(findings: Findings, rows: Sequence[Row], drawn: Drawings) -> Section:
    words = (
        "Each memory size was deployed with MaxConcurrency 1 and called by one client, so that calls never compete. "
        "Nothing is trimmed: the first calls and cold starts are in the numbers."
    )
    tables = (starts_table(rows), counts_table(rows), errors_table(rows), metrics_table(rows))
    blocks = (Block(stability_table(findings)), Block(chart=drawn.stability), *map(Block, tables))
    return Section("stability", "Stability: latency of each memory size", words, blocks)


def _cost(findings: Findings, drawn: Drawings) -> Section:
    words = savings_sentence(findings)
    blocks = (Block(chart=drawn.cost), Block(cost_table(findings)), Block(savings_table(findings)))
    return Section("cost", "Cost", words, blocks)


def _concurrency(findings: Findings, rows: Sequence[Row], drawn: Drawings) -> Section:
    words = (
        "Each MaxConcurrency was called by a growing number of clients. With more clients than slots some calls are "
        "refused: that is the limit doing its work, and tells which MaxConcurrency carries which traffic."
    )
    tables = (starts_table(rows), counts_table(rows), errors_table(rows), metrics_table(rows))
    first = (Block(advice_table(findings)), Block(concurrency_table(findings)))
    return Section("concurrency", "Concurrency", words, (*first, Block(chart=drawn.concurrency), *map(Block, tables)))


def _own(findings: Findings, rows: Sequence[Row], drawn: Drawings) -> Section:
    words = (
        "Service time is what the target took. Response time counts from the moment a call was due, and is what a user "
        "would have waited."
    )
    charts = (*drawn.timelines, drawn.steps)
    tables = (starts_table(rows), counts_table(rows), errors_table(rows), metrics_table(rows))
    blocks = (Block(steps_table(findings)), *(Block(chart=chart) for chart in charts), *map(Block, tables))
    return Section("steps", "Steps", words, blocks)


def _configuration(manifest: Manifest, findings: Findings) -> Section:
    words = "Every setting, seed and version that led to these numbers."
    blocks = (Block(steps_asked_table(findings.rows)), Block(configuration_table(manifest)))
    return Section("configuration", "Configuration", words, blocks)


def _again(manifest: Manifest) -> Section:
    words = (
        "The same scenario with the same seeds, and this report once more from the saved runs, byte for byte the same:"
    )
    commands = (legible(manifest.command, 2000), "python -m loadgen report DIRECTORY")
    return Section("again", "How to run it again", words, commands=tuple(line for line in commands if line))


def _glossary(tables: Sequence[Table]) -> Section:
    return Section("glossary", "What the columns mean", "Every table names its units.", glossary=glossary(tables))


def _policy(style: str, script: str) -> str:
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


def _source(name: str) -> str:
    """Return one of our own files as it stands."""
    environment = _environment()
    assert environment.loader is not None  # noqa: S101 - set two functions above
    return environment.loader.get_source(environment, name)[0]
