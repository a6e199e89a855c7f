"""Measurement: one side of a comparison, from a saved run's analysis or from its summary.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.commonest_failure import has_ok_calls
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.analysis.verdict import NO_OK_CALLS
from loadgen.comparison.comparable import Conditions, StepConditions
from loadgen.comparison.metric import METRICS, measured_values
from loadgen.errors import DataError
from loadgen.results.manifest import Manifest
from loadgen.results.serialization import to_untagged_json
from loadgen.statistics.interval import Interval


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """One step of a measurement.

    Args:
        label: label of the step.
        conditions: its conditions.
        invalid_reason: why its verdict is INVALID; empty if it is VALID.
        values: each metric with its interval, or why it has none.
        row: its analysis with every call; None from a summary.json.
    """

    label: str
    conditions: StepConditions
    invalid_reason: str
    values: Mapping[str, Interval | str]
    row: RunAnalysis | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One side of a comparison.

    Args:
        name: path that was given, for display.
        run_id: id of the run.
        created: ISO 8601, UTC.
        conditions: its conditions.
        steps: its steps, in order of execution.
        notes: what is missing.
    """

    name: str
    run_id: str
    created: str
    conditions: Conditions
    steps: tuple[MeasuredStep, ...]
    notes: tuple[str, ...] = field(default=())


def measurement_of(name: str, manifest: Manifest, analysis: Analysis) -> Measurement:
    """Return the measurement of an output directory."""
    identity = manifest.identity
    sha256 = str(manifest.payloads.get("sha256", ""))
    conditions = Conditions(identity.kind, identity.region, sha256, manifest.seed, identity.detail)
    is_measured = any(has_ok_calls(row.run) for row in analysis.runs)
    return Measurement(
        name,
        manifest.run_id,
        manifest.created,
        conditions,
        tuple(_measured_step(row, is_measured=is_measured) for row in analysis.runs),
    )


def _measured_step(row: RunAnalysis, *, is_measured: bool) -> MeasuredStep:
    """Return a step; that a configuration of a benchmark had no ok call is a result if another one had."""
    step = row.run.step
    reasons = [r for r in row.verdict.reasons if not (is_measured and step.phase and r.problem == NO_OK_CALLS)]
    config = None if step.config is None else to_untagged_json(step.config)
    kind = "open loop" if row.run.is_open_loop else "closed loop"
    load = {"kind": kind} | to_untagged_json(step.load)
    return MeasuredStep(
        label=step.label,
        conditions=StepConditions(load, config, row.run.transport),
        invalid_reason="; ".join(map(str, reasons)),
        values=measured_values(row),
        row=row,
    )


def measurement_of_summary(name: str, summary: Mapping[str, Any]) -> Measurement:
    """Return the measurement of a parsed summary.json, which has no calls: intervals, but neither blocks nor a chart.

    Raises:
        DataError: it is not a summary of loadgen.
    """
    try:
        manifest, identity = summary["manifest"], summary["measured_on"]
        conditions = Conditions(
            measured_on=identity["kind"],
            region=identity["region"],
            payload_sha256=str(manifest["payloads"].get("sha256", "")),
            seed=manifest["seed"],
            detail=identity["detail"],
        )
        is_measured = any(run["summary"]["ok"] for run in summary["runs"])
        steps = tuple(_step_of_summary(run, is_measured=is_measured) for run in summary["runs"])
        note = f"{name} has no calls: no blocks were compared and no distribution is drawn; give its directory instead"
        return Measurement(name, manifest["run_id"], manifest["created"], conditions, steps, (note,))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{name} is not a summary.json of this version: {type(error).__name__} {error}",
            hint="give the output directory, or write the report again with `python -m loadgen report`",
        ) from error


def _step_of_summary(run: Mapping[str, Any], *, is_measured: bool) -> MeasuredStep:
    summary = run["summary"]
    is_response = run["load"]["kind"] == "open loop"
    latency, cost, tps = summary["response" if is_response else "service"], run["cost"], summary["tps"]
    values: dict[str, Interval | str] = {}
    for metric in METRICS[:5]:
        if latency is None:
            values[metric.name] = "no call was ok"
        elif not metric.percent:
            values["mean"] = _interval(latency["mean_interval"]) or Interval(
                latency["mean"], None, None, latency["count"], None
            )
        else:
            found = latency["percentiles"][f"p{metric.percent:g}"]
            values[metric.name] = (
                "too few independent calls"
                if found is None
                else Interval(found["value"], found["low"], found["high"], latency["count"], None)
            )
    per_million = None if cost is None else cost["per_million"]
    values["cost"] = (
        "unknown"
        if per_million is None
        else _interval(cost["per_million_interval"]) or Interval(per_million, None, None, summary["ok"], None)
    )
    values["tps"] = (
        "needs one whole second of load"
        if tps is None
        else _interval(tps["interval"]) or Interval(tps["average"], None, None, tps["seconds"], None)
    )
    for name in ("throttled", "failed"):
        values[name] = _interval(summary["shares"][name]) or "no call was completed"
    reasons = "; ".join(
        f"{reason['problem']}: {reason['observed']}"
        for reason in run["reasons"]
        if not (is_measured and run["phase"] and reason["problem"] == NO_OK_CALLS)
    )
    conditions = StepConditions(run["load"], run["config"], run["transport"])
    return MeasuredStep(run["step"], conditions, reasons, values)


def _interval(saved: Mapping[str, Any] | None) -> Interval | None:
    names = ("value", "low", "high", "count", "effective_count")
    return None if saved is None else Interval(*(saved[name] for name in names))
