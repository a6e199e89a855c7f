"""Findings: everything a report says, computed once from the saved runs. Renderers only put it into words and files."""

from dataclasses import dataclass

from loadgen.cost import Cost, Savings
from loadgen.recommend import ConcurrencyAdvice, Recommendation
from loadgen.runs import Run
from loadgen.summary import Summary
from loadgen.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Row:
    """One run with what was derived from it; `cost` is None where no memory size was deployed or nothing was served."""

    run: Run
    summary: Summary
    verdict: Verdict
    cost: Cost | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What the runs of one output directory say.

    Args:
        rows: every run in the order it was executed.
        verdict: INVALID when one of the rows is; its reasons name the step.
        recommendation: of the memory size; None when no stability benchmark was run.
        savings: for the recommended size; None when there is none.
        advice: for each client count of the concurrency benchmark, ascending.
        price_source: where the prices come from and of when they are, in words.
    """

    rows: tuple[Row, ...]
    verdict: Verdict
    recommendation: Recommendation | None
    savings: Savings | None
    advice: tuple[ConcurrencyAdvice, ...]
    price_source: str

    def of_phase(self, phase: str) -> tuple[Row, ...]:
        """Return the rows of one benchmark: `stability`, `concurrency`, or empty for steps of the user's own."""
        return tuple(row for row in self.rows if row.run.step.phase == phase)
