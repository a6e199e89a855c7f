"""Build every table and page of an output directory from its saved runs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from loadgen.analysis.analysis import Analysis, analyze
from loadgen.analysis.failure_share import DEFAULT_FAILURE_SHARE_LIMIT, is_share
from loadgen.analysis.prices import PriceBook
from loadgen.measurement.run import Run
from loadgen.results.directory import ResultsDirectory


def build_report(results: ResultsDirectory, *, incomplete_reason: str | None = None) -> tuple[Analysis, Path]:
    """Analyze the saved runs of an output directory and write its report; identical runs give identical bytes.

    Args:
        results: the output directory.
        incomplete_reason: why only a part of the plan was measured; None reads it from result.json.

    Returns:
        The analysis, and the path of the HTML page.

    Raises:
        DataError: the metadata of a saved run is damaged.
        WriteError: writing failed.
    """
    analysis = _analyze(results, results.write_hdr_logs())
    reason = results.incomplete_reason() if incomplete_reason is None else incomplete_reason
    if reason:
        note = f"PARTIAL: the plan was not completed: {reason}"
        analysis = replace(analysis, verdict=replace(analysis.verdict, notes=(note, *analysis.verdict.notes)))
    # Deferred: importing vl-convert takes 0.3 s, which commands without a report do not need.
    from loadgen.report.writer import write_report_files  # noqa: PLC0415

    return analysis, write_report_files(results.path, results.manifest, analysis)


def analyze_results(results: ResultsDirectory) -> Analysis:
    """Analyze the saved runs of an output directory without writing to it.

    Raises:
        DataError: the metadata of a saved run is damaged.
    """
    return _analyze(results, results.read_runs())


def _analyze(results: ResultsDirectory, runs: Sequence[Run]) -> Analysis:
    settings = results.manifest.settings
    limit = settings.get("failure_share_limit")
    return analyze(
        runs,
        region=results.manifest.identity.region,
        prices=PriceBook.builtin(),
        objective=settings.get("objective", "balanced"),
        instance=settings.get("instance"),
        slos=settings.get("slos", ()),
        failure_share_limit=float(limit) if is_share(limit) else DEFAULT_FAILURE_SHARE_LIMIT,
    )
