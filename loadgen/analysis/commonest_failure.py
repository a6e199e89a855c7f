"""The commonest failure of runs in which no call was ok: what it was, how often, and the exit status that it means."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadgen.errors import ExitStatus
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.sample import ErrorCode

_STATUSES = {
    Outcome.AUTH: ExitStatus.NO_PERMISSION,
    Outcome.SCRIPT_ERROR: ExitStatus.SCRIPT_ERROR,
    Outcome.FD_EXHAUSTED: ExitStatus.OS_RESOURCE,
    Outcome.PORTS_EXHAUSTED: ExitStatus.OS_RESOURCE,
}


@dataclass(frozen=True, slots=True)
class CommonestFailure:
    """The commonest failure of runs.

    Args:
        outcome: the outcome of most calls.
        count: number of calls with this outcome.
        total: number of all calls, warm-up included.
        status: the exit status if no call was ok: that of the outcome if all calls had it, else UNAVAILABLE.
        error: code and message of the commonest error with this outcome; empty if there is none.
    """

    outcome: Outcome
    count: int
    total: int
    status: ExitStatus
    error: str

    def __str__(self) -> str:
        return f"{self.count:,} of {self.total:,} calls {self.outcome.label}{': ' if self.error else ''}{self.error}"


def has_ok_calls(run: Run) -> bool:
    """Tell whether a run has an ok call after its warm-up."""
    return run.count(OutcomeCategory.OK) > 0


def status_of_outcome(outcome: Outcome, default: ExitStatus) -> ExitStatus:
    """Return the exit status of a failure that is not the target's, or the default."""
    return _STATUSES.get(outcome, default)


def commonest_failure(runs: Sequence[Run], *, category: OutcomeCategory | None = None) -> CommonestFailure | None:
    """Return the commonest failure over all calls of runs; None if no call failed.

    Args:
        runs: all runs.
        category: of the outcomes that count as failures; None for every one but OK.
    """
    counts = Counter[Outcome]()
    for run in runs:
        counts.update(run.tally.counts)
        counts.update(run.tally.warmup)
    total = counts.total()
    del counts[Outcome.OK]
    failed = [
        (outcome, count)
        for outcome, count in counts.most_common()
        if count and (category is None or outcome.category is category)
    ]
    if not failed:
        return None
    outcome, count = failed[0]
    status = status_of_outcome(outcome, ExitStatus.UNAVAILABLE) if count == total else ExitStatus.UNAVAILABLE
    return CommonestFailure(outcome, count, total, status, _commonest_error(runs, outcome))


def _commonest_error(runs: Sequence[Run], outcome: Outcome) -> str:
    """Return the text of the error that most calls with an outcome had; without samples, of the first one."""
    found = Counter[str]()
    for run in runs:
        errors = [error for error in run.error_codes if error.outcome is outcome]
        calls = np.bincount(run.samples["code"], minlength=max((e.number for e in errors), default=0) + 1)
        for error in errors:
            found[_error_text(error)] += int(calls[error.number])
    return max(found, key=lambda text: found[text], default="")


def _error_text(error: ErrorCode) -> str:
    status = f"HTTP {error.status}" if error.status else ""
    code = "" if error.code == error.outcome.label else error.code
    return " ".join(filter(None, (code, status, error.message)))
