"""The result of a run: what became of a scenario, its exit causes, and the content of result.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from loadgen.analysis.findings import Findings
from loadgen.analysis.verdict import Reason
from loadgen.errors import ExitStatus, worst
from loadgen.interfaces import Leftover
from loadgen.measurement.run import Run
from loadgen.results.directory import Results


class Cause(NamedTuple):
    """Why the exit status is not 0: a status, and what happened in words."""

    status: ExitStatus
    what: str


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a scenario.

    Args:
        results: where everything is kept.
        runs: in the order of execution, read back from there.
        causes: what went wrong on the way, beside what the runs themselves say.
        leftovers: what may still exist, with the command that removes it.
        partial: why this is only a part of what was planned; empty when it is all.
        failure: what ended it early; None when nothing did.
    """

    results: Results
    runs: tuple[Run, ...]
    causes: tuple[Cause, ...]
    leftovers: tuple[Leftover, ...]
    partial: str
    failure: Exception | None = None

    @property
    def is_partial(self) -> bool:
        """True when it was ended before all that was planned was done."""
        return bool(self.partial)

    @property
    def statuses(self) -> tuple[ExitStatus, ...]:
        """The statuses of the causes."""
        return tuple(cause.status for cause in self.causes)


def result_content(finished: Finished, causes: Sequence[Cause], findings: Findings | None) -> dict[str, Any]:
    """Return what result.json says: how the whole of it ended, as plain values.

    Args:
        finished: what became of the scenario.
        causes: everything that speaks for an exit status; the one that costs most wins.
        findings: what its runs say; None when no report could be made.
    """
    status = worst([cause.status for cause in causes])
    cleanup = f"python -m loadgen cleanup {finished.results.manifest.run_id}"
    return {
        "run": finished.results.manifest.run_id,
        "exit": {
            "code": int(status),
            "name": status.name,
            "causes": [{"code": int(c.status), "name": c.status.name, "what": c.what} for c in causes],
        },
        "verdict": str(findings.verdict) if findings is not None else None,
        "reasons": [_told(reason) for reason in findings.verdict.reasons] if findings is not None else [],
        "partial": finished.partial,
        "leftovers": [
            {
                "kind": leftover.kind,
                "name": leftover.name,
                "billable": leftover.is_billable,
                "last_error": leftover.trouble,
                "remove": leftover.removal,
                "cleanup": cleanup,
            }
            for leftover in finished.leftovers
        ],
    }


def exit_causes(finished: Finished, findings: Findings | None) -> list[Cause]:
    """Return everything that speaks for an exit status other than 0."""
    causes = list(finished.causes)
    if findings is not None:
        if not findings.verdict.is_valid:
            causes.append(Cause(ExitStatus.INVALID, "; ".join(_told(r) for r in findings.verdict.reasons)))
        causes += [Cause(ExitStatus.THRESHOLD, check.reason) for check in findings.broken_slos]
    return causes


def _told(reason: Reason) -> str:
    return f"{reason.what}: {reason.figure}, accepted is {reason.bound}"
