"""Build every table and page of an output directory from its saved runs."""

from dataclasses import replace
from pathlib import Path

from loadgen.analysis.analysis import Analysis, analyze
from loadgen.analysis.prices import PriceBook
from loadgen.results.directory import ResultsDirectory


def build_report(results: ResultsDirectory, *, incomplete_reason: str | None = None) -> tuple[Analysis, Path]:
    """Make every table and page of an output directory from its saved runs; the same again, byte for byte.

    Args:
        results: the output directory.
        incomplete_reason: why it is only a part of what was planned; None reads it from there.

    Returns:
        What was found, and the path of the HTML page.

    Raises:
        DataError: what was saved is damaged beyond reading.
        WriteError: the disk refused.
    """
    settings = results.manifest.settings
    analysis = analyze(
        results.write_hdr_logs(),
        region=results.manifest.identity.region,
        prices=PriceBook.builtin(),
        objective=settings.get("objective", "balanced"),
        instance=settings.get("instance"),
        slos=settings.get("slos", ()),
    )
    reason = results.incomplete_reason() if incomplete_reason is None else incomplete_reason
    if reason:
        note = f"PARTIAL: not all that was planned was measured: {reason}"
        analysis = replace(analysis, verdict=replace(analysis.verdict, notes=(note, *analysis.verdict.notes)))
    # vl-convert takes a third of a second to import: commands that write no report do not pay for it.
    from loadgen.report.writer import write_report_files  # noqa: PLC0415

    return analysis, write_report_files(results.path, results.manifest, analysis)
