"""Configuration tables: the steps with their loads, the settings with seeds and versions, and the glossary."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.report.content.columns import STEP_COLUMN
from loadgen.report.content.labels import config_label
from loadgen.report.content.table import MISSING_CELL, Cell, Column, Table, number_cell, sanitize_text, text_cell
from loadgen.results.manifest import Manifest
from loadgen.workload.arrivals import Arrivals
from loadgen.workload.load import ClosedLoop, OpenLoop, Pause, Uniform


def step_config_table(rows: Sequence[RunAnalysis]) -> Table:
    """Return configuration and load of each step, and how it ended."""
    columns = (
        STEP_COLUMN,
        Column("Configuration", is_text=True),
        Column("Load", is_text=True),
        Column("Stop reason", "", "Rule that ended the step.", is_text=True),
        Column("Duration", "s"),
        Column("Deployment", "s", "Time from CreateEndpoint to InService."),
        Column("Endpoint", is_text=True),
        Column("Transport", "", "HTTP client that sent the requests.", is_text=True),
    )
    cells = tuple(
        (
            text_cell(row.run.step.label),
            Cell(config_label(row)),
            text_cell(describe_load(row.run.step.load) + _describe_start(row)),
            text_cell(row.run.stop_reason),
            number_cell(row.run.duration) if row.run.duration else MISSING_CELL,
            number_cell(row.run.deploy_duration) if row.run.deploy_duration else MISSING_CELL,
            text_cell(row.run.endpoint),
            Cell(sanitize_text(row.run.transport) or "–", sanitize_text(row.run.transport_note)),
        )
        for row in rows
    )
    return Table("Steps in order of execution", columns, cells)


def _describe_start(row: RunAnalysis) -> str:
    step = row.run.step
    parts = [f"start delay {step.delay:g} s"] if step.delay else []
    parts += [f"warm-up {step.warmup:g} s"] if step.warmup else []
    parts += [f"warm-up {step.warmup_calls} calls"] if step.warmup_calls else []
    return "".join(f"; {part}" for part in parts)


def describe_load(load: ClosedLoop | OpenLoop) -> str:
    """Return a short description of a load."""
    if isinstance(load, OpenLoop):
        bounds = _describe_bounds(load.duration, None)
        return f"open loop, {_describe_arrivals(load.arrivals)}, {bounds}at most {load.max_in_flight} in flight"
    pauses = [
        f"{name} {_describe_pause(p)}" for name, p in (("think", load.think), ("backoff", load.backoff)) if p != 0
    ]
    bounds = _describe_bounds(load.duration, load.count)
    clients = "1 client" if load.clients == 1 else f"{load.clients} clients"
    return f"closed loop, {clients}, {bounds}{', '.join(pauses)}".rstrip(", ")


def _describe_bounds(duration: float | None, calls: int | None) -> str:
    parts = [f"{calls:,} calls"] if calls is not None else []
    parts += [f"{duration:g} s"] if duration is not None else []
    return "".join(f"{part}, " for part in parts)


def _describe_pause(pause: Pause) -> str:
    return f"{pause.low:g} to {pause.high:g} s" if isinstance(pause, Uniform) else f"{pause:g} s"


def _describe_arrivals(arrivals: Arrivals) -> str:
    if arrivals.rate is None:
        return f"trace of {len(arrivals.instants):,} arrivals"
    kind = "evenly spaced" if arrivals.seed is None else f"Poisson (seed {arrivals.seed})"
    rates = [rate for _, rate in arrivals.rate.knots]
    low, high = min(rates), max(rates)
    return f"{kind} at {low:g} requests/s" if low == high else f"{kind} at {low:g} to {high:g} requests/s"


def configuration_table(manifest: Manifest) -> Table:
    """Return every setting, seed, hash and version of the run."""
    identity = manifest.identity
    pairs: list[tuple[str, Any]] = [
        ("run", manifest.run_id),
        ("started", manifest.created),
        ("scenario", manifest.scenario),
        ("scenario sha256", manifest.scenario_sha256),
        ("measured on", identity.kind),
        ("account", identity.account_id),
        ("region", identity.region),
        ("detail", identity.detail),
        ("seed of the payload choice", manifest.seed),
        *_flatten("payloads", manifest.payloads),
        *_flatten("", manifest.settings),
        *((f"version of {name}", version) for name, version in manifest.versions.items()),
    ]
    cells = tuple(
        (text_cell(name), text_cell(_setting_text(value))) for name, value in pairs if value not in ("", None)
    )
    return Table(
        "Settings, seeds and versions", (Column("Setting", is_text=True), Column("Value", is_text=True)), cells
    )


def _flatten(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """Yield (dotted name, value) of nested mappings; a list is one value."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flatten(f"{name}.{key}" if name else str(key), item)
    else:
        yield name, value


def _setting_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def glossary(tables: Iterable[Table]) -> tuple[tuple[str, str, str], ...]:
    """Return (heading, unit, meaning) of every column that has a meaning, in order of appearance."""
    meanings: dict[tuple[str, str], str] = {}
    for table in tables:
        for column in table.columns:
            if column.meaning:
                meanings.setdefault((column.name, column.unit), column.meaning)
    return tuple((name, unit, meaning) for (name, unit), meaning in meanings.items())
