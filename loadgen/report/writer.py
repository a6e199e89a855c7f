"""Writes the files of a report: CSV tables, charts, the HTML page and summary.json."""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from loadgen.analysis.analysis import Analysis
from loadgen.errors import WriteError
from loadgen.report.charts.selection import ReportCharts, build_charts
from loadgen.report.charts.vega import Chart
from loadgen.report.content.labels import runs_in_phase
from loadgen.report.formats import csv_summary, html_page
from loadgen.report.formats.csv_requests import write_requests
from loadgen.report.formats.summary_json import summary_json
from loadgen.results.manifest import Manifest

PAGE_PATH = Path("benchmarking_report") / "benchmarking_report.html"


def write_report_files(directory: Path, manifest: Manifest, analysis: Analysis) -> Path:
    """Write all files of a report; identical input gives identical bytes.

    Args:
        directory: the output directory; files of an earlier report are replaced.
        manifest: its manifest.
        analysis: the analysis of its runs.

    Returns:
        The path of the HTML page.

    Raises:
        WriteError: writing failed.
    """
    charts = build_charts(manifest, analysis)
    existing = set(directory.glob("*"))
    try:
        for phase, (raw, summary) in _PHASE_DIRECTORIES.items():
            if runs_in_phase(analysis, phase):
                _write_requests(directory / raw, manifest, analysis, phase)
                _write(directory / summary, _summaries(manifest, analysis, phase), _phase_charts(charts, phase))
        if runs_in_phase(analysis, "stability"):
            tables = {"metrics_with_cost.csv": csv_summary.cost_csv(manifest, analysis)}
            tables["cost_savings_summary.csv"] = csv_summary.savings_csv(analysis)
            _write(directory / "cost_analysis_summary_results", tables, {"cost_vs_performance.png": charts.cost})
        page = html_page.render_page(manifest, analysis, charts)
        _write(
            directory / PAGE_PATH.parent, {PAGE_PATH.name: page, "summary.json": summary_json(manifest, analysis)}, {}
        )
    except OSError as error:
        # Cut files mislead, and their space is needed for result.json; the runs, which were there before, are kept.
        for folder in set(directory.glob("*")) - existing:
            shutil.rmtree(folder, ignore_errors=True)
        hint = "the runs are kept; free disk space and run `python -m loadgen report` on the directory"
        if not directory.is_dir():
            hint = "something deleted or moved the directory; choose one that nothing cleans up"
        raise WriteError(
            f"cannot write the report to {error.filename or directory}: {error.strerror}", hint=hint
        ) from error
    return directory / PAGE_PATH


# Phase -> (raw results, summary results): names of sm-serverless-benchmarking, and the same pattern for own steps.
_PHASE_DIRECTORIES: Mapping[str, tuple[str, str]] = {
    "stability": ("stability_benchmark_raw_results", "stability_benchmark_summary_results"),
    "concurrency": ("concurrency_benchmark_raw_results", "concurrency_benchmark_summary_results"),
    "": ("steps_raw_results", "steps_summary_results"),
}


def _write_requests(folder: Path, manifest: Manifest, analysis: Analysis, phase: str) -> None:
    rows, has_concurrency = runs_in_phase(analysis, phase), phase != "stability"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "invocation_benchmark_results.csv").open("wb") as out:
        write_requests(out, rows, measured_on=manifest.identity.kind, include_concurrency=has_concurrency)
    _write(folder, {"endpoint_metrics.csv": csv_summary.metrics_csv(rows, include_concurrency=has_concurrency)}, {})


def _summaries(manifest: Manifest, analysis: Analysis, phase: str) -> dict[str, str]:
    summaries = {
        "stability": ("invocation_benchmark_summary.csv", csv_summary.stability_summary_csv),
        "concurrency": ("concurrency_benchmark_summary.csv", csv_summary.concurrency_summary_csv),
        "": ("steps_summary.csv", csv_summary.steps_summary_csv),
    }
    name, summary = summaries[phase]
    metrics = partial(
        csv_summary.metrics_summary_csv, runs_in_phase(analysis, phase), include_concurrency=phase != "stability"
    )
    return {name: summary(manifest, analysis), "endpoint_metrics_summary.csv": metrics()}


def _phase_charts(report_charts: ReportCharts, phase: str) -> dict[str, Chart | None]:
    if phase == "stability":
        return {"stability_benchmark_distribution.png": report_charts.stability}
    if phase == "concurrency":
        return {"concurrency_benchmark_distribution.png": report_charts.concurrency}
    lines = {f"steps_timeline_{i}.png": chart for i, chart in enumerate(report_charts.timelines, 1)}
    return {"steps_distribution.png": report_charts.steps} | lines


def _write(folder: Path, texts: Mapping[str, str], charts: Mapping[str, Chart | None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        # As bytes: the same line ends on every system.
        (folder / name).write_bytes(text.encode())
    for name, chart in charts.items():
        if chart is not None:
            (folder / name).write_bytes(chart.png())
