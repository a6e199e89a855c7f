"""Findings: everything a report says, computed once from the saved runs. Renderers only put it into words and files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from loadgen.analysis.cost import ASSUMPTIONS, Cost, Savings, cost_of, savings_of
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.recommendation import ConcurrencyAdvice, Recommendation, advise_concurrency, recommend_memory
from loadgen.analysis.slo import Slo, SloCheck, check_slos
from loadgen.analysis.summary import Summary, summarize
from loadgen.analysis.verdict import DEFAULT_BOUNDS, Bounds, Verdict, judge
from loadgen.measurement.run import Run

STABILITY = "stability"
CONCURRENCY = "concurrency"


@dataclass(frozen=True, slots=True)
class Row:
    """One run with what was derived from it; `cost` is None where no memory size was deployed or nothing was served."""

    run: Run
    summary: Summary
    verdict: Verdict
    cost: Cost | None
    slos: tuple[SloCheck, ...] = ()


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
        slos: the checks that decide whether the promises were kept: of a benchmark those of the recommended size, and
            of cells with no more clients than MaxConcurrency, since more are meant to be refused; of the user's own
            steps all. Every row has its own in `Row.slos`.
        assumptions: what stands behind every cost and was not measured, in sentences.
    """

    rows: tuple[Row, ...]
    verdict: Verdict
    recommendation: Recommendation | None
    savings: Savings | None
    advice: tuple[ConcurrencyAdvice, ...]
    price_source: str
    slos: tuple[SloCheck, ...] = ()
    assumptions: tuple[str, ...] = ASSUMPTIONS

    def of_phase(self, phase: str) -> tuple[Row, ...]:
        """Return the rows of one benchmark: `stability`, `concurrency`, or empty for steps of the user's own."""
        return tuple(row for row in self.rows if row.run.step.phase == phase)

    @property
    def broken_slos(self) -> tuple[SloCheck, ...]:
        """The promises that were not kept, or cannot be told."""
        return tuple(check for check in self.slos if not check.is_kept)


def find(
    runs: Sequence[Run],
    *,
    region: str,
    prices: PriceBook,
    objective: str = "balanced",
    instance: str | None = None,
    bounds: Bounds = DEFAULT_BOUNDS,
    slos: Sequence[Slo] = (),
) -> Findings:
    """Derive everything that a report says from runs.

    Args:
        runs: in the order they were executed.
        region: whose prices hold.
        prices: the price book.
        objective: what the recommended memory size is best at: `cost`, `speed` or `balanced`.
        instance: the real-time instance to compare with; None for the usual one of the size.
        bounds: what a run must keep to be VALID.
        slos: promises, checked on every run; a size that breaks one about latency or failures is not recommended
            while others keep it.

    Raises:
        UsageError: the objective is unknown.
    """
    rows = tuple(_row(run, region, prices, bounds, slos) for run in runs)
    stability = [row for row in rows if row.run.step.phase == STABILITY]
    recommendation = recommend_memory(stability, objective, broken=_broken(stability)) if stability else None
    chosen = _row_of(stability, recommendation)
    return Findings(
        rows=rows,
        verdict=_overall(rows),
        recommendation=recommendation,
        savings=savings_of(chosen.cost, prices, region, instance) if chosen and chosen.cost else None,
        advice=advise_concurrency(row for row in rows if row.run.step.phase == CONCURRENCY),
        price_source=prices.describe(region),
        slos=tuple(check for row in rows if row is chosen or _is_promised(row) for check in row.slos),
    )


def _row(run: Run, region: str, prices: PriceBook, bounds: Bounds, slos: Sequence[Slo]) -> Row:
    summary = summarize(run)
    cost = cost_of(run, summary, prices, region)
    checks = check_slos(slos, step=run.step.name, summary=summary, cost=cost)
    return Row(run, summary, judge(run, bounds), cost, checks)


def _row_of(rows: Sequence[Row], recommendation: Recommendation | None) -> Row | None:
    """Return the last row of the recommended size."""
    if recommendation is None or recommendation.memory_mb is None:
        return None
    sizes = [None if row.run.step.config is None else row.run.step.config.memory_mb for row in rows]
    return rows[max(i for i, size in enumerate(sizes) if size == recommendation.memory_mb)]


def _broken(rows: Sequence[Row]) -> Mapping[int, str]:
    """Return which sizes break a promise about themselves, and which.

    Throughput and throttles belong to a number of clients, not to a size; a cost depends on a region's prices, and a
    benchmark must choose alike in all of them.
    """
    found: dict[int, str] = {}
    for row in rows:
        checks = [check for check in row.slos if check.slo.metric.startswith(("service_", "response_", "failure_"))]
        broken = [check.reason for check in checks if not check.is_kept and check.value is not None]
        if broken and row.run.step.config is not None:
            found[row.run.step.config.memory_mb] = "; ".join(broken)
    return found


def _is_promised(row: Row) -> bool:
    """Tell whether promises are meant for a run that is not the recommended size's."""
    step = row.run.step
    if step.phase == CONCURRENCY and step.config is not None:
        return step.load.connections <= step.config.max_concurrency
    return step.phase != STABILITY


def _overall(rows: Sequence[Row]) -> Verdict:
    """Return the verdict on all: every reason and note with its step; what many steps have in common is told once."""
    reasons = tuple(
        replace(reason, what=f"{row.run.step.name}: {reason.what}") for row in rows for reason in row.verdict.reasons
    )
    steps: dict[str, list[str]] = {}
    for row in rows:
        for note in row.verdict.notes:
            steps.setdefault(note, []).append(row.run.step.name)
    notes = tuple(
        f"all {len(rows)} steps: {note}" if len(names) == len(rows) > 1 else f"{', '.join(names)}: {note}"
        for note, names in steps.items()
    )
    return Verdict(reasons, notes)
