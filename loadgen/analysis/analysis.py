"""Analysis of saved runs: everything that a report states, computed once. Renderers only format it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from loadgen.analysis.commonest_failure import commonest_failure, has_ok_calls
from loadgen.analysis.cost import ASSUMPTIONS, Savings, compare_with_instance
from loadgen.analysis.failure_share import DEFAULT_FAILURE_SHARE_LIMIT, HighFailureShare, high_failure_shares
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.recommendation import (
    ConcurrencyRecommendation,
    Recommendation,
    recommend_concurrency,
    recommend_memory,
)
from loadgen.analysis.run_analysis import RunAnalysis, analyze_run
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
        verdict: INVALID if one of the runs is; each reason names its step.
        recommendation: the recommended memory size; None without a stability benchmark.
        savings: cost of the recommended size compared with an instance; None if no size is recommended.
        concurrency_recommendations: one per client count of the concurrency benchmark, ascending.
        price_source: source and date of the prices, human-readable.
        slos: the checks that decide whether the SLOs are met. Of a benchmark: those of the recommended size and of
            concurrency runs with no more clients than MaxConcurrency, because more clients are throttled by design.
            Of a scenario's own steps: all. `RunAnalysis.slos` has the checks of every run.
        assumptions: sentences on what every cost assumes.
        high_failure_shares: the steps whose share of failed calls is above the scenario's limit.
    """

    runs: tuple[RunAnalysis, ...]
    verdict: Verdict
    recommendation: Recommendation | None
    savings: Savings | None
    concurrency_recommendations: tuple[ConcurrencyRecommendation, ...]
    price_source: str
    slos: tuple[SloCheck, ...] = ()
    assumptions: tuple[str, ...] = ASSUMPTIONS
    high_failure_shares: tuple[HighFailureShare, ...] = ()

    def in_phase(self, phase: str) -> tuple[RunAnalysis, ...]:
        """Return the runs of one phase: `stability`, `concurrency`, or empty for a scenario's own steps."""
        return tuple(row for row in self.runs if row.run.step.phase == phase)

    @property
    def headline(self) -> str:
        """The verdict, with the steps that had no ok call, or more failed calls than the scenario allows."""
        if why := self.nothing_measured:
            return f"{self.verdict}: no call was ok: {why}"
        unmeasured = [row.run.step.label for row in self.runs if not has_ok_calls(row.run)]
        shares = [str(share) for share in self.high_failure_shares if share.step not in unmeasured]
        parts = [f"no call of {_first_of(unmeasured)} was ok"] if unmeasured else []
        parts += [_first_of(shares)] if shares else []
        separator = ", but " if self.verdict.is_valid else ": "
        return f"{self.verdict}{separator if parts else ''}{'; '.join(parts)}"

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
        """The SLO checks that are violated or could not be evaluated."""
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
    failure_share_limit: float = DEFAULT_FAILURE_SHARE_LIMIT,
) -> Analysis:
    """Derive everything that a report states from runs.

    Args:
        runs: in order of execution.
        region: AWS region whose prices apply.
        prices: the price book.
        objective: what the recommended memory size optimizes: `cost`, `speed` or `balanced`.
        instance: real-time instance type to compare with; None for the default of the memory size.
        limits: limits of the validity checks.
        slos: checked on every run. A size that violates one on latency or failures is not recommended while another
            size meets all of them.
        failure_share_limit: share of failed calls, from 0 to 1, above which a step is in `high_failure_shares`.

    Raises:
        UsageError: the objective is unknown.
    """
    analyzed = tuple(analyze_run(run, region=region, prices=prices, limits=limits, slos=slos) for run in runs)
    stability = [row for row in analyzed if row.run.step.phase == STABILITY]
    recommendation = (
        recommend_memory(stability, objective, slo_violations=_slo_violations(stability)) if stability else None
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
        high_failure_shares=high_failure_shares(runs, failure_share_limit),
    )


def _first_of(texts: Sequence[str]) -> str:
    more = len(texts) - 1
    return texts[0] + (f", and {more} more step{'' if more == 1 else 's'}" if more else "")


def _recommended_run(runs: Sequence[RunAnalysis], recommendation: Recommendation | None) -> RunAnalysis | None:
    """Return the last run of the recommended size."""
    if recommendation is None or recommendation.memory_mb is None:
        return None
    return [row for row in runs if row.memory_mb == recommendation.memory_mb][-1]


def _slo_violations(runs: Sequence[RunAnalysis]) -> Mapping[int, str]:
    """Return the memory sizes that violate an SLO on latency or failures, with the reasons.

    Throughput and throttles depend on the number of clients, not on the size. A cost depends on a region's prices,
    and a benchmark must recommend the same size in all regions.
    """
    found: dict[int, str] = {}
    for row in runs:
        checks = [check for check in row.slos if check.slo.metric.startswith(("service_", "response_", "failure_"))]
        violated = [check.reason for check in checks if not check.is_met and check.value is not None]
        if violated and row.memory_mb is not None:
            found[row.memory_mb] = "; ".join(violated)
    return found


def _is_slo_relevant(row: RunAnalysis) -> bool:
    """Tell whether SLOs apply to a run other than that of the recommended size."""
    step = row.run.step
    if step.phase == CONCURRENCY and step.config is not None:
        return step.load.connections <= step.config.max_concurrency
    return step.phase != STABILITY


def _overall_verdict(runs: Sequence[RunAnalysis]) -> Verdict:
    """Return the verdict on all runs: reasons and notes with their step; a note of several steps is given once."""
    if not runs:
        return Verdict((Reason(NO_OK_CALLS, "no step was executed", "at least 1 ok call", "see why the run ended"),))
    reasons: list[Reason] = []
    steps: dict[str, list[str]] = {}
    for row in runs:
        label = row.run.step.label
        reasons += [replace(reason, problem=f"{label}: {reason.problem}") for reason in row.verdict.reasons]
        for note in row.verdict.notes:
            steps.setdefault(note, []).append(row.run.step.label)
    notes = tuple(
        f"all {len(runs)} steps: {note}" if len(names) == len(runs) > 1 else f"{'; '.join(names)}: {note}"
        for note, names in steps.items()
    )
    return Verdict(tuple(reasons), notes)
