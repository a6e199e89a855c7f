"""Labels and order of runs in tables, files and charts."""

from collections.abc import Sequence

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.report.content.columns import STEP_COLUMN
from loadgen.report.content.table import Cell, Column, optional_cell, sanitize_text
from loadgen.workload.load import ClosedLoop

_CONCURRENCY_COLUMN = Column(
    "Slots x clients", "", "MaxConcurrency, and the number of simulated clients that called it.", is_text=True
)
_MEMORY_LABEL_COLUMN = Column("Memory", "", "MemorySizeInMB of the endpoint; CPU grows with it.", is_text=True)


def runs_in_phase(analysis: Analysis, phase: str) -> tuple[RunAnalysis, ...]:
    """Return the runs of one phase sorted by configuration; a scenario's own steps in order of execution."""
    rows = analysis.in_phase(phase)
    if not phase:
        return rows
    return tuple(
        sorted(rows, key=lambda row: (row.memory_mb or 0, max_concurrency_of(row) or 0, client_count_of(row) or 0))
    )


def max_concurrency_of(row: RunAnalysis) -> int | None:
    """Return the MaxConcurrency; None for an existing endpoint."""
    return None if row.run.step.config is None else row.run.step.config.max_concurrency


def client_count_of(row: RunAnalysis) -> int | None:
    """Return the number of simulated clients; None for an open loop."""
    load = row.run.step.load
    return load.clients if isinstance(load, ClosedLoop) else None


def memory_cell(row: RunAnalysis) -> Cell:
    """Return the memory size as a cell without digit grouping; a dash for an existing endpoint."""
    return optional_cell(row.memory_mb)


def short_label(row: RunAnalysis) -> str:
    """Return the label of a run within its phase: memory size, slots and clients, or the step's label."""
    step, slots, clients = row.run.step, max_concurrency_of(row), client_count_of(row)
    if step.phase == "stability" and row.memory_mb is not None:
        return f"{row.memory_mb} MB"
    if step.phase == "concurrency" and slots is not None and clients is not None:
        return f"{slots} x {clients}"
    return sanitize_text(step.label)


def config_label(row: RunAnalysis) -> str:
    """Return a description of a run's endpoint configuration."""
    config = row.run.step.config
    if config is None:
        return "existing endpoint"
    provisioned = f", {config.provisioned_concurrency} provisioned" if config.provisioned_concurrency else ""
    return f"{config.memory_mb} MB, MaxConcurrency {config.max_concurrency}{provisioned}"


def label_column(rows: Sequence[RunAnalysis]) -> Column:
    """Return the column heading for the short labels of these runs."""
    phases = {row.run.step.phase for row in rows}
    if phases == {"stability"}:
        return _MEMORY_LABEL_COLUMN
    return _CONCURRENCY_COLUMN if phases == {"concurrency"} else STEP_COLUMN


def recommended_row(rows: Sequence[RunAnalysis], analysis: Analysis) -> int | None:
    """Return the index of the recommended memory size; of several runs of a size the last one counts."""
    recommended = None if analysis.recommendation is None else analysis.recommendation.memory_mb
    found = [i for i, row in enumerate(rows) if recommended is not None and row.memory_mb == recommended]
    return found[-1] if found else None
