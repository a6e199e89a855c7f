"""Rounds: steps that a plan measures side by side, in rounds of short blocks. Values and order only, no I/O.

In each round every step has one block of calls. A drift of the region or of this machine then falls on all steps alike,
where steps measured one after the other would each get another part of it.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.errors import UsageError
from loadgen.measurement.round_policy import RoundPolicy
from loadgen.validation import to_int, to_tuple
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class Rounds:
    """A batch of steps to measure in rounds.

    Args:
        steps: the steps; those of one configuration share an endpoint.
        block_size: calls of each step in one round.
        seed: selects the order of the steps in each round.
        max_duration: seconds that a round should take at most. After a longer one the blocks become shorter, because
            an endpoint without calls for long may remove its instances, and the next call is then cold.
        is_one_wave: True to refuse steps that do not fit the quotas at the same time; False to measure them in waves.
        policy: ends steps early; None to measure every step to its end.

    Raises:
        UsageError: a value is out of its range.
    """

    steps: Sequence[Step]
    block_size: int
    seed: int = 0
    max_duration: float = math.inf
    is_one_wave: bool = False
    policy: RoundPolicy | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", to_tuple(self.steps, "steps"))
        object.__setattr__(self, "block_size", to_int(self.block_size, "block_size", 1))
        object.__setattr__(self, "seed", to_int(self.seed, "seed", 0))
        if not self.max_duration > 0:
            raise UsageError(f"max_duration is {self.max_duration!r} seconds", hint="must be above 0")

    def next_block_size(self, calls: int, duration: float) -> int:
        """Return the block size of the next round.

        Args:
            calls: block size of the last round; 0 before the first.
            duration: seconds that the last round took.

        Example:
            >>> Rounds([], block_size=20, max_duration=30).next_block_size(20, 120)
            5
        """
        if not calls or duration * self.block_size <= self.max_duration * calls:
            return self.block_size
        return max(1, math.floor(self.max_duration * calls / duration))


def round_order(steps: Sequence[int], round_number: int, seed: int) -> list[int]:
    """Return the order in which a round measures steps.

    Odd rounds are shuffled; each even round repeats the previous one in reverse, so that a steady drift over two rounds
    adds the same to the mean of every step.

    Args:
        steps: the numbers of the steps that are still measured.
        round_number: from 1.
        seed: selects the order.

    Example:
        >>> first = round_order([1, 2, 3], 1, seed=0)
        >>> round_order([1, 2, 3], 2, seed=0) == first[::-1]
        True
    """
    order = sorted(steps)
    random.Random(f"{seed} {(round_number - 1) // 2}").shuffle(order)  # noqa: S311 - an order, not secrets
    return order if round_number % 2 else order[::-1]
