"""How a row of analysis is named in tables, files and charts."""

from collections.abc import Sequence

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.report.content.table import Column, sanitize_text
from loadgen.workload.load import ClosedLoop

STEP_COLUMN = Column("Step", "", "One endpoint configuration under one load.", is_text=True)
_CONCURRENCY_COLUMN = Column(
    "Slots x clients", "", "MaxConcurrency, and the simulated clients that called it.", is_text=True
)
_MEMORY_COLUMN = Column("Memory", "", "MemorySizeInMB of the endpoint; its CPU grows with it.", is_text=True)


def runs_in_phase(analysis: Analysis, phase: str) -> tuple[RunAnalysis, ...]:
    """Return the rows of one benchmark in reading order; steps of the user's own as they were executed."""
    rows = analysis.in_phase(phase)
    if not phase:
        return rows
    return tuple(
        sorted(rows, key=lambda row: (memory_mb_of(row) or 0, max_concurrency_of(row) or 0, client_count_of(row) or 0))
    )


def memory_mb_of(row: RunAnalysis) -> int | None:
    """Return the memory size in MB; None for a place that stands as it is."""
    return None if row.run.step.config is None else row.run.step.config.memory_mb


def max_concurrency_of(row: RunAnalysis) -> int | None:
    """Return the MaxConcurrency; None for a place that stands as it is."""
    return None if row.run.step.config is None else row.run.step.config.max_concurrency


def client_count_of(row: RunAnalysis) -> int | None:
    """Return the simulated clients; None for an open loop."""
    load = row.run.step.load
    return load.clients if isinstance(load, ClosedLoop) else None


def short_label(row: RunAnalysis) -> str:
    """Name a row within its own benchmark: a memory size, slots and clients, or a step's name."""
    step, memory_mb, slots, clients = row.run.step, memory_mb_of(row), max_concurrency_of(row), client_count_of(row)
    if step.phase == "stability" and memory_mb is not None:
        return f"{memory_mb} MB"
    if step.phase == "concurrency" and slots is not None and clients is not None:
        return f"{slots} x {clients}"
    return sanitize_text(step.name) if step.name else config_label(row)


def config_label(row: RunAnalysis) -> str:
    """Name a row's configuration."""
    config = row.run.step.config
    if config is None:
        return "as it stands"
    kept = f", {config.provisioned_concurrency} provisioned" if config.provisioned_concurrency else ""
    return f"{config.memory_mb} MB, MaxConcurrency {config.max_concurrency}{kept}"


def label_column(rows: Sequence[RunAnalysis]) -> Column:
    """Return the heading over these rows' labels."""
    phases = {row.run.step.phase for row in rows}
    return {frozenset({"stability"}): _MEMORY_COLUMN, frozenset({"concurrency"}): _CONCURRENCY_COLUMN}.get(
        frozenset(phases), STEP_COLUMN
    )


def recommended_row(rows: Sequence[RunAnalysis], analysis: Analysis) -> int | None:
    """Return the index of the row of the recommended memory size: of several runs of it the last, which counts."""
    chosen = None if analysis.recommendation is None else analysis.recommendation.memory_mb
    found = [i for i, row in enumerate(rows) if chosen is not None and memory_mb_of(row) == chosen]
    return found[-1] if found else None
