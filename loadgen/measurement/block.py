"""Block: consecutive calls of a run that is executed in parts, between which other steps are measured.

The clock of such a run stands still between its blocks, so that durations, rates and windows are those of the load
alone. The table of its blocks maps the run's clock to the wall clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a run.

    Args:
        round: number of the round, from 1; in each round every step has one block at most.
        first_seq: number of its first request in the schedule.
        started: start on the wall clock, in seconds since the epoch.
        offset: start on the run's clock, in seconds.
        count: number of its requests.
    """

    round: int
    first_seq: int
    started: float
    offset: float
    count: int = 0


def block_indices(blocks: Sequence[Block], seqs: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return the index of the block of each request, shape (n,).

    Args:
        blocks: the blocks of one run in order, at least one.
        seqs: numbers of requests in the schedule, shape (n,).

    Example:
        >>> blocks = [Block(1, 0, 1e9, 0.0), Block(2, 20, 1e9 + 60, 2.5)]
        >>> block_indices(blocks, np.array([0, 19, 20])).tolist()
        [0, 0, 1]
    """
    first_seqs = np.array([block.first_seq for block in blocks], dtype=np.uint64)
    return np.maximum(np.searchsorted(first_seqs, seqs.astype(np.uint64), side="right") - 1, 0)
