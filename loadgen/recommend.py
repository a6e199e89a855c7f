"""Recommendation: which memory size, which MaxConcurrency, and why, in words that can be checked against the tables."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Which memory size to choose.

    Args:
        memory_mb: the choice; None when no size was stable.
        objective: `cost`, `speed` or `balanced`.
        reason: a sentence or two with the figures that decided.
        runner_up: the second best size; None when there is none.
        scores: by size, the least is best; only the sizes that were stable.
        unstable: size -> why it was left out.
        is_trustworthy: False when a run it rests on is INVALID.
    """

    memory_mb: int | None
    objective: str
    reason: str
    runner_up: int | None
    scores: Mapping[int, float]
    unstable: Mapping[int, str]
    is_trustworthy: bool = True


@dataclass(frozen=True, slots=True)
class ConcurrencyAdvice:
    """The smallest MaxConcurrency that served a number of clients without throttles.

    Args:
        clients: simulated clients.
        max_concurrency: the smallest that did; None when none of those measured did.
        reason: in words.
    """

    clients: int
    max_concurrency: int | None
    reason: str
