"""Tables of load-generator health: the generator's measurements of itself, and what it changed in each figure."""

import math
from collections.abc import Sequence

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.analysis.validity.figures import FigureValidity
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.run import Run
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
        cells += [_cells(name, stats, row.run) for name, stats in named]
    return Table("Lag, pool waits and rates", _COLUMNS, tuple(cells))


_COLUMNS = (
    STEP_COLUMN,
    Column("CPU", "%", "Share of one core used by the generator's thread. Above 90 % it is saturated."),
    Column("Loop lag p99", "ms", "Delay of the event loop, measured by a ticker."),
    Column("Loop lag max", "ms"),
    Column("Stalls", "", "Times at which the event loop stood still for 1 ms or longer."),
    Column("Stalled", "%", "Share of the run in which it stood still."),
    Column("Core wait", "%", "Share of the run in which the generator was ready and another process had its core."),
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


def _cells(name: str, stats: GeneratorStats, run: Run) -> tuple[Cell, ...]:
    return (
        text_cell(name),
        percent_cell(stats.cpu_share, 1),
        *(milliseconds_cell(v) for v in (stats.loop_lag_p99, stats.loop_lag_max)),
        count_cell(stats.stalls.count),
        *(percent_cell(seconds, run.duration) for seconds in (stats.stalls.total, stats.runqueue_wait)),
        *(milliseconds_cell(v) for v in (stats.send_lag_p50, stats.send_lag_p99, stats.send_lag_max)),
        count_cell(stats.pool_waits),
        milliseconds_cell(stats.pool_wait_max) if stats.pool_waits else MISSING_CELL,
        count_cell(stats.connections_opened),
        count_cell(stats.dropped),
        milliseconds_cell(stats.gc_pause_max) if stats.gc_pause_max else MISSING_CELL,
        number_cell(stats.target_rate) if run.is_open_loop else MISSING_CELL,
        number_cell(stats.achieved_rate),
    )


_FIGURES = {"mean": "Mean", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "tps_average": "TPS"}


def figure_validity_table(rows: Sequence[RunAnalysis]) -> Table:
    """Return by how much the generator moved each figure, per run; of an open loop its response times."""
    cells = []
    for row in rows:
        kind = "response" if row.run.is_open_loop else "service"
        found = {figure.name.removeprefix(f"{kind}_"): figure for figure in row.verdict.figures}
        if found:
            moved = (_share_cell(found[name]) if name in found else MISSING_CELL for name in _FIGURES)
            cells.append((text_cell(row.run.step.label), *moved))
    columns = (STEP_COLUMN, *(Column(name, "%", _MOVED) for name in _FIGURES.values()))
    note = (
        "Share by which delays of the load generator, or late answers of an emulator, moved each figure. "
        "NOT VALID: above the limit. Latencies are response times in an open loop, else service times."
    )
    return Table("By how much the generator moved each figure", columns, tuple(cells), (note,) if cells else ())


_MOVED = "Change of the figure by the load generator's own delays."


def _share_cell(figure: FigureValidity) -> Cell:
    cell = percent_cell(figure.share, 1) if math.isfinite(figure.share) else Cell(">100")
    return cell if figure.is_valid else Cell(cell.text, "NOT VALID")
