"""The table of CloudWatch metrics."""

from collections.abc import Mapping, Sequence

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetric
from loadgen.report.content.labels import label_column, short_label
from loadgen.report.content.table import Cell, Column, Table, count_cell, number_cell, sanitize_text

_NOT_AVAILABLE = Cell("n/a")
# Metric -> (heading, unit and statistic, meaning).
_METRICS: Mapping[str, tuple[str, str, str]] = {
    "ModelLatency": ("ModelLatency", "ms, mean", "CloudWatch: time in the model's container."),
    "OverheadLatency": ("OverheadLatency", "ms, mean", "CloudWatch: what SageMaker adds, cold starts included."),
    "ModelSetupTime": ("ModelSetupTime", "ms, mean", "CloudWatch: time to launch a new instance, for cold calls only."),
    "MemoryUtilization": (
        "MemoryUtilization",
        "%, mean",
        "CloudWatch: how full the memory was; below it, at its fullest.",
    ),
    "Invocations": ("Invocations", "sum", "CloudWatch: requests that reached the endpoint."),
    "Invocation4XXErrors": ("4XX errors", "sum", "CloudWatch: requests answered with a 4XX status."),
    "Invocation5XXErrors": ("5XX errors", "sum", "CloudWatch: requests answered with a 5XX status."),
    "ServerlessConcurrentExecutionsUtilization": (
        "Slots used",
        "%, max",
        "CloudWatch: busy slots as a share of MaxConcurrency.",
    ),
}


def metric_value(metric: CloudWatchMetric) -> float:
    """Return the one figure of a metric that stands for it: a mean in ms, a sum of counts, the most of slots used."""
    if metric.unit == "Microseconds":
        return metric.average / 1000
    if metric.name == "ServerlessConcurrentExecutionsUtilization":
        return metric.maximum
    return metric.average if metric.unit == "Percent" else metric.total


def _metric_cell(metric: CloudWatchMetric | None) -> Cell:
    if metric is None:
        return _NOT_AVAILABLE
    figure = metric_value(metric)
    if metric.name == "ModelSetupTime":
        return Cell(number_cell(figure).text, f"{metric.sample_count:,.0f} cold")
    if metric.name == "MemoryUtilization":
        return Cell(number_cell(figure).text, f"max {number_cell(metric.maximum).text}")
    if metric.name == "ServerlessConcurrentExecutionsUtilization":
        return number_cell(figure * 100)  # CloudWatch gives a fraction of 1
    return count_cell(figure) if metric.name.startswith("Invocation") else number_cell(figure)


def metrics_table(rows: Sequence[RunAnalysis]) -> Table:
    """Return CloudWatch's view of these rows; what is missing says why."""
    cells, notes = [], []
    for row in rows:
        if row.run.failure:
            cells.append((Cell(short_label(row)), *(_NOT_AVAILABLE,) * len(_METRICS)))
            continue
        values = row.run.metrics.values
        cells.append((Cell(short_label(row)), *(_metric_cell(values.get(name)) for name in _METRICS)))
        notes += [
            f"{_METRICS[name][0] if name in _METRICS else sanitize_text(name)} not available: {sanitize_text(why)}."
            for name, why in sorted(row.run.metrics.unavailable.items())
        ]
        if values and not row.run.metrics.is_final:
            notes.append(
                f"{short_label(row)}: the counts had not settled after {row.run.metrics.publish_delay:,.0f} s."
            )
    columns = tuple(Column(*_METRICS[name]) for name in _METRICS)
    return Table("CloudWatch metrics", (label_column(rows), *columns), tuple(cells), tuple(dict.fromkeys(notes)))
