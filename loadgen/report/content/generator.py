"""The table of load-generator health."""

from collections.abc import Sequence

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.report.content.labels import STEP_COLUMN, short_label
from loadgen.report.content.table import (
    MISSING_CELL,
    Cell,
    Column,
    Table,
    count_cell,
    milliseconds_cell,
    number_cell,
    percent_cell,
    text_cell,
)


def generator_health_table(rows: Sequence[RunAnalysis]) -> Table:
    """Return what the generator saw of itself: whether it was fast enough to be believed."""
    columns = (
        STEP_COLUMN,
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
        name, is_open = row.run.step.name or short_label(row), row.run.is_open_loop
        workers = row.run.workers
        cells.append(
            _generator_health_cells(
                f"{name}, worst of {len(workers)}" if workers else name, row.run.generator_stats, is_open
            )
        )
        cells += [
            _generator_health_cells(f"{name}, {worker.name}", worker.generator_stats, is_open) for worker in workers
        ]
    return Table("Lag, waits and rates", columns, tuple(cells))


def _generator_health_cells(name: str, stats: GeneratorStats, is_open: bool) -> tuple[Cell, ...]:  # noqa: FBT001 - a fact, not a mode
    return (
        text_cell(name),
        percent_cell(stats.cpu_share, 1),
        *(milliseconds_cell(v) for v in (stats.loop_lag_p99, stats.loop_lag_max)),
        *(milliseconds_cell(v) for v in (stats.send_lag_p50, stats.send_lag_p99, stats.send_lag_max)),
        count_cell(stats.pool_waits),
        milliseconds_cell(stats.pool_wait_max) if stats.pool_waits else MISSING_CELL,
        count_cell(stats.connections_opened),
        count_cell(stats.dropped),
        milliseconds_cell(stats.gc_pause_max) if stats.gc_pause_max else MISSING_CELL,
        number_cell(stats.target_rate) if is_open else MISSING_CELL,
        number_cell(stats.achieved_rate),
    )
