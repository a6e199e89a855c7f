"""The charts of a report, built from the analysis."""

from dataclasses import dataclass

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.report.charts.distribution import LatencySeries, Panel, latency_chart
from loadgen.report.charts.trade_off import trade_off_chart
from loadgen.report.charts.trends import cost_vs_performance, timeline
from loadgen.report.charts.vega import Chart
from loadgen.report.content.labels import runs_in_phase, short_label
from loadgen.report.content.provenance import watermark_text
from loadgen.results.manifest import Manifest
from loadgen.workload.load import ClosedLoop


@dataclass(frozen=True, slots=True)
class ReportCharts:
    """The charts of one report; None if there is nothing to draw.

    Args:
        trade_off: cost against latency of the memory sizes.
        stability: latencies per memory size.
        concurrency: latencies per MaxConcurrency and number of clients.
        cost: cost and latency against memory.
        steps: latencies of a scenario's own steps.
        timelines: responses over time, one per own step.
    """

    trade_off: Chart | None
    stability: Chart | None
    concurrency: Chart | None
    cost: Chart | None
    steps: Chart | None
    timelines: tuple[Chart, ...]


def build_charts(manifest: Manifest, analysis: Analysis) -> ReportCharts:
    """Render every chart that has data."""
    watermark = watermark_text(manifest, analysis)
    own = runs_in_phase(analysis, "")
    costs = [row.cost for row in runs_in_phase(analysis, "stability") if row.cost is not None]
    timelines = (timeline(row.run, f"Responses over time: {short_label(row)}", watermark) for row in own)
    found = analysis.recommendation
    return ReportCharts(
        trade_off=trade_off_chart(found, is_priced=found is None or found.is_priced, watermark=watermark),
        stability=_stability_chart(analysis, watermark),
        concurrency=latency_chart(
            "Latency of each MaxConcurrency and number of clients", watermark, _panels_by_max_concurrency(analysis)
        ),
        cost=cost_vs_performance(costs, _recommended_memory_mb(analysis), watermark),
        steps=latency_chart(
            "Latency of each step", watermark, [Panel("", _latency_series([(row, short_label(row)) for row in own]))]
        ),
        timelines=tuple(chart for chart in timelines if chart is not None),
    )


def _recommended_memory_mb(analysis: Analysis) -> int | None:
    return None if analysis.recommendation is None else analysis.recommendation.memory_mb


def _stability_chart(analysis: Analysis, watermark: str) -> Chart | None:
    rows = [(row, short_label(row)) for row in runs_in_phase(analysis, "stability")]
    return latency_chart(
        "Latency of each memory size", watermark, [Panel("", _latency_series(rows, _recommended_memory_mb(analysis)))]
    )


def _panels_by_max_concurrency(analysis: Analysis) -> list[Panel]:
    """Return one panel per MaxConcurrency, ascending."""
    panels: dict[int, list[tuple[RunAnalysis, str]]] = {}
    for row in runs_in_phase(analysis, "concurrency"):
        config, load = row.run.step.config, row.run.step.load
        if config is not None and isinstance(load, ClosedLoop):
            name = "1 client" if load.clients == 1 else f"{load.clients} clients"
            panels.setdefault(config.max_concurrency, []).append((row, name))
    return [Panel(f"MaxConcurrency {slots}", _latency_series(rows)) for slots, rows in sorted(panels.items())]


def _latency_series(
    labelled_rows: list[tuple[RunAnalysis, str]], recommended_mb: int | None = None
) -> tuple[LatencySeries, ...]:
    return tuple(
        LatencySeries(
            name,
            row.run.tally.service[OutcomeCategory.OK],
            row.summary.service,
            recommended_mb is not None and row.memory_mb == recommended_mb,
        )
        for row, name in labelled_rows
        if row.summary.service is not None and row.run.tally.service[OutcomeCategory.OK].total
    )
