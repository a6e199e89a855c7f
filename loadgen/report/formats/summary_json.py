"""`summary.json`: every number of a report, verdict first; seconds, bytes and USD, null if unknown."""

import json
from typing import Any

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.analysis.validity.figures import FigureValidity
from loadgen.results.manifest import Manifest
from loadgen.results.serialization import to_untagged_json

_RUN_FIELDS = (
    *("started", "duration", "stop_reason", "failure"),
    *("endpoint", "deploy_duration", "transport", "transport_note"),
)
_RUN_DETAIL_FIELDS = ("metrics", "generator_stats", "workers", "server_counts", "error_codes", "data_errors")


def summary_json(manifest: Manifest, analysis: Analysis) -> str:
    """Return the text of `summary.json`: strict JSON without NaN, identical for identical input."""
    summary = {
        "verdict": str(analysis.verdict),
        "headline": analysis.headline,
        "high_failure_shares": analysis.high_failure_shares,
        "reasons": analysis.verdict.reasons,
        "notes": analysis.verdict.notes,
        "measured_on": manifest.identity,
        "slos": analysis.slos,
        "recommendation": analysis.recommendation,
        "savings": analysis.savings,
        "concurrency_recommendations": analysis.concurrency_recommendations,
        "price_source": analysis.price_source,
        "assumptions": analysis.assumptions,
        "runs": [_run_summary(row) for row in analysis.runs],
        "manifest": manifest,
    }
    return json.dumps(to_untagged_json(summary), indent=1, allow_nan=False) + "\n"


def _run_summary(row: RunAnalysis) -> dict[str, Any]:
    run = row.run
    return {
        "step": run.step.label,
        "phase": run.step.phase,
        "verdict": str(row.verdict),
        "reasons": row.verdict.reasons,
        "figures": [_figure_summary(figure) for figure in row.verdict.figures],
        "config": run.step.config,
        "load": {"kind": "open loop" if run.is_open_loop else "closed loop"} | to_untagged_json(run.step.load),
        **{name: getattr(run, name) for name in _RUN_FIELDS},
        "summary": row.summary,
        "cost": row.cost,
        "slos": row.slos,
        **{name: getattr(run, name) for name in _RUN_DETAIL_FIELDS if name != "workers" or run.workers},
    }


def _figure_summary(figure: FigureValidity) -> dict[str, Any]:
    return {"name": figure.name, "value": figure.value, "moved_share": figure.share, "is_valid": figure.is_valid}
