"""The analysis for machines: one JSON file, the verdict first. Seconds, bytes and USD; null where nothing is known."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.measurement.outcome import Outcome
from loadgen.results.manifest import Manifest


def summary_json(manifest: Manifest, analysis: Analysis) -> str:
    """Return every number of a report as JSON: strict, without NaN, the same for the same input."""
    said = {
        "verdict": str(analysis.verdict),
        "reasons": analysis.verdict.reasons,
        "notes": analysis.verdict.notes,
        "measured_on": manifest.identity,
        "slos": analysis.slos,
        "recommendation": analysis.recommendation,
        "savings": analysis.savings,
        "concurrency_recommendations": analysis.concurrency_recommendations,
        "price_source": analysis.price_source,
        "assumptions": analysis.assumptions,
        "runs": [_run_to_json(row) for row in analysis.runs],
        "manifest": manifest,
    }
    return json.dumps(_to_json(said), indent=1, allow_nan=False) + "\n"


def _run_to_json(row: RunAnalysis) -> dict[str, Any]:
    run = row.run
    kept = (
        "started",
        "duration",
        "stop_reason",
        "failure",
        "endpoint",
        "deploy_duration",
        "transport",
        "transport_note",
    )
    return {
        "step": run.step.name,
        "phase": run.step.phase,
        "verdict": str(row.verdict),
        "reasons": row.verdict.reasons,
        "config": run.step.config,
        "load": {"kind": "open loop" if run.is_open_loop else "closed loop"} | _to_json(run.step.load),
        **{name: getattr(run, name) for name in kept},
        "summary": row.summary,
        "cost": row.cost,
        "slos": row.slos,
        "metrics": run.metrics,
        "generator_stats": run.generator_stats,
        **({"workers": run.workers} if run.workers else {}),
        "server_counts": run.server_counts,
        "error_codes": run.error_codes,
        "data_errors": run.data_errors,
    }


def _to_json(value: Any) -> Any:
    """Return a value as JSON can say it."""
    if isinstance(value, Outcome):
        return value.label
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if is_dataclass(value):
        return {f.name: _to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {_json_key(key): _to_json(item) for key, item in value.items()}
    if hasattr(value, "_asdict"):
        return _to_json(value._asdict())
    if isinstance(value, tuple | list):
        return [_to_json(item) for item in value]
    return str(value)


def _json_key(key: Any) -> str:
    return key.label if isinstance(key, Outcome) else f"p{key:g}" if isinstance(key, float) else str(key)
