"""Build every table and page of an output directory from its saved runs."""

from dataclasses import replace
from pathlib import Path

from loadgen.analysis.findings import Findings, find
from loadgen.analysis.prices import PriceBook
from loadgen.results.directory import Results


def build_report(results: Results, *, partial: str | None = None) -> tuple[Findings, Path]:
    """Make every table and page of an output directory from its saved runs; the same again, byte for byte.

    Args:
        results: the output directory.
        partial: why it is only a part of what was planned; None reads it from there.

    Returns:
        What was found, and the path of the HTML page.

    Raises:
        DataError: what was saved is damaged beyond reading.
        WriteError: the disk refused.
    """
    settings = results.manifest.settings
    findings = find(
        results.export(),
        region=results.manifest.identity.region,
        prices=PriceBook.builtin(),
        objective=settings.get("objective", "balanced"),
        instance=settings.get("instance"),
        slos=settings.get("slos", ()),
    )
    why = results.partial() if partial is None else partial
    if why:
        note = f"PARTIAL: not all that was planned was measured: {why}"
        findings = replace(findings, verdict=replace(findings.verdict, notes=(note, *findings.verdict.notes)))
    # vl-convert takes a third of a second to import: commands that write no report do not pay for it.
    from loadgen.report.writer import write_report  # noqa: PLC0415

    return findings, write_report(results.path, results.manifest, findings)
