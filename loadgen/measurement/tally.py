"""Tally: counts and histograms of a window or of a run; tallies add."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.histogram import Histogram, SparseCounts
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome, OutcomeCategory
from loadgen.measurement.sample import WARMUP, in_category


@dataclass(frozen=True, slots=True)
class Window:
    """All that completed in one interval. Windows add.

    Args:
        index: which, counted from the run's start.
        start: seconds from the run's start.
        length: seconds; the last window of a run may be shorter.
        counts: how many had each outcome; warm-up is not in it.
        warmup: how many completed that are not counted.
        service: service times by column; in a closed loop they are the response times too.
        response: response times by column, from the scheduled instant; empty in a closed loop.
    """

    index: int
    start: float
    length: float
    counts: Mapping[Outcome, int] = field(default_factory=dict)
    warmup: int = 0
    service: Mapping[OutcomeCategory, SparseCounts] = field(default_factory=dict)
    response: Mapping[OutcomeCategory, SparseCounts] = field(default_factory=dict)

    def count(self, category: OutcomeCategory) -> int:
        """Return how many requests fall into a column."""
        return sum(n for outcome, n in self.counts.items() if outcome.category is category)


class Tally:
    """Counts and histograms of many samples: of one window while it is open, and of the whole run."""

    __slots__ = ("counts", "response", "service", "warmup")

    def __init__(self) -> None:
        self.counts: Counter[Outcome] = Counter()
        self.warmup: Counter[Outcome] = Counter()
        self.service = {column: Histogram() for column in COMPLETED_CATEGORIES}
        self.response = {column: Histogram() for column in COMPLETED_CATEGORIES}

    def record_samples(self, samples: NDArray[np.void], *, with_response: bool) -> None:
        """Add samples of dtype SAMPLE; response times only where asked for."""
        warm = (samples["flags"] & WARMUP) != 0
        for tally, chosen in ((self.warmup, samples[warm]), (self.counts, samples[~warm])):
            for outcome, count in enumerate(np.bincount(chosen["outcome"]).tolist()):
                if count:
                    tally[Outcome(outcome)] += count
        for column in COMPLETED_CATEGORIES:
            chosen = samples[~warm & in_category(column, samples)]
            self.service[column].record_values(chosen["done"] - chosen["sent"])
            if with_response:
                self.response[column].record_values(chosen["done"] - chosen["scheduled"])

    def add(self, other: "Tally") -> None:
        """Add another's counts and histograms."""
        self.counts.update(other.counts)
        self.warmup.update(other.warmup)
        for column in COMPLETED_CATEGORIES:
            self.service[column].add(other.service[column])
            self.response[column].add(other.response[column])

    def count(self, category: OutcomeCategory) -> int:
        """Return how many samples fall into a column, warm-up left out."""
        return sum(n for outcome, n in self.counts.items() if outcome.category is category)

    @property
    def total(self) -> int:
        """Every sample in it, warm-up included."""
        return self.counts.total() + self.warmup.total()
