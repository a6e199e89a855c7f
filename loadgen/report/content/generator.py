"""The table of load-generator health."""

from collections.abc import Sequence

from loadgen.analysis.findings import Row
from loadgen.measurement.generator_stats import Watch
from loadgen.report.content.labels import STEP, label
from loadgen.report.content.table import NOTHING, Cell, Column, Table, count, milliseconds, number, share, words


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
