"""Analysis of saved runs: everything that a report states, computed once. Renderers only format it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from loadgen.analysis.commonest_failure import commonest_failure, has_ok_calls
from loadgen.analysis.cost import ASSUMPTIONS, Savings, compare_with_instance
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.recommendation import (
    DEFAULT_OBJECTIVE,
    ConcurrencyRecommendation,
    Recommendation,
    recommend_concurrency,
    recommend_memory,
    slo_violations,
)
from loadgen.analysis.run_analysis import RunAnalysis, analyze_run
from loadgen.analysis.size_choice import Objective
from loadgen.analysis.slo import Slo, SloCheck
from loadgen.analysis.verdict import DEFAULT_LIMITS, NO_OK_CALLS, Reason, ValidityLimits, Verdict
from loadgen.measurement.run import Run

STABILITY = "stability"
CONCURRENCY = "concurrency"


@dataclass(frozen=True, slots=True)
class Analysis:
    """Result of analyzing the runs of one output directory.

    Args:
        runs: every run, in order of execution.
        verdict: INVALID if one of the runs is, except a configuration of a benchmark that had no ok call while others
            had; each reason names its step.
        recommendation: the recommended memory size; None without a stability benchmark.
        savings: cost of the recommended size compared with an instance; None if no size is recommended.
        concurrency_recommendations: one per client count of the concurrency benchmark, ascending.
        price_source: source and date of the prices, human-readable.
        slos: the checks that decide whether the SLOs are met. Of a benchmark: those of the recommended size and of
            concurrency runs with no more clients than MaxConcurrency, because more clients are throttled by design.
            Of a scenario's own steps: all. `RunAnalysis.slos` has the checks of every run.
        assumptions: sentences on what every cost assumes.
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
        """Return the runs of one phase: `stability`, `concurrency`, or empty for all others: a scenario's own steps."""
        return tuple(row for row in self.runs if _benchmark_phase(row) == phase)

    @property
    def nothing_measured(self) -> str:
        """Why no call of any step was ok; empty if one was."""
        runs = [row.run for row in self.runs]
        if any(has_ok_calls(run) for run in runs):
            return ""
        causes = [str(commonest_failure(runs) or ""), *(run.failure for run in runs), "no step was executed"]
        return next(filter(None, causes))

    @property
    def violated_slos(self) -> tuple[SloCheck, ...]:
        """The SLO checks that do not pass: violated, or not decided unless the SLO accepts that."""
        return tuple(check for check in self.slos if not check.is_met)


def analyze(
    runs: Sequence[Run],
    *,
    region: str,
    prices: PriceBook,
    objective: Objective | str = DEFAULT_OBJECTIVE,
    instance: str | None = None,
    limits: ValidityLimits = DEFAULT_LIMITS,
    slos: Sequence[Slo] = (),
) -> Analysis:
    """Derive everything that a report states from runs.

    Args:
        runs: in order of execution.
        region: AWS region whose prices apply.
        prices: the price book.
        objective: what the recommended memory size optimizes: an Objective, or its name.
        instance: real-time instance type to compare with; None for the default of the memory size.
        limits: limits of the validity checks.
        slos: checked on every run. A size that violates one on latency or failures is not recommended while another
            size meets all of them.

    Raises:
        UsageError: the objective is unknown.
    """
    analyzed = tuple(analyze_run(run, region=region, prices=prices, limits=limits, slos=slos) for run in runs)
    stability = [row for row in analyzed if row.run.step.phase == STABILITY]
    recommendation = (
        recommend_memory(
            stability,
            objective,
            violations=slo_violations(stability),
            is_interleaved=all(row.run.blocks for row in stability if row.run.scheduled),
        )
        if stability
        else None
    )
    recommended = _recommended_run(stability, recommendation)
    cost = recommended.cost if recommended is not None else None
    return Analysis(
        runs=analyzed,
        verdict=_overall_verdict(analyzed),
        recommendation=recommendation,
        savings=None if cost is None else compare_with_instance(cost, prices, region, instance),
        concurrency_recommendations=recommend_concurrency(row for row in analyzed if row.run.step.phase == CONCURRENCY),
        price_source=prices.describe(region),
        slos=tuple(check for row in analyzed if row is recommended or _is_slo_relevant(row) for check in row.slos),
    )


def _recommended_run(runs: Sequence[RunAnalysis], recommendation: Recommendation | None) -> RunAnalysis | None:
    """Return the last run of the recommended size."""
    if recommendation is None or recommendation.memory_mb is None:
        return None
    return [row for row in runs if row.memory_mb == recommendation.memory_mb][-1]


def _is_slo_relevant(row: RunAnalysis) -> bool:
    """Tell whether SLOs apply to a run other than that of the recommended size."""
    step = row.run.step
    if step.phase == CONCURRENCY and step.config is not None:
        return step.load.connections <= step.config.max_concurrency
    return step.phase != STABILITY


def _overall_verdict(runs: Sequence[RunAnalysis]) -> Verdict:
    """Return the verdict on all runs: reasons and notes with their step; a note of several steps is given once.

    A configuration of a benchmark on which no call is ok is a result of the benchmark, and a note, unless it is so on
    all of them.
    """
    if not runs:
        return Verdict((Reason(NO_OK_CALLS, "no step was executed", "at least 1 ok call", "see why the run ended"),))
    is_measured = any(has_ok_calls(row.run) for row in runs)
    reasons: list[Reason] = []
    steps: dict[str, list[str]] = {}
    for row in runs:
        for reason in row.verdict.reasons:
            if reason.problem == NO_OK_CALLS and _benchmark_phase(row) and is_measured:
                steps.setdefault(f"{NO_OK_CALLS}: {reason.observed}", []).append(row.run.step.label)
            else:
                reasons.append(replace(reason, problem=f"{row.run.step.label}: {reason.problem}"))
        for note in row.verdict.notes:
            steps.setdefault(note, []).append(row.run.step.label)
    notes = tuple(
        f"all {len(runs)} steps: {note}" if len(names) == len(runs) > 1 else f"{'; '.join(names)}: {note}"
        for note, names in steps.items()
    )
    return Verdict(tuple(reasons), notes)


def _benchmark_phase(row: RunAnalysis) -> str:
    """Return the phase of a step of a benchmark; empty for a step of a scenario or of a comparison."""
    phase = row.run.step.phase
    return phase if phase in (STABILITY, CONCURRENCY) else ""
