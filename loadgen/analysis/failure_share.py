"""The share of failed calls of each step, compared with the scenario's limit.

Throttled calls are not failed, and the warm-up does not count: the share is that of the SLO metric `failure_share`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from loadgen.analysis.commonest_failure import commonest_failure, has_ok_calls, status_of_outcome
from loadgen.errors import ExitStatus
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, OutcomeCategory
from loadgen.measurement.run import Run

DEFAULT_FAILURE_SHARE_LIMIT = 0.01


@dataclass(frozen=True, slots=True)
class HighFailureShare:
    """A step whose share of failed calls is above the limit.

    Args:
        step: the step's label.
        failed: number of failed calls after the warm-up.
        completed: number of calls that were ok, throttled or failed after the warm-up.
        limit: the scenario's `failure_share_limit`, from 0 to 1.
        cause: the commonest failure, with its count and text.
        status: the exit status: NO_PERMISSION if most failures are refused credentials, as for a run without ok calls;
            THRESHOLD for a failure of the target.

    Example:
        >>> print(HighFailureShare("2048 MB", 3, 40, 0.01, "3 calls model_error: worker died"))
        2048 MB: 7.50 % of 40 calls failed (limit 1 %)
    """

    step: str
    failed: int
    completed: int
    limit: float
    cause: str
    status: ExitStatus = ExitStatus.THRESHOLD

    def __str__(self) -> str:
        share = f"{100 * self.failed / self.completed:.2f} %"
        return f"{self.step}: {share} of {self.completed:,} calls failed (limit {100 * self.limit:g} %)"


def is_share(value: Any) -> TypeGuard[float]:
    """Tell whether a value is a number from 0 to 1."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def high_failure_shares(runs: Sequence[Run], limit: float) -> tuple[HighFailureShare, ...]:
    """Return the steps whose share of failed calls is above a limit, in the order of the runs; none if no call was ok.

    Args:
        runs: all runs.
        limit: from 0 to 1; with 1 no step is above it.
    """
    found: list[HighFailureShare] = []
    if not any(has_ok_calls(run) for run in runs):
        return ()
    for run in runs:
        failed = run.count(OutcomeCategory.FAILED)
        completed = sum(run.count(category) for category in COMPLETED_CATEGORIES)
        failure = commonest_failure([run], category=OutcomeCategory.FAILED)
        if failure is not None and failed > limit * completed:
            status = status_of_outcome(failure.outcome, ExitStatus.THRESHOLD)
            found.append(HighFailureShare(run.step.label, failed, completed, limit, str(failure), status))
    return tuple(found)
