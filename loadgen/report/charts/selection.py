"""Which charts a report has. Drawing them is charts.py's."""

from dataclasses import dataclass

from loadgen.analysis.findings import Findings, Row
from loadgen.measurement.outcome import Column
from loadgen.report.charts.distribution import Panel, Series, distribution
from loadgen.report.charts.trends import cost_vs_performance, timeline
from loadgen.report.charts.vega import Chart
from loadgen.report.content.labels import label, memory_of, rows_of
from loadgen.report.content.provenance import remark
from loadgen.results.manifest import Manifest
from loadgen.workload.load import ClosedLoop


@dataclass(frozen=True, slots=True)
class Drawings:
    """The charts of one report; None where there is nothing to draw.

    Args:
        stability: latencies of each memory size.
        concurrency: latencies of each number of clients, for each MaxConcurrency.
        cost: cost and latency against memory.
        steps: latencies of the user's own steps.
        timelines: answers over time of each of these steps.
    """

    stability: Chart | None
    concurrency: Chart | None
    cost: Chart | None
    steps: Chart | None
    timelines: tuple[Chart, ...]


def draw(manifest: Manifest, findings: Findings) -> Drawings:
    """Draw every chart that these findings have something for."""
    say = remark(manifest, findings)
    own = rows_of(findings, "")
    costs = [row.cost for row in rows_of(findings, "stability") if row.cost is not None]
    lines = (timeline(row.run, f"Answers over time: {label(row)}", say) for row in own)
    return Drawings(
        stability=_stability(findings, say),
        concurrency=distribution("Latency of each MaxConcurrency and number of clients", say, _by_slots(findings)),
        cost=cost_vs_performance(costs, _chosen(findings), say),
        steps=distribution("Latency of each step", say, [Panel("", _series([(row, label(row)) for row in own]))]),
        timelines=tuple(line for line in lines if line is not None),
    )


def _chosen(findings: Findings) -> int | None:
    return None if findings.recommendation is None else findings.recommendation.memory_mb


def _stability(findings: Findings, say: str) -> Chart | None:
    rows = [(row, label(row)) for row in rows_of(findings, "stability")]
    return distribution("Latency of each memory size", say, [Panel("", _series(rows, _chosen(findings)))])


def _by_slots(findings: Findings) -> list[Panel]:
    """Return a panel for each MaxConcurrency, ascending."""
    panels: dict[int, list[tuple[Row, str]]] = {}
    for row in rows_of(findings, "concurrency"):
        config, load = row.run.step.config, row.run.step.load
        if config is not None and isinstance(load, ClosedLoop):
            name = "1 client" if load.clients == 1 else f"{load.clients} clients"
            panels.setdefault(config.max_concurrency, []).append((row, name))
    return [Panel(f"MaxConcurrency {slots}", _series(rows)) for slots, rows in sorted(panels.items())]


def _series(named: list[tuple[Row, str]], chosen: int | None = None) -> tuple[Series, ...]:
    return tuple(
        Series(
            name, row.run.tally.service[Column.OK], row.summary.service, chosen is not None and memory_of(row) == chosen
        )
        for row, name in named
        if row.summary.service is not None and row.run.tally.service[Column.OK].total
    )
