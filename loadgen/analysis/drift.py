"""Drift over rounds: how the latency of steps that were measured side by side changed, and what they had in common."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.block import block_indices
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.sample import WARMUP, in_category

MAX_GROUPS = 10  # rows of the table; more rounds are grouped
MIN_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Drift:
    """The change of latency over the rounds of one benchmark.

    Args:
        rounds: first and last round of each group.
        common: median over the steps of each group's median latency, relative to the step's own median over all
            groups; 1.0 is no change, NaN without a call; shape (groups,).
        own: the rest of each step: its relative median divided by `common`; shape (groups, steps).
    """

    rounds: tuple[tuple[int, int], ...]
    common: NDArray[np.float64]
    own: NDArray[np.float64]


def drift_over_rounds(runs: Sequence[Run]) -> Drift | None:
    """Return the drift of runs that were measured in the same rounds; None for fewer than two runs or rounds."""
    measured = [run for run in runs if run.blocks and run.samples.size]
    last = max((run.blocks[-1].round for run in measured), default=0)
    if len(measured) < len(runs) or len(runs) < 2 or last < MIN_ROUNDS:
        return None
    edges = np.unique(np.linspace(1, last + 1, min(last, MAX_GROUPS) + 1).astype(np.int64))
    medians = np.column_stack([_median_of_groups(run, edges) for run in runs])
    with np.errstate(invalid="ignore"):
        relative = medians / _nanmedian(medians.T)
        common = _nanmedian(relative)
        own = relative / common[:, np.newaxis]
    groups = tuple(zip(edges[:-1].tolist(), (edges[1:] - 1).tolist(), strict=True))
    return Drift(groups, common, own)


def _median_of_groups(run: Run, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the median service time of the counted ok calls of each group of rounds; NaN without a call."""
    counted = run.samples[in_category(OutcomeCategory.OK, run.samples) & ((run.samples["flags"] & WARMUP) == 0)]
    rounds = np.array([block.round for block in run.blocks])[block_indices(run.blocks, counted["seq"])]
    latencies = counted["done"] - counted["sent"]
    groups = [latencies[(rounds >= first) & (rounds < end)] for first, end in itertools.pairwise(edges)]
    return np.array([np.median(group) if group.size else np.nan for group in groups])


def _nanmedian(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of each row without its NaN; NaN for a row of nothing else."""
    kept = [row[~np.isnan(row)] for row in rows]
    return np.array([np.median(row) if row.size else np.nan for row in kept])
