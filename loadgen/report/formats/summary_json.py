"""The findings for machines: one JSON file, the verdict first. Seconds, bytes and USD; null where nothing is known."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from loadgen.analysis.findings import Findings, Row
from loadgen.measurement.outcome import Outcome
from loadgen.results.manifest import Manifest


def summary_json(manifest: Manifest, findings: Findings) -> str:
    """Return every number of a report as JSON: strict, without NaN, the same for the same input."""
    said = {
        "verdict": str(findings.verdict),
        "reasons": findings.verdict.reasons,
        "notes": findings.verdict.notes,
        "measured_on": manifest.identity,
        "slos": findings.slos,
        "recommendation": findings.recommendation,
        "savings": findings.savings,
        "advice": findings.advice,
        "price_source": findings.price_source,
        "assumptions": findings.assumptions,
        "rows": [_row(row) for row in findings.rows],
        "manifest": manifest,
    }
    return json.dumps(_plain(said), indent=1, allow_nan=False) + "\n"


def _row(row: Row) -> dict[str, Any]:
    run = row.run
    kept = ("started", "duration", "ended_by", "failure", "endpoint", "deployed_in", "transport", "transport_note")
    return {
        "step": run.step.name,
        "phase": run.step.phase,
        "verdict": str(row.verdict),
        "reasons": row.verdict.reasons,
        "config": run.step.config,
        "load": {"kind": "open loop" if run.is_open_loop else "closed loop"} | _plain(run.step.load),
        **{name: getattr(run, name) for name in kept},
        "summary": row.summary,
        "cost": row.cost,
        "slos": row.slos,
        "metrics": run.metrics,
        "watch": run.watch,
        **({"workers": run.workers} if run.workers else {}),
        "ledger": run.ledger,
        "codes": run.codes,
        "damage": run.damage,
    }


def _plain(value: Any) -> Any:
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
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value)


def _key(key: Any) -> str:
    return key.label if isinstance(key, Outcome) else f"p{key:g}" if isinstance(key, float) else str(key)
