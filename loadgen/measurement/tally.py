"""Tally and Window: counts and histograms of a run or of one interval of it. Both can be added."""

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
    """The requests that completed in one interval.

    Args:
        index: number of the window, from 0 at the run's start.
        start: start of the window, in seconds from the run's start.
        length: length in seconds; the last window of a run may be shorter.
        counts: number of requests by outcome, without the warm-up.
        warmup: number of warm-up requests.
        service: service times by category; in a closed loop these are also the response times.
        response: response times by category, measured from the scheduled instant; empty in a closed loop.
    """

    index: int
    start: float
    length: float
    counts: Mapping[Outcome, int] = field(default_factory=dict)
    warmup: int = 0
    service: Mapping[OutcomeCategory, SparseCounts] = field(default_factory=dict)
    response: Mapping[OutcomeCategory, SparseCounts] = field(default_factory=dict)

    def count(self, category: OutcomeCategory) -> int:
        """Return the number of requests in a category."""
        return sum(n for outcome, n in self.counts.items() if outcome.category is category)


class Tally:
    """Counts and histograms of samples: of an open window, or of a whole run."""

    __slots__ = ("counts", "response", "service", "warmup")

    def __init__(self) -> None:
        self.counts: Counter[Outcome] = Counter()
        self.warmup: Counter[Outcome] = Counter()
        self.service = {category: Histogram() for category in COMPLETED_CATEGORIES}
        self.response = {category: Histogram() for category in COMPLETED_CATEGORIES}

    def record_samples(self, samples: NDArray[np.void], *, with_response: bool) -> None:
        """Add samples of dtype SAMPLE; response times only `with_response`."""
        is_warmup = (samples["flags"] & WARMUP) != 0
        for counter, selected in ((self.warmup, samples[is_warmup]), (self.counts, samples[~is_warmup])):
            for outcome, count in enumerate(np.bincount(selected["outcome"]).tolist()):
                if count:
                    counter[Outcome(outcome)] += count
        for category in COMPLETED_CATEGORIES:
            selected = samples[~is_warmup & in_category(category, samples)]
            self.service[category].record_values(selected["done"] - selected["sent"])
            if with_response:
                self.response[category].record_values(selected["done"] - selected["scheduled"])

    def add(self, other: "Tally") -> None:
        """Add the counts and histograms of another tally."""
        self.counts.update(other.counts)
        self.warmup.update(other.warmup)
        for category in COMPLETED_CATEGORIES:
            self.service[category].add(other.service[category])
            self.response[category].add(other.response[category])

    def count(self, category: OutcomeCategory) -> int:
        """Return the number of samples in a category, without the warm-up."""
        return sum(n for outcome, n in self.counts.items() if outcome.category is category)

    @property
    def total(self) -> int:
        """Number of samples, warm-up included."""
        return self.counts.total() + self.warmup.total()
