"""The result of a scenario: its runs, the causes of its exit status, and the content of result.json."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.commonest_failure import commonest_failure, has_ok_calls
from loadgen.errors import ExitStatus, worst_status
from loadgen.interfaces import Leftover
from loadgen.measurement.run import Run
from loadgen.results.directory import ResultsDirectory


class ExitCause(NamedTuple):
    """A reason for an exit status other than 0, with a human-readable message."""

    status: ExitStatus
    message: str


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """The result of a scenario.

    Args:
        results: the output directory.
        runs: the runs in the order of execution, as read from the output directory.
        causes: exit causes of the execution; those of the verdict and of SLOs are added by `exit_causes`.
        leftovers: resources that may still exist.
        incomplete_reason: why a part of the plan was not executed; empty when all of it was.
        failure: the exception that ended the execution; None when none did.
    """

    results: ResultsDirectory
    runs: tuple[Run, ...]
    causes: tuple[ExitCause, ...]
    leftovers: tuple[Leftover, ...]
    incomplete_reason: str
    failure: Exception | None = None

    @property
    def is_incomplete(self) -> bool:
        """True when a part of the plan was not executed."""
        return bool(self.incomplete_reason)

    @property
    def statuses(self) -> tuple[ExitStatus, ...]:
        """The statuses of the causes."""
        return tuple(cause.status for cause in self.causes)


def result_json(result: ScenarioResult, causes: Sequence[ExitCause], analysis: Analysis | None) -> dict[str, Any]:
    """Return the content of result.json.

    Args:
        result: the result of the scenario.
        causes: all exit causes; see `worst_status` for which of them decides.
        analysis: the analysis of the runs; None when no report could be made.
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
        "headline": analysis.headline if analysis is not None else None,
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
    """Return all causes for an exit status other than 0: execution, no ok call, failures, verdict and SLOs."""
    causes = [*result.causes, *_no_ok_call(result.runs)]
    if analysis is not None:
        causes += _high_failure_shares(analysis)
        if not analysis.verdict.is_valid:
            causes.append(ExitCause(ExitStatus.INVALID, "; ".join(map(str, analysis.verdict.reasons))))
        causes += [ExitCause(ExitStatus.THRESHOLD, check.reason) for check in analysis.violated_slos]
    return causes


def first_line_cause(
    runs: Sequence[Run], causes: Sequence[ExitCause], analysis: Analysis | None = None
) -> ExitCause | None:
    """Return the cause to print first: why no call was ok, or more failed calls than the scenario allows.

    None without runs, or when the calls are as they should be. Resources that may still exist are reported by
    themselves.
    """
    if any(has_ok_calls(run) for run in runs):
        found = _high_failure_shares(analysis)
    else:
        found = [cause for cause in causes if cause.status is not ExitStatus.RESOURCE_LEAK]
    if not runs or not found:
        return None
    worst = worst_status([cause.status for cause in found])
    return next(cause for cause in found if cause.status is worst)


def _high_failure_shares(analysis: Analysis | None) -> list[ExitCause]:
    shares = () if analysis is None else analysis.high_failure_shares
    return [ExitCause(share.status, f"{share}: {share.cause}") for share in shares]


def _no_ok_call(runs: Sequence[Run]) -> Iterator[ExitCause]:
    """Yield the commonest failure if no call of any run was ok; a failed deployment is a cause of the execution."""
    failure = commonest_failure(runs)
    if failure is not None and not any(has_ok_calls(run) for run in runs):
        yield ExitCause(failure.status, f"no call was ok: {failure}")
