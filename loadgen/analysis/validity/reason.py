"""Reason and Verdict: the result of the validity checks of one run."""

from dataclasses import dataclass

from loadgen.analysis.validity.figures import FigureValidity

NO_OK_CALLS = "no call was ok"  # the problem of a step that measured nothing


@dataclass(frozen=True, slots=True)
class Reason:
    """A failed validity check.

    Args:
        problem: what is wrong, such as `worker lost`.
        observed: the observed value with its unit.
        limit: the limit with its unit.
        remedy: what to change.

    Example:
        >>> print(Reason("worker lost", "process 2 was killed", "0", "run again"))
        worker lost: process 2 was killed (limit 0)
    """

    problem: str
    observed: str
    limit: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.observed} (limit {self.limit})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """VALID, or INVALID with reasons. Notes limit what the numbers say and do not change the verdict.

    Args:
        reasons: the failed checks.
        notes: human-readable sentences.
        figures: the validity of each figure of the run; empty for several runs together.
    """

    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    figures: tuple[FigureValidity, ...] = ()

    @property
    def is_valid(self) -> bool:
        """True if no check failed."""
        return not self.reasons

    def __str__(self) -> str:
        return "VALID" if self.is_valid else "INVALID"
