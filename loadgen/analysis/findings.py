"""Findings: everything a report says, computed once from the saved runs. Renderers only put it into words and files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from loadgen.analysis.cost import ASSUMPTIONS, Cost, Savings, compare_with_instance, cost_of_run
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.recommendation import (
    ConcurrencyRecommendation,
    Recommendation,
    recommend_concurrency,
    recommend_memory,
)
from loadgen.analysis.slo import Slo, SloCheck, check_slos
from loadgen.analysis.summary import Summary, summarize
from loadgen.analysis.verdict import DEFAULT_LIMITS, ValidityLimits, Verdict, judge
from loadgen.measurement.run import Run

STABILITY = "stability"
CONCURRENCY = "concurrency"


@dataclass(frozen=True, slots=True)
class RunAnalysis:
    """One run with what was derived from it; `cost` is None where no memory size was deployed or nothing was served."""

    run: Run
    summary: Summary
    verdict: Verdict
    cost: Cost | None
    slos: tuple[SloCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the runs of one output directory say.

    Args:
        runs: every run in the order it was executed.
        verdict: INVALID when one of the rows is; its reasons name the step.
        recommendation: of the memory size; None when no stability benchmark was run.
        savings: for the recommended size; None when there is none.
        concurrency_recommendations: for each client count of the concurrency benchmark, ascending.
        price_source: where the prices come from and of when they are, in words.
        slos: the checks that decide whether the promises were kept: of a benchmark those of the recommended size, and
            of cells with no more clients than MaxConcurrency, since more are meant to be refused; of the user's own
            steps all. Every row has its own in `RunAnalysis.slos`.
        assumptions: what stands behind every cost and was not measured, in sentences.
    """

    runs: tuple[RunAnalysis, ...]
    verdict: Verdict
    recommendation: Recommendation | None
    savings: Savings | None
    concurrency_recommendations: tuple[ConcurrencyRecommendation, ...]
    price_source: str
    slos: tuple[SloCheck, ...] = ()
    assumptions: tuple[str, ...] = ASSUMPTIONS

    def in_phase(self, phase: str) -> tuple[RunAnalysis, ...]:
        """Return the rows of one benchmark: `stability`, `concurrency`, or empty for steps of the user's own."""
        return tuple(row for row in self.runs if row.run.step.phase == phase)

    @property
    def violated_slos(self) -> tuple[SloCheck, ...]:
        """The promises that were not kept, or cannot be told."""
        return tuple(check for check in self.slos if not check.is_met)


def analyze(
    runs: Sequence[Run],
    *,
    region: str,
    prices: PriceBook,
    objective: str = "balanced",
    instance: str | None = None,
    limits: ValidityLimits = DEFAULT_LIMITS,
    slos: Sequence[Slo] = (),
) -> Analysis:
    """Derive everything that a report says from runs.

    Args:
        runs: in the order they were executed.
        region: whose prices hold.
        prices: the price book.
        objective: what the recommended memory size is best at: `cost`, `speed` or `balanced`.
        instance: the real-time instance to compare with; None for the usual one of the size.
        limits: what a run must keep to be VALID.
        slos: promises, checked on every run; a size that breaks one about latency or failures is not recommended
            while others keep it.

    Raises:
        UsageError: the objective is unknown.
    """
    rows = tuple(_analyze_run(run, region, prices, limits, slos) for run in runs)
    stability = [row for row in rows if row.run.step.phase == STABILITY]
    recommendation = (
        recommend_memory(stability, objective, slo_violations=_slo_violations(stability)) if stability else None
    )
    chosen = _recommended_run(stability, recommendation)
    return Analysis(
        runs=rows,
        verdict=_overall_verdict(rows),
        recommendation=recommendation,
        savings=compare_with_instance(chosen.cost, prices, region, instance) if chosen and chosen.cost else None,
        concurrency_recommendations=recommend_concurrency(row for row in rows if row.run.step.phase == CONCURRENCY),
        price_source=prices.describe(region),
        slos=tuple(check for row in rows if row is chosen or _is_slo_relevant(row) for check in row.slos),
    )


def _analyze_run(run: Run, region: str, prices: PriceBook, limits: ValidityLimits, slos: Sequence[Slo]) -> RunAnalysis:
    summary = summarize(run)
    cost = cost_of_run(run, summary, prices, region)
    checks = check_slos(slos, step=run.step.name, summary=summary, cost=cost)
    return RunAnalysis(run, summary, judge(run, limits), cost, checks)


def _recommended_run(runs: Sequence[RunAnalysis], recommendation: Recommendation | None) -> RunAnalysis | None:
    """Return the last row of the recommended size."""
    if recommendation is None or recommendation.memory_mb is None:
        return None
    sizes = [None if row.run.step.config is None else row.run.step.config.memory_mb for row in runs]
    return runs[max(i for i, size in enumerate(sizes) if size == recommendation.memory_mb)]


def _slo_violations(runs: Sequence[RunAnalysis]) -> Mapping[int, str]:
    """Return which sizes break a promise about themselves, and which.

    Throughput and throttles belong to a number of clients, not to a size; a cost depends on a region's prices, and a
    benchmark must choose alike in all of them.
    """
    found: dict[int, str] = {}
    for row in runs:
        checks = [check for check in row.slos if check.slo.metric.startswith(("service_", "response_", "failure_"))]
        broken = [check.reason for check in checks if not check.is_met and check.value is not None]
        if broken and row.run.step.config is not None:
            found[row.run.step.config.memory_mb] = "; ".join(broken)
    return found


def _is_slo_relevant(analysis: RunAnalysis) -> bool:
    """Tell whether promises are meant for a run that is not the recommended size's."""
    step = analysis.run.step
    if step.phase == CONCURRENCY and step.config is not None:
        return step.load.connections <= step.config.max_concurrency
    return step.phase != STABILITY


def _overall_verdict(runs: Sequence[RunAnalysis]) -> Verdict:
    """Return the verdict on all: every reason and note with its step; what many steps have in common is told once."""
    reasons = tuple(
        replace(reason, problem=f"{row.run.step.name}: {reason.problem}")
        for row in runs
        for reason in row.verdict.reasons
    )
    steps: dict[str, list[str]] = {}
    for row in runs:
        for note in row.verdict.notes:
            steps.setdefault(note, []).append(row.run.step.name)
    notes = tuple(
        f"all {len(runs)} steps: {note}" if len(names) == len(runs) > 1 else f"{', '.join(names)}: {note}"
        for note, names in steps.items()
    )
    return Verdict(reasons, notes)
