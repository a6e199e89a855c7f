"""How a row of findings is named in tables, files and charts."""

from collections.abc import Sequence

from loadgen.analysis.findings import Findings, Row
from loadgen.report.content.table import Column, legible
from loadgen.workload.load import ClosedLoop

STEP = Column("Step", "", "One endpoint configuration under one load.", is_text=True)
_CELL = Column("Slots x clients", "", "MaxConcurrency, and the simulated clients that called it.", is_text=True)
_SIZE = Column("Memory", "", "MemorySizeInMB of the endpoint; its CPU grows with it.", is_text=True)


def rows_of(findings: Findings, phase: str) -> tuple[Row, ...]:
    """Return the rows of one benchmark in reading order; steps of the user's own as they were executed."""
    rows = findings.of_phase(phase)
    if not phase:
        return rows
    return tuple(sorted(rows, key=lambda row: (memory_of(row) or 0, slots_of(row) or 0, clients_of(row) or 0)))


def memory_of(row: Row) -> int | None:
    """Return the memory size in MB; None for a place that stands as it is."""
    return None if row.run.step.config is None else row.run.step.config.memory_mb


def slots_of(row: Row) -> int | None:
    """Return the MaxConcurrency; None for a place that stands as it is."""
    return None if row.run.step.config is None else row.run.step.config.max_concurrency


def clients_of(row: Row) -> int | None:
    """Return the simulated clients; None for an open loop."""
    load = row.run.step.load
    return load.clients if isinstance(load, ClosedLoop) else None


def label(row: Row) -> str:
    """Name a row within its own benchmark: a memory size, slots and clients, or a step's name."""
    step, memory_mb, slots, clients = row.run.step, memory_of(row), slots_of(row), clients_of(row)
    if step.phase == "stability" and memory_mb is not None:
        return f"{memory_mb} MB"
    if step.phase == "concurrency" and slots is not None and clients is not None:
        return f"{slots} x {clients}"
    return legible(step.name) if step.name else place(row)


def place(row: Row) -> str:
    """Name a row's configuration."""
    config = row.run.step.config
    if config is None:
        return "as it stands"
    kept = f", {config.provisioned_concurrency} provisioned" if config.provisioned_concurrency else ""
    return f"{config.memory_mb} MB, MaxConcurrency {config.max_concurrency}{kept}"


def first_column(rows: Sequence[Row]) -> Column:
    """Return the heading over these rows' labels."""
    phases = {row.run.step.phase for row in rows}
    return {frozenset({"stability"}): _SIZE, frozenset({"concurrency"}): _CELL}.get(frozenset(phases), STEP)


def marked(rows: Sequence[Row], findings: Findings) -> int | None:
    """Return the index of the row of the recommended memory size: of several runs of it the last, which counts."""
    chosen = None if findings.recommendation is None else findings.recommendation.memory_mb
    found = [i for i, row in enumerate(rows) if chosen is not None and memory_of(row) == chosen]
    return found[-1] if found else None
