"""Table of CloudWatch metrics."""

from collections.abc import Mapping, Sequence

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetric
from loadgen.report.content.labels import label_column, short_label
from loadgen.report.content.table import Cell, Column, Table, count_cell, number_cell, sanitize_text

_NOT_AVAILABLE = Cell("n/a")
# Metric -> (heading, unit and statistic, meaning).
_METRICS: Mapping[str, tuple[str, str, str]] = {
    "ModelLatency": ("ModelLatency", "ms, mean", "CloudWatch: time in the model's container."),
    "OverheadLatency": ("OverheadLatency", "ms, mean", "CloudWatch: time that SageMaker adds, cold starts included."),
    "ModelSetupTime": ("ModelSetupTime", "ms, mean", "CloudWatch: time to launch a new instance; cold calls only."),
    "MemoryUtilization": (
        "MemoryUtilization",
        "%, mean",
        "CloudWatch: memory in use; below it, the maximum.",
    ),
    "Invocations": ("Invocations", "sum", "CloudWatch: requests that reached the endpoint."),
    "Invocation4XXErrors": ("4XX errors", "sum", "CloudWatch: responses with a 4XX status."),
    "Invocation5XXErrors": ("5XX errors", "sum", "CloudWatch: responses with a 5XX status."),
    "ServerlessConcurrentExecutionsUtilization": (
        "Slots used",
        "%, max",
        "CloudWatch: busy slots as a share of MaxConcurrency.",
    ),
}


def metric_value(metric: CloudWatchMetric) -> float:
    """Return the statistic that represents a metric: mean in ms, mean in %, sum of counts, maximum of slots used."""
    if metric.unit == "Microseconds":
        return metric.average / 1000
    if metric.name == "ServerlessConcurrentExecutionsUtilization":
        return metric.maximum
    return metric.average if metric.unit == "Percent" else metric.total


def _metric_cell(metric: CloudWatchMetric | None) -> Cell:
    if metric is None:
        return _NOT_AVAILABLE
    value = metric_value(metric)
    if metric.name == "ModelSetupTime":
        return Cell(number_cell(value).text, f"{metric.sample_count:,.0f} cold")
    if metric.name == "MemoryUtilization":
        return Cell(number_cell(value).text, f"max {number_cell(metric.maximum).text}")
    if metric.name == "ServerlessConcurrentExecutionsUtilization":
        return number_cell(value * 100)  # CloudWatch's unit is a fraction of 1
    return count_cell(value) if metric.name.startswith("Invocation") else number_cell(value)


def metrics_table(rows: Sequence[RunAnalysis]) -> Table:
    """Return the CloudWatch metrics of these runs; notes state why one is missing.

    CloudWatch has the figures of an endpoint, not of a step: steps that share them are one row.
    """
    cells, notes = [], []
    for group in _rows_by_figures(rows):
        first, label = group[0].run, "; ".join(short_label(row) for row in group)
        if first.failure:
            cells.append((Cell(label), *(_NOT_AVAILABLE,) * len(_METRICS)))
            continue
        values = first.metrics.values
        cells.append((Cell(label), *(_metric_cell(values.get(name)) for name in _METRICS)))
        notes += [
            f"{_METRICS[name][0] if name in _METRICS else sanitize_text(name)} unavailable: {sanitize_text(reason)}."
            for name, reason in sorted(first.metrics.unavailable.items())
        ]
        if values and not first.metrics.is_final:
            delay = f"{first.metrics.publish_delay:,.0f} s"
            notes.append(f"{label}: the counts were not final {delay} after the run.")
        if len(group) > 1:
            notes.append(
                f"{label}: figures of the endpoint over all of these steps; CloudWatch does not separate them."
            )
    columns = tuple(Column(*_METRICS[name]) for name in _METRICS)
    return Table("CloudWatch metrics", (label_column(rows), *columns), tuple(cells), tuple(dict.fromkeys(notes)))


def _rows_by_figures(rows: Sequence[RunAnalysis]) -> list[list[RunAnalysis]]:
    """Return groups of rows that have the same figures of the same endpoint, in the order of the first of each."""
    groups: list[list[RunAnalysis]] = []
    for row in rows:
        run = row.run
        for group in groups:
            other = group[0].run
            if run.endpoint and run.endpoint == other.endpoint and run.metrics.values and run.metrics == other.metrics:
                group.append(row)
                break
        else:
            groups.append([row])
    return groups
