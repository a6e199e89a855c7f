"""The result of a run: what became of a scenario, its exit causes, and the content of result.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from loadgen.analysis.analysis import Analysis
from loadgen.errors import ExitStatus, worst_status
from loadgen.interfaces import Leftover
from loadgen.measurement.run import Run
from loadgen.results.directory import ResultsDirectory


class ExitCause(NamedTuple):
    """Why the exit status is not 0: a status, and what happened in words."""

    status: ExitStatus
    message: str


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """What became of a scenario.

    Args:
        results: where everything is kept.
        runs: in the order of execution, read back from there.
        causes: what went wrong on the way, beside what the runs themselves say.
        leftovers: what may still exist, with the command that removes it.
        incomplete_reason: why this is only a part of what was planned; empty when it is all.
        failure: what ended it early; None when nothing did.
    """

    results: ResultsDirectory
    runs: tuple[Run, ...]
    causes: tuple[ExitCause, ...]
    leftovers: tuple[Leftover, ...]
    incomplete_reason: str
    failure: Exception | None = None

    @property
    def is_incomplete(self) -> bool:
        """True when it was ended before all that was planned was done."""
        return bool(self.incomplete_reason)

    @property
    def statuses(self) -> tuple[ExitStatus, ...]:
        """The statuses of the causes."""
        return tuple(cause.status for cause in self.causes)


def result_json(result: ScenarioResult, causes: Sequence[ExitCause], analysis: Analysis | None) -> dict[str, Any]:
    """Return what result.json says: how the whole of it ended, as plain values.

    Args:
        result: what became of the scenario.
        causes: everything that speaks for an exit status; the one that costs most wins.
        analysis: what its runs say; None when no report could be made.
    """
    status = worst_status([cause.status for cause in causes])
    cleanup = f"python -m loadgen cleanup {result.results.manifest.run_id}"
    return {
        "run_id": result.results.manifest.run_id,
        "exit": {
            "code": int(status),
            "name": status.name,
            "causes": [{"code": int(c.status), "name": c.status.name, "message": c.message} for c in causes],
        },
        "verdict": str(analysis.verdict) if analysis is not None else None,
        "reasons": [str(reason) for reason in analysis.verdict.reasons] if analysis is not None else [],
        "incomplete_reason": result.incomplete_reason,
        "leftovers": [
            {
                "kind": leftover.kind,
                "name": leftover.name,
                "billable": leftover.is_billable,
                "reason": leftover.reason,
                "delete_command": leftover.delete_command,
                "cleanup_command": cleanup,
            }
            for leftover in result.leftovers
        ],
    }


def exit_causes(result: ScenarioResult, analysis: Analysis | None) -> list[ExitCause]:
    """Return everything that speaks for an exit status other than 0."""
    causes = list(result.causes)
    if analysis is not None:
        if not analysis.verdict.is_valid:
            causes.append(ExitCause(ExitStatus.INVALID, "; ".join(map(str, analysis.verdict.reasons))))
        causes += [ExitCause(ExitStatus.THRESHOLD, check.reason) for check in analysis.violated_slos]
    return causes
