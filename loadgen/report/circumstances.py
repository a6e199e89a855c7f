"""The tables of circumstances: CloudWatch's view, what the generator saw of itself, the configuration, the glossary."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loadgen.arrivals import Arrivals
from loadgen.findings import Row
from loadgen.load import ClosedLoop, OpenLoop, Pause, Uniform
from loadgen.manifest import Manifest
from loadgen.metric import Metric
from loadgen.report.rows import STEP, first_column, label, place
from loadgen.report.table import (
    NOTHING,
    Cell,
    Column,
    Table,
    count,
    legible,
    milliseconds,
    number,
    share,
    words,
)
from loadgen.watch import Watch

_ABSENT = Cell("n/a")
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


def metric_figure(metric: Metric) -> float:
    """Return the one figure of a metric that stands for it: a mean in ms, a sum of counts, the most of slots used."""
    if metric.unit == "Microseconds":
        return metric.average / 1000
    if metric.name == "ServerlessConcurrentExecutionsUtilization":
        return metric.maximum
    return metric.average if metric.unit == "Percent" else metric.total


def _metric_cell(metric: Metric | None) -> Cell:
    if metric is None:
        return _ABSENT
    figure = metric_figure(metric)
    if metric.name == "ModelSetupTime":
        return Cell(number(figure).text, f"{metric.samples:,.0f} cold")
    if metric.name == "MemoryUtilization":
        return Cell(number(figure).text, f"max {number(metric.maximum).text}")
    if metric.name == "ServerlessConcurrentExecutionsUtilization":
        return number(figure * 100)  # CloudWatch gives a fraction of 1
    return count(figure) if metric.name.startswith("Invocation") else number(figure)


def metrics_table(rows: Sequence[Row]) -> Table:
    """Return CloudWatch's view of these rows; what is missing says why."""
    cells, notes = [], []
    for row in rows:
        if row.run.failure:
            cells.append((Cell(label(row)), *(_ABSENT,) * len(_METRICS)))
            continue
        values = row.run.metrics.values
        cells.append((Cell(label(row)), *(_metric_cell(values.get(name)) for name in _METRICS)))
        notes += [
            f"{_METRICS[name][0] if name in _METRICS else legible(name)} not available: {legible(why)}."
            for name, why in sorted(row.run.metrics.missing.items())
        ]
        if values and not row.run.metrics.settled:
            notes.append(f"{label(row)}: the counts had not settled after {row.run.metrics.lag:,.0f} s.")
    columns = tuple(Column(*_METRICS[name]) for name in _METRICS)
    return Table("CloudWatch metrics", (first_column(rows), *columns), tuple(cells), tuple(dict.fromkeys(notes)))


def watch_table(rows: Sequence[Row]) -> Table:
    """Return what the generator saw of itself: whether it was fast enough to be believed."""
    columns = (
        STEP,
        Column("CPU", "%", "Of one core, used by the generator's thread. Above 90 it is the bottleneck."),
        Column("Loop lag p99", "ms", "How late the event loop came back to a ticker."),
        Column("Loop lag max", "ms"),
        Column("Send lag p50", "ms", "How late requests left: sent minus scheduled."),
        Column("Send lag p99", "ms"),
        Column("Send lag max", "ms"),
        Column("Waits", "calls", "Requests that waited for a free connection."),
        Column("Longest wait", "ms"),
        Column("New conns", "", "Connections opened in mid-run."),
        Column("Dropped", "calls", "Arrivals that could not be sent since too many were in flight."),
        Column("GC max", "ms", "The longest garbage collection."),
        Column("Asked", "1/s", "The rate that an open loop asked for."),
        Column("Achieved", "1/s", "Requests sent per second."),
    )
    cells = []
    for row in rows:
        if row.run.failure:
            continue
        name, is_open = row.run.step.name or label(row), row.run.is_open_loop
        workers = row.run.workers
        cells.append(_watch_cells(f"{name}, worst of {len(workers)}" if workers else name, row.run.watch, is_open))
        cells += [_watch_cells(f"{name}, {worker.name}", worker.watch, is_open) for worker in workers]
    return Table("Lag, waits and rates", columns, tuple(cells))


def _watch_cells(name: str, watch: Watch, is_open: bool) -> tuple[Cell, ...]:  # noqa: FBT001 - a fact, not a mode
    return (
        words(name),
        share(watch.cpu_share, 1),
        *(milliseconds(v) for v in (watch.loop_lag_p99, watch.loop_lag_max)),
        *(milliseconds(v) for v in (watch.send_lag_p50, watch.send_lag_p99, watch.send_lag_max)),
        count(watch.waits),
        milliseconds(watch.wait_max) if watch.waits else NOTHING,
        count(watch.connections_opened),
        count(watch.dropped),
        milliseconds(watch.gc_longest) if watch.gc_longest else NOTHING,
        number(watch.asked_rate) if is_open else NOTHING,
        number(watch.achieved_rate),
    )


def steps_asked_table(rows: Sequence[Row]) -> Table:
    """Return what was asked of each step and how it ended."""
    columns = (
        STEP,
        Column("Configuration", is_text=True),
        Column("Load", is_text=True),
        Column("Ended by", "", "Which rule ended the step.", is_text=True),
        Column("Took", "s"),
        Column("Deployed in", "s", "From Create to InService."),
        Column("Endpoint", is_text=True),
        Column("Transport", "", "How its requests travelled.", is_text=True),
    )
    cells = tuple(
        (
            words(row.run.step.name or label(row)),
            Cell(place(row)),
            words(load_in_words(row.run.step.load) + _before(row)),
            words(row.run.ended_by),
            number(row.run.duration) if row.run.duration else NOTHING,
            number(row.run.deployed_in) if row.run.deployed_in else NOTHING,
            words(row.run.endpoint),
            Cell(legible(row.run.transport) or "–", legible(row.run.transport_note)),
        )
        for row in rows
    )
    return Table("Steps in the order they were run", columns, cells)


def _before(row: Row) -> str:
    step = row.run.step
    said = [f"{step.delay:g} s idle first"] if step.delay else []
    said += [f"warm-up {step.warmup:g} s"] if step.warmup else []
    said += [f"warm-up {step.warmup_calls} calls"] if step.warmup_calls else []
    return "".join(f"; {words}" for words in said)


def load_in_words(load: ClosedLoop | OpenLoop) -> str:
    """Describe a load in a few words."""
    if isinstance(load, OpenLoop):
        bounds = _bounds(load.duration, None)
        return f"open loop, {_arrivals(load.arrivals)}, {bounds}at most {load.max_in_flight} in flight"
    pauses = [f"{name} {_pause(p)}" for name, p in (("think", load.think), ("backoff", load.backoff)) if p != 0]
    bounds = _bounds(load.duration, load.count)
    clients = "1 client" if load.clients == 1 else f"{load.clients} clients"
    return f"closed loop, {clients}, {bounds}{', '.join(pauses)}".rstrip(", ")


def _bounds(duration: float | None, calls: int | None) -> str:
    said = [f"{calls:,} calls"] if calls is not None else []
    said += [f"{duration:g} s"] if duration is not None else []
    return "".join(f"{words}, " for words in said)


def _pause(pause: Pause) -> str:
    return f"{pause.low:g} to {pause.high:g} s" if isinstance(pause, Uniform) else f"{pause:g} s"


def _arrivals(arrivals: Arrivals) -> str:
    if arrivals.rate is None:
        return f"a trace of {len(arrivals.instants):,} arrivals"
    kind = "evenly spaced" if arrivals.seed is None else f"Poisson (seed {arrivals.seed})"
    rates = [rate for _, rate in arrivals.rate.knots]
    low, high = min(rates), max(rates)
    return f"{kind} at {low:g} requests/s" if low == high else f"{kind} at {low:g} to {high:g} requests/s"


def configuration_table(manifest: Manifest) -> Table:
    """Return every setting, seed, hash and version of the run."""
    where = manifest.identity
    pairs: list[tuple[str, Any]] = [
        ("run", manifest.run_id),
        ("started", manifest.created),
        ("scenario", manifest.scenario),
        ("scenario sha256", manifest.scenario_sha256),
        ("measured on", where.kind),
        ("account", where.account_id),
        ("region", where.region),
        ("detail", where.detail),
        ("seed of the choice of payloads", manifest.seed),
        *_flat("payloads", manifest.payloads),
        *_flat("", manifest.settings),
        *((f"version of {name}", version) for name, version in manifest.versions.items()),
    ]
    cells = tuple((words(name), words(_said(value))) for name, value in pairs if value not in ("", None))
    return Table(
        "Settings, seeds and versions", (Column("Setting", is_text=True), Column("Value", is_text=True)), cells
    )


def _flat(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """Yield (dotted name, value) of nested settings, lists of plain values in one piece."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), item)
    else:
        yield name, value


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def glossary(tables: Iterable[Table]) -> tuple[tuple[str, str, str], ...]:
    """Return (heading, unit, meaning) of every column that needs one, in the order they first appear."""
    seen: dict[tuple[str, str], str] = {}
    for table in tables:
        for column in table.columns:
            if column.meaning:
                seen.setdefault((column.name, column.unit), column.meaning)
    return tuple((name, unit, meaning) for (name, unit), meaning in seen.items())
