"""Recommendation of a memory size and of a MaxConcurrency, with the figures that decided.

Pure. A size that was not stable is never recommended, whatever its figures.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.errors import UsageError

OBJECTIVES = ("balanced", "cost", "speed")
MAX_FAILED_SHARE = 0.01  # failed / (ok + throttled + failed) above which a size is not stable


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The recommended memory size.

    Args:
        memory_mb: the recommended size; None if no size was stable.
        objective: `cost`, `speed` or `balanced`.
        reason: one or two sentences with the figures that decided.
        runner_up: the second best size; None if there is none.
        scores: size -> score, lower is better; compared sizes only.
        excluded: size -> why it was excluded: not stable, or an SLO violated that another size meets.
        is_trustworthy: False if one of the compared runs is INVALID.
    """

    memory_mb: int | None
    objective: str
    reason: str
    runner_up: int | None
    scores: Mapping[int, float]
    excluded: Mapping[int, str]
    is_trustworthy: bool = True


@dataclass(frozen=True, slots=True)
class ConcurrencyRecommendation:
    """The smallest MaxConcurrency that served a number of clients without throttles.

    Args:
        clients: number of simulated clients.
        max_concurrency: the smallest one; None if no measured one did.
        reason: human-readable.
    """

    clients: int
    max_concurrency: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A stable size with its cost, its median service time and a description of both."""

    memory_mb: int
    cost: float
    median: float
    median_low: float  # 95 % confidence interval of `median`
    median_high: float
    description: str
    is_valid: bool


def recommend_memory(
    runs: Iterable[RunAnalysis], objective: str = "balanced", *, slo_violations: Mapping[int, str] | None = None
) -> Recommendation:
    """Recommend a memory size among the stable ones.

    Args:
        runs: runs of the stability benchmark; the last run of a size counts.
        objective: `cost`: lowest cost per call. `speed`: lowest median service time; of the sizes whose 95 % interval
            overlaps that of the fastest, the smallest is taken. `balanced`: lowest mean of cost and median service
            time, each divided by its maximum over the stable sizes (AWS Lambda Power Tuning).
        slo_violations: size -> violated SLOs; such a size is recommended only if no stable size meets all SLOs.

    Raises:
        UsageError: the objective is unknown.
    """
    if objective not in OBJECTIVES:
        raise UsageError(f"objective {objective!r}", hint=f"one of {', '.join(OBJECTIVES)}")
    latest = {row.memory_mb: row for row in runs if row.memory_mb is not None}
    unstable = {size: reason for size in sorted(latest) if (reason := instability_reason(latest[size]))}
    violations = slo_violations or {}
    violating = {size: violations[size] for size in violations if size in latest and size not in unstable}
    all_violate = len(violating) + len(unstable) == len(latest)
    excluded = unstable if all_violate else unstable | violating
    stable = [latest[size] for size in sorted(latest) if size not in excluded]
    if not stable:
        reason = "no memory size was measured" if not latest else "no memory size was stable"
        return Recommendation(None, objective, reason, None, {}, excluded)
    priced = all(row.cost is not None and row.cost.per_million is not None for row in stable)
    candidates = [_build_candidate(row, is_priced=priced) for row in stable]
    scores = _scores(candidates, objective)
    ranked = sorted(candidates, key=lambda one: (scores[one.memory_mb], one.memory_mb))
    if objective == "speed":
        tied = [one for one in candidates if one.median_low <= ranked[0].median_high]
        ranked = [tied[0], *(one for one in ranked if one is not tied[0])]
    return Recommendation(
        memory_mb=ranked[0].memory_mb,
        objective=objective,
        reason=_reason(ranked, scores, objective, is_priced=priced)
        + (" No stable size meets all SLOs." if all_violate else ""),
        runner_up=ranked[1].memory_mb if len(ranked) > 1 else None,
        scores=scores,
        excluded=excluded,
        is_trustworthy=all(one.is_valid for one in candidates),
    )


def instability_reason(analyzed: RunAnalysis) -> str:
    """Return why the size of a run cannot be recommended; empty if it can."""
    run, summary = analyzed.run, analyzed.summary
    completed = summary.ok + summary.throttled + summary.failed
    if run.failure:
        return f"not deployed: {run.failure}" if run.stop_reason == "not deployed" else run.failure
    if run.stop_reason == "errors":
        return f"stopped at the error limit: {summary.throttled + summary.failed} errors in {completed} responses"
    if summary.service is None:
        return "no successful responses"
    if summary.failed > MAX_FAILED_SHARE * completed:
        return f"{summary.failed} of {completed} calls failed (limit {100 * MAX_FAILED_SHARE:g} %)"
    return ""


def _build_candidate(analyzed: RunAnalysis, *, is_priced: bool) -> _Candidate:
    memory_mb, service, cost = analyzed.memory_mb, analyzed.summary.service, analyzed.cost
    assert memory_mb is not None and service is not None  # noqa: S101, PT018 - the size is stable
    median = service.percentiles.get(50.0)
    if is_priced and cost is not None and cost.per_million is not None:
        amount, cost_text = cost.per_million, f"{cost.per_million:.2f} USD per million invocations"
    else:
        amount = memory_mb / 1024 * (service.median if cost is None else cost.billed_duration)
        cost_text = f"{amount:.4f} GB-seconds per invocation"
    return _Candidate(
        memory_mb=memory_mb,
        cost=amount,
        median=service.median,
        median_low=service.median if median is None else median.low,
        median_high=service.median if median is None else median.high,
        description=f"{service.median * 1e3:.0f} ms median service time, {cost_text}",
        is_valid=analyzed.verdict.is_valid,
    )


def _scores(candidates: Sequence[_Candidate], objective: str) -> Mapping[int, float]:
    if objective == "cost":
        return {one.memory_mb: one.cost for one in candidates}
    if objective == "speed":
        return {one.memory_mb: one.median for one in candidates}
    max_cost = max(one.cost for one in candidates)
    max_median = max(one.median for one in candidates)
    return {one.memory_mb: (one.cost / max_cost + one.median / max_median) / 2 for one in candidates}


_CHOICE_TEXT = {
    "balanced": "has the best balance of cost and speed of {n} stable sizes (equal weights)",
    "cost": "is the cheapest of {n} stable sizes",
    "speed": "is the smallest size whose median is statistically indistinguishable from the fastest ({n} stable sizes)",
}


def _reason(ranked: Sequence[_Candidate], scores: Mapping[int, float], objective: str, *, is_priced: bool) -> str:
    best = ranked[0]
    if len(ranked) == 1:
        text = f"{best.memory_mb} MB is the only stable size: {best.description}."
    else:
        second = ranked[1]
        text = f"{best.memory_mb} MB {_CHOICE_TEXT[objective].format(n=len(ranked))}: {best.description}. "
        text += f"The runner-up, {second.memory_mb} MB, {_comparison_text(best, second)}."
        if objective == "balanced":
            best_score, second_score = scores[best.memory_mb], scores[second.memory_mb]
            text += f" Scores: {best_score:.3f} and {second_score:.3f} (lower is better)."
    if not is_priced:
        text += " Costs are compared in GB-seconds because a price is unavailable."
    if not all(one.is_valid for one in ranked):
        text += " One of the compared runs is INVALID; repeat the benchmark."
    return text


def _comparison_text(best: _Candidate, second: _Candidate) -> str:
    """Describe how the runner-up differs from the recommended size."""
    slower_ms = (second.median - best.median) * 1e3
    more_percent = (second.cost / best.cost - 1) * 100
    speed, cost = "is as fast", "costs the same"
    if abs(slower_ms) >= 0.5:
        speed = f"is {abs(slower_ms):.0f} ms {'slower' if slower_ms > 0 else 'faster'}"
    if abs(more_percent) >= 0.5:
        cost = f"costs {abs(more_percent):.0f} % {'more' if more_percent > 0 else 'less'}"
    return f"{speed} and {cost}"


def recommend_concurrency(runs: Iterable[RunAnalysis]) -> tuple[ConcurrencyRecommendation, ...]:
    """Recommend, for each client count, the smallest MaxConcurrency that served it without throttles.

    A configuration that served more clients without throttles is assumed to serve fewer; the reason states where this
    was concluded. INVALID runs are ignored.
    """
    cells = [
        (row.run.step.config.max_concurrency, row.run.step.load.connections, row) for row in runs if row.run.step.config
    ]
    return tuple(_recommend_for_clients(clients, cells) for clients in sorted({clients for _, clients, _ in cells}))


def _recommend_for_clients(clients: int, cells: Sequence[tuple[int, int, RunAnalysis]]) -> ConcurrencyRecommendation:
    clean = sorted((size, more) for size, more, row in cells if more >= clients and _is_clean(row))
    if clean:
        size, served = clean[0]
        exactly = any((size, clients) == cell for cell in clean)
        reason = f"MaxConcurrency {size} served {clients if exactly else served} clients without throttles"
        if not exactly:
            reason += f", so it serves {clients}"
        return ConcurrencyRecommendation(clients, size, reason)
    measured = sorted(((size, row) for size, count, row in cells if count == clients), key=lambda one: one[0])
    rejected = ", ".join(f"{size}: {_rejection_reason(row)}" for size, row in measured)
    return ConcurrencyRecommendation(clients, None, f"no measured value; MaxConcurrency {rejected}")


def _is_clean(analyzed: RunAnalysis) -> bool:
    return analyzed.verdict.is_valid and analyzed.summary.throttled == 0 and not instability_reason(analyzed)


def _rejection_reason(analyzed: RunAnalysis) -> str:
    """Return why a configuration does not count as serving its clients."""
    summary = analyzed.summary
    if reason := instability_reason(analyzed):
        return reason
    if summary.throttled:
        return f"{summary.throttled} of {summary.ok + summary.throttled + summary.failed} calls throttled"
    return "INVALID"
