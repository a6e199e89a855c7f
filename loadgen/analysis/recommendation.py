"""Recommendation of a memory size and of a MaxConcurrency, with the figures that decided and how certain they are.

Pure. A size that was not stable is never recommended, whatever its figures.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.analysis.size_choice import Objective, SizeChoice, SizeSeries, choose_size, to_objective
from loadgen.analysis.size_series import size_series
from loadgen.analysis.slo import SloStatus
from loadgen.statistics.decision import Decision, decide_share
from loadgen.workload.load import ClosedLoop

DEFAULT_OBJECTIVE = Objective()
MAX_FAILED_SHARE = 0.01  # failed / (ok + throttled + failed) above which a size is not stable
_CERTAIN = 0.9  # probability below which a recommendation says first that it is not certain


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The recommended memory size.

    Args:
        memory_mb: the recommended size; None if no size was stable.
        objective: what it optimizes: `cost`, `speed` or `balanced`.
        criterion: what the score is, such as `cost x median latency`.
        reason: a few sentences with the figures that decided, and how certain that is.
        runner_up: the size that is best if the recommended one is not, or else the second best; None if there is none.
        scores: size -> score, lower is better; compared sizes only.
        excluded: size -> why it was excluded: not stable, or an SLO violated that another size meets.
        choice: probability and intervals; None if no size was stable.
        efficient: compared sizes for which no other one is cheaper and as fast, or faster and as cheap.
        is_trustworthy: False if one of the compared runs is INVALID.
        is_priced: False if costs are compared in GB-seconds, because a price is unavailable.
    """

    memory_mb: int | None
    objective: str
    criterion: str
    reason: str
    runner_up: int | None
    scores: Mapping[int, float]
    excluded: Mapping[int, str]
    choice: SizeChoice | None = None
    efficient: tuple[int, ...] = ()
    is_trustworthy: bool = True
    is_priced: bool = True

    @property
    def probability(self) -> float | None:
        """Probability that no other size is better by more than the equivalence margin; None if it is unknown."""
        return None if self.choice is None else self.choice.probability


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


def recommend_memory(
    runs: Iterable[RunAnalysis],
    objective: Objective | str = DEFAULT_OBJECTIVE,
    *,
    violations: Mapping[int, str] | None = None,
    is_interleaved: bool = True,
) -> Recommendation:
    """Recommend a memory size among the stable ones.

    Args:
        runs: runs of the stability benchmark; the last run of a size counts.
        objective: what to optimize (size_choice.py).
        violations: size -> violated SLOs; such a size is recommended only if no stable size meets all SLOs.
        is_interleaved: whether the sizes were called in turns.

    Raises:
        UsageError: the objective is unknown.
    """
    objective = to_objective(objective)
    latest = {row.memory_mb: row for row in runs if row.memory_mb is not None}
    unstable = {size: reason for size in sorted(latest) if (reason := instability_reason(latest[size]))}
    violations = violations or {}
    violating = {size: violations[size] for size in violations if size in latest and size not in unstable}
    all_violate = len(violating) + len(unstable) == len(latest)
    excluded = unstable if all_violate else unstable | violating
    stable = [latest[size] for size in sorted(latest) if size not in excluded]
    if not stable:
        reason = "no memory size was measured" if not latest else "no memory size was stable"
        return Recommendation(None, objective.name, str(objective), reason, None, {}, excluded)
    is_priced = all(row.cost is not None and row.cost.per_million is not None for row in stable)
    choice = choose_size(
        [_series(row, is_priced=is_priced) for row in stable], objective, is_interleaved=is_interleaved
    )
    sentences = [
        *_choice_sentences(choice, objective, is_priced=is_priced),
        *_certainty_sentences(choice, objective),
        *_saved_sentences(stable),
        *(["No stable size meets all SLOs."] if all_violate else []),
        *([] if is_interleaved or len(stable) == 1 else [_NOT_INTERLEAVED]),
        *([] if is_priced else ["Costs are compared in GB-seconds because a price is unavailable."]),
        *([] if all(row.verdict.is_valid for row in stable) else [_INVALID_RUN]),
    ]
    return Recommendation(
        memory_mb=choice.memory_mb,
        objective=objective.name,
        criterion=str(objective),
        reason=" ".join(sentences),
        runner_up=_runner_up(choice),
        scores=choice.scores,
        excluded=excluded,
        choice=choice,
        efficient=_efficient_sizes(choice, objective.margin),
        is_trustworthy=all(row.verdict.is_valid for row in stable),
        is_priced=is_priced,
    )


_INVALID_RUN = "One of the compared runs is INVALID; repeat the benchmark."
_NOT_INTERLEAVED = (
    "The sizes were called one after the other, not in turns: "
    "a change of the service in between counts as a difference."
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
    if summary.failed <= MAX_FAILED_SHARE * completed:
        return ""
    failed = f"{summary.failed} of {completed} calls failed (limit {100 * MAX_FAILED_SHARE:g} %)"
    decided = decide_share(summary.failed, completed, MAX_FAILED_SHARE) is Decision.ABOVE
    return failed if decided else f"{failed}; so few calls do not decide whether that is above the limit"


def slo_violations(runs: Sequence[RunAnalysis]) -> Mapping[int, str]:
    """Return the memory sizes that violate an SLO on latency or failures, with the reasons.

    Throughput and throttles depend on the number of clients, not on the size. A cost depends on a region's prices,
    and a benchmark must recommend the same size in all regions.
    """
    found: dict[int, str] = {}
    for row in runs:
        checks = [check for check in row.slos if check.slo.metric.startswith(("service_", "response_", "failure_"))]
        violated = [check.reason for check in checks if check.status is SloStatus.VIOLATED]
        if violated and row.memory_mb is not None:
            found[row.memory_mb] = "; ".join(violated)
    return found


def _series(analyzed: RunAnalysis, *, is_priced: bool) -> SizeSeries:
    """Return the calls of a stable size; a single one with the summary's figures if its samples were not kept."""
    found = size_series(analyzed, is_priced=is_priced)
    if found is not None:
        return found
    memory_mb, service, cost = analyzed.memory_mb, analyzed.summary.service, analyzed.cost
    assert memory_mb is not None and service is not None  # noqa: S101, PT018 - the size is stable
    if is_priced and cost is not None and cost.per_invocation is not None:
        amount = cost.per_invocation
    else:
        amount = memory_mb / 1024 * (service.median if cost is None else cost.billed_duration)
    return SizeSeries(memory_mb, np.array([amount]), np.array([service.median]))


def _runner_up(choice: SizeChoice) -> int | None:
    if choice.alternatives:
        return choice.alternatives[0][0]
    others = [size for size in choice.scores if size != choice.memory_mb]
    return min(others, key=lambda size: choice.scores[size]) if others else None


def _efficient_sizes(choice: SizeChoice, margin: float) -> tuple[int, ...]:
    """Return the sizes for which no other one is better in cost or latency by a margin, and as good in the other."""

    def is_dominated(size: int) -> bool:
        cost, latency = choice.cost[size].value, choice.latency[size].value
        return any(
            (other_cost * (1 + margin) <= cost and other_latency <= latency * (1 + margin))
            or (other_latency * (1 + margin) <= latency and other_cost <= cost * (1 + margin))
            for other_cost, other_latency in ((choice.cost[o].value, choice.latency[o].value) for o in choice.scores)
        )

    return tuple(sorted(size for size in choice.scores if not is_dominated(size)))


# --- sentences -------------------------------------------------------------------------------------------------------

_CHOICE_TEXT = {
    "balanced": "has the lowest {objective} of {n} stable sizes",
    "cost": "is the cheapest of {n} stable sizes",
    "speed": "is the smallest of {n} stable sizes whose {objective} is within {margin} of the fastest",
}


def _choice_sentences(choice: SizeChoice, objective: Objective, *, is_priced: bool) -> list[str]:
    latency, cost = choice.latency[choice.memory_mb].value, choice.cost[choice.memory_mb].value
    amount = f"{1e6 * cost:.2f} USD per million invocations" if is_priced else f"{cost:.4f} GB-seconds per invocation"
    name = "median" if objective.latency == "p50" else objective.latency
    figures = f"{latency * 1e3:.0f} ms {name} service time, {amount}"
    if len(choice.scores) == 1:
        return [f"{choice.memory_mb} MB is the only stable size: {figures}."]
    text = _CHOICE_TEXT[objective.name].format(
        objective=objective, n=len(choice.scores), margin=percent_text(objective.margin)
    )
    second = _runner_up(choice)
    assert second is not None  # noqa: S101 - there are two sizes
    return [
        f"{choice.memory_mb} MB {text}: {figures}.",
        f"The runner-up, {second} MB, {_comparison_text(choice, second)}.",
    ]


def _comparison_text(choice: SizeChoice, second: int) -> str:
    """Describe how the runner-up differs from the recommended size."""
    slower_ms = (choice.latency[second].value - choice.latency[choice.memory_mb].value) * 1e3
    more_percent = (choice.cost[second].value / choice.cost[choice.memory_mb].value - 1) * 100
    speed, cost = "is as fast", "costs the same"
    if abs(slower_ms) >= 0.5:
        speed = f"is {abs(slower_ms):.0f} ms {'slower' if slower_ms > 0 else 'faster'}"
    if abs(more_percent) >= 0.5:
        cost = f"costs {abs(more_percent):.0f} % {'more' if more_percent > 0 else 'less'}"
    return f"{speed} and {cost}"


def _certainty_sentences(choice: SizeChoice, objective: Objective) -> list[str]:
    if len(choice.scores) == 1:
        return []
    if choice.probability is None:
        return ["How certain that is cannot be told from so few calls."]
    better = f"no other size is better by more than {percent_text(objective.margin)}"
    sentences = [f"The probability that {better} is {probability_text(choice.probability)}."]
    if choice.probability < _CERTAIN:
        sentences.insert(0, "This is not certain.")
    if choice.equivalent:
        sentences.append(f"Equivalent within {percent_text(objective.margin)}: {_sizes_text(choice.equivalent)}.")
    elif choice.alternatives and choice.probability < 0.995:
        listed = ", ".join(f"{size} MB {probability_text(share)}" for size, share in choice.alternatives[:3])
        sentences.append(f"Probability of the lowest score: {listed}.")
    if choice.more_calls:
        more = f"{choice.more_calls:,} more calls of the two best sizes"
        sentences.append(f"About {more} would make it {choice.target:g}.")
    elif choice.more_calls is None:
        sentences.append("More calls would not make it certain: the sizes differ by about the margin.")
    return sentences


def _saved_sentences(stable: Sequence[RunAnalysis]) -> list[str]:
    """Return what early elimination saved; nothing if no size was decided early."""
    runs = [row.run for row in stable]
    planned = sum(run.step.load.count or 0 for run in runs if isinstance(run.step.load, ClosedLoop))
    made = sum(run.scheduled for run in runs)
    if planned <= made or not any(run.stop_reason == "decided" for run in runs):
        return []
    return [f"Decided after {made:,} of {planned:,} calls."]


def _sizes_text(sizes: Sequence[int]) -> str:
    return ", ".join(f"{size} MB" for size in sorted(sizes))


def percent_text(share: float) -> str:
    """Return a share as a percentage.

    Example:
        >>> percent_text(0.05)
        '5 %'
    """
    return f"{100 * share:g} %"


def probability_text(probability: float) -> str:
    """Return a probability with two digits, rounded down, so that it never reads as more certain than it is.

    Example:
        >>> [probability_text(p) for p in (0.978, 0.9996, 0.004)]
        ['0.97', 'above 0.99', 'below 0.01']
    """
    if probability > 0.99:
        return "above 0.99"
    return "below 0.01" if probability < 0.01 else f"{math.floor(100 * probability) / 100:.2f}"


# --- MaxConcurrency --------------------------------------------------------------------------------------------------


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
