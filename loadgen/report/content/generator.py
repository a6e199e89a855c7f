"""Table of load-generator health: the generator's measurements of itself."""

from collections.abc import Sequence

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.report.content.columns import STEP_COLUMN
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
    """Return CPU, lag, connections and rates of the load generator, per run and per worker."""
    cells = []
    for row in rows:
        if row.run.failure:
            continue
        label, workers = row.run.step.label, row.run.workers
        total = f"{label}, worst of {len(workers)}" if workers else label
        named = [(total, row.run.generator_stats)]
        named += [(f"{label}, {worker.name}", worker.generator_stats) for worker in workers]
        cells += [_cells(name, stats, is_open_loop=row.run.is_open_loop) for name, stats in named]
    return Table("Lag, pool waits and rates", _COLUMNS, tuple(cells))


_COLUMNS = (
    STEP_COLUMN,
    Column("CPU", "%", "Share of one core used by the generator's thread. Above 90 % it is saturated."),
    Column("Loop lag p99", "ms", "Delay of the event loop, measured by a ticker."),
    Column("Loop lag max", "ms"),
    Column("Send lag p50", "ms", "Delay of requests: sent - scheduled."),
    Column("Send lag p99", "ms"),
    Column("Send lag max", "ms"),
    Column("Pool waits", "calls", "Requests that waited for a free connection."),
    Column("Longest wait", "ms"),
    Column("New conns", "", "Connections opened during the run."),
    Column("Dropped", "calls", "Requests dropped at max_in_flight."),
    Column("GC max", "ms", "Longest garbage-collection pause."),
    Column("Target", "1/s", "Target rate of an open loop."),
    Column("Achieved", "1/s", "Requests sent per second."),
)


def _cells(name: str, stats: GeneratorStats, *, is_open_loop: bool) -> tuple[Cell, ...]:
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
        number_cell(stats.target_rate) if is_open_loop else MISSING_CELL,
        number_cell(stats.achieved_rate),
    )
