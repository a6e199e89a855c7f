"""Recommendation: which memory size, which MaxConcurrency, and why, in words that can be checked against the tables.

Pure: rows in, a choice with its reason out. A size that failed is never chosen, whatever its figures.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from loadgen.analysis.cost import Cost
from loadgen.analysis.summary import Summary
from loadgen.analysis.verdict import Verdict
from loadgen.errors import UsageError
from loadgen.measurement.run import Run

OBJECTIVES = ("balanced", "cost", "speed")
MAX_FAILED_SHARE = 0.01  # of the answers: a size that fails more often than one call in a hundred is not stable


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Which memory size to choose.

    Args:
        memory_mb: the choice; None when no size was stable.
        objective: `cost`, `speed` or `balanced`.
        reason: a sentence or two with the figures that decided.
        runner_up: the second best size; None when there is none.
        scores: by size, the least is best; only the sizes that were stable.
        excluded: size -> why it was left out: it was not stable, or broke a promise that others keep.
        is_trustworthy: False when a run it rests on is INVALID.
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
        clients: simulated clients.
        max_concurrency: the smallest that did; None when none of those measured did.
        reason: in words.
    """

    clients: int
    max_concurrency: int | None
    reason: str


class Measured(Protocol):
    """A run with what was derived from it."""

    @property
    def run(self) -> Run:
        """The run."""
        ...

    @property
    def summary(self) -> Summary:
        """Its figures."""
        ...

    @property
    def verdict(self) -> Verdict:
        """Whether they may be believed."""
        ...

    @property
    def cost(self) -> Cost | None:
        """What its configuration costs."""
        ...


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A stable size: what it costs, how fast it is, and both in words."""

    memory_mb: int
    cost: float
    median: float
    median_low: float  # the lower end of the interval of `median`
    median_high: float
    description: str
    is_valid: bool


def recommend_memory(
    runs: Iterable[Measured], objective: str = "balanced", *, slo_violations: Mapping[int, str] | None = None
) -> Recommendation:
    """Choose a memory size among those that were stable.

    Args:
        runs: of the stability benchmark; of several runs of one size the last counts.
        objective: `cost`: the cheapest call. `speed`: the least median service time; sizes whose 95 % intervals
            reach the fastest's are as fast, and the smallest of them is chosen. `balanced`: the least mean of cost and
            median service time, each divided by its greatest among the stable sizes (AWS Lambda Power Tuning).
        slo_violations: size -> which promise it breaks; such a size is chosen only when no stable one keeps them all.

    Raises:
        UsageError: the objective is not one of these.
    """
    if objective not in OBJECTIVES:
        raise UsageError(f"objective {objective!r}", hint=f"one of {', '.join(OBJECTIVES)}")
    latest = {row.run.step.config.memory_mb: row for row in runs if row.run.step.config is not None}
    unstable = {size: why for size in sorted(latest) if (why := instability_reason(latest[size]))}
    left_out = {size: why for size, why in (slo_violations or {}).items() if size in latest and size not in unstable}
    keeps_none = len(left_out) + len(unstable) == len(latest)
    unstable |= {} if keeps_none else left_out
    stable = [latest[size] for size in sorted(latest) if size not in unstable]
    if not stable:
        why = "no memory size was measured" if not latest else "no memory size was stable"
        return Recommendation(None, objective, why, None, {}, unstable)
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
        + (" No stable size keeps every promise." if keeps_none else ""),
        runner_up=ranked[1].memory_mb if len(ranked) > 1 else None,
        scores=scores,
        excluded=unstable,
        is_trustworthy=all(one.is_valid for one in candidates),
    )


def instability_reason(analysis: Measured) -> str:
    """Say why a size cannot be recommended; empty when it can."""
    run, summary = analysis.run, analysis.summary
    answers = summary.ok + summary.throttled + summary.failed
    if run.failure:
        return f"not deployed: {run.failure}" if run.stop_reason == "not deployed" else run.failure
    if run.stop_reason == "errors":
        return f"given up at its error limit: {summary.throttled + summary.failed} errors in {answers} answers"
    if summary.service is None:
        return "no call was answered well"
    if summary.failed > MAX_FAILED_SHARE * answers:
        return f"{summary.failed} of {answers} calls failed; {MAX_FAILED_SHARE:.0%} is accepted"
    return ""


def _build_candidate(analysis: Measured, *, is_priced: bool) -> _Candidate:
    config, service, cost = analysis.run.step.config, analysis.summary.service, analysis.cost
    assert config is not None and service is not None  # noqa: S101, PT018 - only stable sizes come here
    median = service.percentiles.get(50.0)
    if is_priced and cost is not None and cost.per_million is not None:
        amount, money = cost.per_million, f"{cost.per_million:.2f} USD per million invocations"
    else:
        amount = config.memory_mb / 1024 * (service.median if cost is None else cost.billed_duration)
        money = f"{amount:.4f} GB-seconds per invocation"
    return _Candidate(
        memory_mb=config.memory_mb,
        cost=amount,
        median=service.median,
        median_low=service.median if median is None else median.low,
        median_high=service.median if median is None else median.high,
        description=f"{service.median * 1e3:.0f} ms median service time, {money}",
        is_valid=analysis.verdict.is_valid,
    )


def _scores(candidates: Sequence[_Candidate], objective: str) -> Mapping[int, float]:
    if objective == "cost":
        return {one.memory_mb: one.cost for one in candidates}
    if objective == "speed":
        return {one.memory_mb: one.median for one in candidates}
    dearest = max(one.cost for one in candidates)
    slowest = max(one.median for one in candidates)
    return {one.memory_mb: (one.cost / dearest + one.median / slowest) / 2 for one in candidates}


_CHOICE_TEXT = {
    "balanced": "has the best balance of cost and speed among {n} stable sizes (equal weights)",
    "cost": "is the cheapest of {n} stable sizes",
    "speed": "is the smallest of those that are as fast as the fastest of {n} stable sizes",
}


def _reason(ranked: Sequence[_Candidate], scores: Mapping[int, float], objective: str, *, is_priced: bool) -> str:
    best = ranked[0]
    if len(ranked) == 1:
        said = f"{best.memory_mb} MB is the only stable size: {best.description}."
    else:
        second = ranked[1]
        said = f"{best.memory_mb} MB {_CHOICE_TEXT[objective].format(n=len(ranked))}: {best.description}. "
        said += f"The runner-up, {second.memory_mb} MB, {_comparison_text(best, second)}."
        if objective == "balanced":
            said += f" Scores {scores[best.memory_mb]:.3f} against {scores[second.memory_mb]:.3f}, less is better."
    if not is_priced:
        said += " Cost is counted in GB-seconds, since a price is not known."
    if not all(one.is_valid for one in ranked):
        said += " A run behind this is INVALID: measure again before relying on it."
    return said


def _comparison_text(best: _Candidate, second: _Candidate) -> str:
    """Say how the runner-up differs from the choice."""
    slower = (second.median - best.median) * 1e3
    dearer = (second.cost / best.cost - 1) * 100
    speed = f"{abs(slower):.0f} ms {'slower' if slower > 0 else 'faster'}" if abs(slower) >= 0.5 else "as fast"
    money = f"costs {abs(dearer):.0f} % {'more' if dearer > 0 else 'less'}" if abs(dearer) >= 0.5 else "costs the same"
    return f"is {speed} and {money}"


def recommend_concurrency(runs: Iterable[Measured]) -> tuple[ConcurrencyRecommendation, ...]:
    """For each client count, find the smallest MaxConcurrency that served it without throttles.

    One that served more clients without throttles serves fewer as well, and the reason says where that is concluded.
    A run that is INVALID proves nothing and is passed over.
    """
    cells = [
        (row.run.step.config.max_concurrency, row.run.step.load.connections, row) for row in runs if row.run.step.config
    ]
    return tuple(_recommend_for_clients(clients, cells) for clients in sorted({clients for _, clients, _ in cells}))


def _recommend_for_clients(clients: int, cells: Sequence[tuple[int, int, Measured]]) -> ConcurrencyRecommendation:
    clean = sorted((size, more) for size, more, row in cells if more >= clients and _is_clean(row))
    if clean:
        size, served = clean[0]
        exactly = any((size, clients) == cell for cell in clean)
        words = f"MaxConcurrency {size} served {clients if exactly else served} clients without throttles"
        if not exactly:
            words += f", so it serves {clients}"
        return ConcurrencyRecommendation(clients, size, words)
    tried = sorted(((size, row) for size, many, row in cells if many == clients), key=lambda one: one[0])
    seen = ", ".join(f"{size}: {_rejection_reason(row)}" for size, row in tried)
    return ConcurrencyRecommendation(clients, None, f"none of those measured; MaxConcurrency {seen}")


def _is_clean(analysis: Measured) -> bool:
    return analysis.verdict.is_valid and analysis.summary.throttled == 0 and not instability_reason(analysis)


def _rejection_reason(analysis: Measured) -> str:
    """Say what a cell met that speaks against it."""
    summary = analysis.summary
    if why := instability_reason(analysis):
        return why
    if summary.throttled:
        return f"{summary.throttled} of {summary.ok + summary.throttled + summary.failed} calls throttled"
    return "INVALID"
