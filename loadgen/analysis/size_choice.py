"""Choice of a memory size from measured calls, with the probability that it is right. Pure arithmetic on series.

The score of a size is cost^w x latency^(1-w), a weighted geometric mean: the ratio of two sizes' scores does not depend
on which other sizes were measured. The probability comes from a joint bootstrap of all sizes (statistics package): the
share of replicates in which no other size has a score that is lower by more than the equivalence margin.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import UsageError
from loadgen.statistics.interval import Interval
from loadgen.statistics.joint_bootstrap import REPLICATES, JointBootstrap, joint_bootstrap

OBJECTIVES = ("balanced", "cost", "speed")
LATENCY_STATISTICS: Mapping[str, float | None] = MappingProxyType(
    {"mean": None, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}
)
_REPLICATES_FOR_DEVIATIONS = 300  # a standard deviation needs fewer than a tail: its error is 4 %
MIN_CALLS = 5  # calls of a size below which a choice has no probability
_EQUIVALENT = 0.9  # probability from which on a size counts as equivalent to the best one
_MAX_FACTOR = 1000  # of the calls that were made; a difference that needs more is not worth measuring


@dataclass(frozen=True, slots=True)
class Objective:
    """What the recommended size optimizes.

    Args:
        name: `cost`, `speed` or `balanced`.
        cost_weight: weight of the cost against the latency for `balanced`, 0 to 1.
        latency: the statistic of the latency: `mean`, `p50`, `p75`, `p90`, `p95` or `p99` of the warm calls.
        margin: relative difference of two scores below which two sizes are equivalent.

    Raises:
        UsageError: a value is unknown or out of range.
    """

    name: str = "balanced"
    cost_weight: float = 0.5
    latency: str = "p50"
    margin: float = 0.05

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise UsageError(f"objective {self.name!r}", hint=f"one of {', '.join(OBJECTIVES)}")
        if self.latency not in LATENCY_STATISTICS:
            raise UsageError(f"latency statistic {self.latency!r}", hint=f"one of {', '.join(LATENCY_STATISTICS)}")
        if not 0 <= self.cost_weight <= 1:
            raise UsageError(f"cost weight {self.cost_weight!r}", hint="must be from 0 (latency) to 1 (cost)")
        if not 0 <= self.margin < 1:
            raise UsageError(f"equivalence margin {self.margin!r}", hint="a share such as 0.05, below 1")

    @property
    def weight(self) -> float:
        """Exponent of the cost in the score; that of the latency is 1 minus it."""
        return {"cost": 1.0, "speed": 0.0}.get(self.name, self.cost_weight)

    def __str__(self) -> str:
        names = {"p50": "median"}
        latency = f"{names.get(self.latency, self.latency)} latency"
        if self.weight == 1:
            return "cost"
        if self.weight == 0:
            return latency
        if self.weight == 0.5:
            return f"cost x {latency}"
        return f"cost^{self.weight:g} x {latency}^{1 - self.weight:g}"


def to_objective(value: "Objective | str") -> Objective:
    """Return an objective from its name.

    Raises:
        UsageError: the name is unknown, or the value is of another type.
    """
    if isinstance(value, str):
        return Objective(value)
    if isinstance(value, Objective):
        return value
    raise UsageError(f"objective {value!r}", hint=f"one of {', '.join(OBJECTIVES)}, or an Objective(...)")


@dataclass(frozen=True, slots=True, eq=False)
class SizeSeries:
    """The warm ok calls of one memory size in order of time; NaN where call k was cold, throttled, failed or not sent.

    Args:
        memory_mb: the memory size.
        cost: cost of each call, in any unit that all sizes share, shape (calls,).
        latency: service time of each call, seconds, shape (calls,).
    """

    memory_mb: int
    cost: NDArray[np.float64]
    latency: NDArray[np.float64]

    @property
    def count(self) -> int:
        """Number of calls with a value."""
        return int(np.count_nonzero(~np.isnan(self.latency)))


@dataclass(frozen=True, slots=True)
class SizeChoice:
    """The chosen memory size and how certain it is.

    Args:
        memory_mb: the chosen size.
        probability: probability that no other size has a score that is lower by more than the margin; None if a size
            has fewer than MIN_CALLS calls.
        alternatives: other sizes with the probability that each has the lowest score, most probable first; those
            below 1 % are left out.
        equivalent: sizes whose score is within the margin of the lowest with a probability of at least 0.9, the chosen
            one excluded.
        scores: size -> score.
        ratios: size -> its score divided by that of the chosen size.
        cost: size -> mean cost of a call: USD, or GB-seconds if a price is unavailable.
        latency: size -> latency statistic, seconds.
        latency_statistic: which one, as in Objective.
        effective_calls: number of independent calls of a size that carry as much information as were made.
        more_calls: calls, of the two sizes together, after which the probability would reach `target`; 0 if it has,
            None if it cannot be told or is more than 1,000 times what was measured.
        target: the probability that `more_calls` refers to.
    """

    memory_mb: int
    probability: float | None
    alternatives: tuple[tuple[int, float], ...]
    equivalent: tuple[int, ...]
    scores: Mapping[int, float]
    ratios: Mapping[int, Interval]
    cost: Mapping[int, Interval]
    latency: Mapping[int, Interval]
    latency_statistic: str
    effective_calls: float
    more_calls: int | None
    target: float


def choose_size(
    series: Sequence[SizeSeries], objective: Objective, *, is_interleaved: bool = True, seed: int = 0
) -> SizeChoice:
    """Choose one of the sizes: that of the lowest score; for `speed` the smallest one equivalent to the fastest.

    Args:
        series: at least one, with at least one call each.
        objective: what to optimize.
        is_interleaved: whether call k of all sizes was made at about the same time.
        seed: of the draws.
    """
    ordered = sorted(series, key=lambda one: one.memory_mb)
    sizes = [one.memory_mb for one in ordered]
    logs = _log_figures(ordered, objective, is_interleaved=is_interleaved, seed=seed)
    within = logs.scores <= logs.scores.min(axis=1, keepdims=True) + math.log1p(objective.margin)
    shares = within.mean(axis=0)
    chosen = int(np.argmin(logs.score))
    if objective.weight == 0:
        chosen = int(np.flatnonzero(shares >= min(_EQUIVALENT, shares[chosen]))[0])
    is_known = len(sizes) > 1 and all(one.count >= MIN_CALLS for one in ordered)
    best = np.bincount(np.argmin(logs.scores, axis=1), minlength=len(sizes)) / len(logs.scores)
    others = sorted((index for index in range(len(sizes)) if index != chosen), key=lambda index: -best[index])
    probability = float(shares[chosen]) if is_known else None
    target = 0.95 if probability is not None and probability < 0.95 else 0.99
    intervals = partial(_intervals, ordered, logs.effective_calls)
    return SizeChoice(
        memory_mb=sizes[chosen],
        probability=probability,
        alternatives=tuple((sizes[i], float(best[i])) for i in others if best[i] >= 0.01) if is_known else (),
        equivalent=tuple(sizes[i] for i in others if shares[i] >= _EQUIVALENT) if is_known else (),
        scores={size: float(math.exp(value)) for size, value in zip(sizes, logs.score, strict=True)},
        ratios=intervals(logs.score - logs.score[chosen], logs.scores - logs.scores[:, [chosen]]),
        cost=intervals(logs.cost, logs.costs),
        latency=intervals(logs.latency, logs.latencies),
        latency_statistic=objective.latency,
        effective_calls=logs.effective_calls,
        more_calls=_more_calls(logs, chosen, objective, ordered, target) if is_known else None,
        target=target,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _LogFigures:
    """Logarithms of cost, latency and score: estimates, shape (sizes,), and replicates, shape (replicates, sizes)."""

    cost: NDArray[np.float64]
    latency: NDArray[np.float64]
    score: NDArray[np.float64]
    costs: NDArray[np.float64]
    latencies: NDArray[np.float64]
    scores: NDArray[np.float64]
    unscaled: NDArray[np.float64]  # scores whose deviations are not scaled like Student's t
    inflation: float
    freedom: float
    effective_calls: float


@dataclass(frozen=True, slots=True, eq=False)
class ScoreDifferences:
    """How far the scores of sizes are from that of the best candidate.

    Args:
        best: the candidate with the lowest score.
        differences: logarithm of each size's score minus that of `best`, shape (sizes,).
        deviations: standard deviation of each difference, shape (sizes,).
        freedom: degrees of freedom of the deviations.
    """

    best: int
    differences: NDArray[np.float64]
    deviations: NDArray[np.float64]
    freedom: float


def score_differences(
    series: Sequence[SizeSeries], candidates: Sequence[int], objective: Objective, *, seed: int = 0
) -> ScoreDifferences:
    """Compare the scores of sizes, in the order given, with the lowest score of the candidates."""
    sizes = [one.memory_mb for one in series]
    logs = _log_figures(series, objective, is_interleaved=True, seed=seed, replicates=_REPLICATES_FOR_DEVIATIONS)
    best = min(candidates, key=lambda size: logs.score[sizes.index(size)])
    column = sizes.index(best)
    drawn = logs.unscaled - logs.unscaled[:, [column]]
    return ScoreDifferences(best, logs.score - logs.score[column], drawn.std(axis=0) * logs.inflation, logs.freedom)


def _log_figures(
    ordered: Sequence[SizeSeries],
    objective: Objective,
    *,
    is_interleaved: bool,
    seed: int,
    replicates: int = REPLICATES,
) -> _LogFigures:
    calls = max(one.latency.size for one in ordered)
    costs = [_padded(one.cost, calls) for one in ordered]
    latencies = [_padded(one.latency, calls) for one in ordered]
    draws = joint_bootstrap(
        np.log(np.maximum(latencies, _TINY)), replicates=replicates, seed=seed, common=is_interleaved
    )
    share, weight = LATENCY_STATISTICS[objective.latency], objective.weight
    # Row 0 is the estimate, the other rows are the replicates.
    cost = np.stack([_log_rows(draws, row, None) for row in costs], axis=1)
    latency = np.stack([_log_rows(draws, row, share) for row in latencies], axis=1)
    score = weight * cost + (1 - weight) * latency
    for partial_size, whole in _partial_sizes(latencies) if is_interleaved else ():
        known = ~np.isnan(latencies[partial_size])
        same_calls = [
            weight * _log_rows(draws, np.where(known, costs[i], np.nan), None)
            + (1 - weight) * _log_rows(draws, np.where(known, latencies[i], np.nan), share)
            for i in whole
        ]
        # The calls of the partial size had certain payloads and were made at certain times. What that means for its
        # score is seen in the other sizes: their score over the same calls, less that over all.
        score[:, partial_size] -= np.mean(same_calls, axis=0) - score[:, whole].mean(axis=1)
    return _LogFigures(
        cost=cost[0],
        latency=latency[0],
        score=score[0],
        costs=draws.spread(cost[0], cost[1:]),
        latencies=draws.spread(latency[0], latency[1:]),
        scores=draws.spread(score[0], score[1:]),
        unscaled=score[1:],
        inflation=draws.inflation,
        freedom=draws.freedom,
        effective_calls=draws.effective_count,
    )


def _log_rows(draws: JointBootstrap, values: NDArray[np.float64], share: float | None) -> NDArray[np.float64]:
    """Return logarithms of the mean (share None) or of a quantile: of all values, then of each replicate."""
    drawn = draws.means(values) if share is None else draws.quantiles(values, share)
    return np.log(np.maximum(np.concatenate(([_statistic(values, share)], drawn)), _TINY))


def _partial_sizes(latencies: Sequence[NDArray[np.float64]]) -> Iterator[tuple[int, list[int]]]:
    """Yield each size that has clearly fewer calls than the others, with the sizes that have all."""
    counts = np.array([np.count_nonzero(~np.isnan(row)) for row in latencies])
    whole = np.flatnonzero(counts >= _WHOLE * counts.max()).tolist()
    for index in np.flatnonzero(counts < _WHOLE * counts.max()).tolist():
        yield index, whole


_WHOLE = 0.9  # share of the calls of the most called size from which on a size counts as called equally often
_TINY = 1e-12  # below every cost and latency; keeps the logarithm of a zero finite


def _statistic(values: NDArray[np.float64], share: float | None) -> float:
    """Return the mean (share None) or the nearest-rank quantile of the values that are not NaN."""
    known = values[~np.isnan(values)]
    return float(known.mean() if share is None else np.quantile(known, share, method="inverted_cdf"))


def _padded(values: NDArray[np.float64], calls: int) -> NDArray[np.float64]:
    return np.concatenate([values, np.full(calls - values.size, np.nan)])


def _intervals(
    ordered: Sequence[SizeSeries], effective: float, logs: NDArray[np.float64], replicates: NDArray[np.float64]
) -> Mapping[int, Interval]:
    lows, highs = np.quantile(replicates, (0.025, 0.975), axis=0)
    return {
        one.memory_mb: Interval(
            value=math.exp(value),
            low=math.exp(min(low, value)) if one.count >= MIN_CALLS else None,
            high=math.exp(max(high, value)) if one.count >= MIN_CALLS else None,
            count=one.count,
            effective_count=min(effective, one.count),
        )
        for one, value, low, high in zip(ordered, logs, lows, highs, strict=True)
    }


def _more_calls(
    logs: _LogFigures, chosen: int, objective: Objective, ordered: Sequence[SizeSeries], target: float
) -> int | None:
    """Return the calls of the chosen size and of its strongest rival after which the probability reaches the target.

    With f times the calls the deviations from the estimates shrink by the square root of f.
    """

    def probability(factor: float) -> float:
        scores = logs.score + (logs.scores - logs.score) / math.sqrt(factor)
        return float((scores[:, chosen] <= scores.min(axis=1) + math.log1p(objective.margin)).mean())

    if probability(1) >= target:
        return 0
    if probability(_MAX_FACTOR) < target:
        return None
    low, high = 1.0, float(_MAX_FACTOR)
    for _ in range(12):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if probability(middle) >= target else (middle, high)
    calls = 2 * (high - 1) * ordered[chosen].count
    return math.ceil(float(f"{calls:.2g}"))
