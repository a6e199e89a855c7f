"""Validity of single figures: each is worked out with and without what the load generator changed in it.

The difference is the generator's share. A figure is VALID when that share is at most `ValidityLimits.effect`.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.validity.answer_lateness import AnswerLateness, answer_lateness
from loadgen.analysis.validity.lateness import Seconds, bound_latencies, sending_delay, without_lateness
from loadgen.analysis.validity.limits import ValidityLimits
from loadgen.measurement.histogram import Histogram
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.stalls import SHORTEST_STALL
from loadgen.statistics.order_statistics import calls_needed, nearest_rank
from loadgen.workload.load import ClosedLoop

# What a benchmark concludes from its runs: sizes are compared by what is billed, a mean, and by the median; a
# MaxConcurrency by what it served.
_FIGURES_OF_PHASE: Mapping[str, frozenset[str]] = {
    "stability": frozenset({"service_mean", "service_p50"}),
    "concurrency": frozenset({"service_mean", "service_p50", "tps_average"}),
}
PERCENTS: Mapping[str, float] = {"p50": 50.0, "p75": 75.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
_SHOWN_WITHOUT_INTERVAL = ("p50", "p75")  # also shown as quartiles, whatever the number of calls
_GOLDEN_RATIO = 0.6180339887498949  # its multiples modulo 1 fill the unit interval evenly (Weyl, 1916)
_LATENESS_VALUES = 100_000  # number of latencies to which the lateness of a target is added
_Statistic = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class FigureValidity:
    """What the load generator changed in one figure.

    Args:
        name: metric as in an SLO, such as `service_p95` or `tps_average`.
        value: the figure as reported, in seconds or requests/s.
        without_generator: the figure without the generator's own delays.
        without_target: the figure also without the time by which an emulator answered late; equal to
            `without_generator` where the target does not tell.
        limit: largest share that is VALID.
        smallest_effect: difference of a latency that is always VALID, in seconds; 0 for other figures.
    """

    name: str
    value: float
    without_generator: float
    without_target: float
    limit: float
    smallest_effect: float = 0.0

    @property
    def share(self) -> float:
        """By how much the figure is moved, as a share of what it would be."""
        if self.value == self.without_target:
            return 0.0
        return abs(self.value / self.without_target - 1) if self.without_target > 0 else math.inf

    @property
    def is_valid(self) -> bool:
        """True if the figure is moved by no more than the limit."""
        return self.share <= self.limit or abs(self.value - self.without_target) < self.smallest_effect

    @property
    def is_generator_the_cause(self) -> bool:
        """True if the generator moved the figure at least as much as the target did by answering late."""
        by_generator = abs(self.value - self.without_generator)
        return by_generator >= abs(self.without_generator - self.without_target)

    @property
    def cause(self) -> str:
        """What moved the figure."""
        return "the generator's own delays" if self.is_generator_the_cause else "answers that the emulator sent late"

    def __str__(self) -> str:
        share = f"{self.share:.1%}".replace("%", " %") if math.isfinite(self.share) else "more than its own size"
        return f"{self.name} is moved by {share}: {self.cause}"


def conclusion_figures(run: Run, slo_metrics: Collection[str] = ()) -> frozenset[str]:
    """Return the figures that the conclusions from a run use; the run is INVALID when one of them is not valid.

    Args:
        run: a run.
        slo_metrics: metrics of the SLOs that are checked.
    """
    used = {metric.replace("_median", "_p50") for metric in slo_metrics}
    used = {"service_mean" if metric == "cost_per_million" else metric for metric in used}
    if not run.is_open_loop:  # response time equals service time
        used = {metric.replace("response_", "service_") for metric in used}
    judged = frozenset(metric for metric in used if metric.startswith(("service_", "response_", "tps_")))
    if run.step.phase in _FIGURES_OF_PHASE:
        return judged | _FIGURES_OF_PHASE[run.step.phase]
    kind = "response" if run.is_open_loop else "service"
    return judged or frozenset({f"{kind}_mean", f"{kind}_p50", f"{kind}_p95", "tps_average"})


def judge_figures(run: Run, limits: ValidityLimits) -> tuple[FigureValidity, ...]:
    """Return the validity of each figure that a report shows of a run; empty if no call was ok."""
    return tuple(_judge_figures(run, limits)) if run.count(OutcomeCategory.OK) else ()


def _judge_figures(run: Run, limits: ValidityLimits) -> Iterator[FigureValidity]:
    late = answer_lateness(run.server_counts)
    for kind in ("service", "response") if run.is_open_loop else ("service",):
        with_lateness, without = _statistics(run, kind)
        answered_late_by = _answered_late_by(late, run, kind)
        for statistic in _shown_statistics(run.count(OutcomeCategory.OK)):
            value, estimate = with_lateness(statistic), without(statistic)
            on_time = max(0.0, estimate - answered_late_by(statistic))
            yield FigureValidity(f"{kind}_{statistic}", value, estimate, on_time, limits.effect, limits.smallest_effect)
    if isinstance(run.step.load, ClosedLoop):
        rate = run.count(OutcomeCategory.OK) / max(run.duration - run.measurement_start, 1e-9)
        without_rate = rate * _rate_factor(run)
        yield FigureValidity("tps_average", rate, without_rate, without_rate, limits.effect)


def _shown_statistics(count: int) -> Iterator[str]:
    """Yield the statistics of a latency that are shown for a number of calls."""
    yield from ("mean", "max")
    for name, percent in PERCENTS.items():
        if name in _SHOWN_WITHOUT_INTERVAL or count >= calls_needed(percent):
            yield name


def _answered_late_by(late: AnswerLateness, run: Run, kind: str) -> _Statistic:
    """Return by how much a target that answered late moved a statistic.

    Late answers are as likely for short calls as for long ones, so a percentile moves by less than the same percentile
    of the lateness: it is worked out by adding the lateness once more, in an order that does not depend on the latency.
    """
    if not late.shares:
        return lambda _: 0.0
    histogram = (run.tally.service if kind == "service" else run.tally.response)[OutcomeCategory.OK]
    middles, counts = _middles(histogram)
    # Every n-th value is enough for a percentile of a long run.
    ordered = np.repeat(middles, counts)[:: max(1, histogram.total // _LATENESS_VALUES)]
    added = late.values(ordered.size)
    # Multiples of the golden ratio modulo 1 visit the ranks evenly.
    shuffled = added[np.argsort(np.arange(1, ordered.size + 1) * _GOLDEN_RATIO % 1.0)]
    later = np.sort(ordered + shuffled)

    def moved(statistic: str) -> float:
        return late.mean if statistic == "mean" else _statistic_of(later, statistic) - _statistic_of(ordered, statistic)

    return moved


def _middles(histogram: Histogram) -> tuple[Seconds, NDArray[np.int64]]:
    """Return the middle of each bucket in seconds, and the number of its values."""
    low, high, counts = zip(*histogram.buckets(), strict=True)
    return (np.array(low) + np.array(high)) / 2, np.array(counts)


def _statistics(run: Run, kind: str) -> tuple[_Statistic, _Statistic]:
    """Return two functions from a statistic's name to its value: as measured, and without the generator's delays."""
    if not len(run.samples):
        return _statistics_of_histogram(run, kind)
    latencies = bound_latencies(run, "sent" if kind == "service" else "scheduled")
    if not latencies.measured.size:  # the samples of the ok calls are damaged
        return _statistics_of_histogram(run, kind)
    measured, estimated = np.sort(latencies.measured), without_lateness(latencies)
    unlisted = _unlisted_lateness(run)

    def without(statistic: str) -> float:
        return max(0.0, _statistic_of(estimated, statistic) - unlisted(statistic))

    return lambda statistic: _statistic_of(measured, statistic), without


def _statistic_of(ordered: Seconds, statistic: str) -> float:
    if statistic == "mean":
        return float(ordered.mean())
    return float(ordered[nearest_rank(PERCENTS.get(statistic, 100.0), ordered.size) - 1])


def _unlisted_lateness(run: Run) -> _Statistic:
    """Return by how much stalls that are not in the list can have moved a statistic.

    They were too many to be listed, so they are as likely to meet any call. A run whose stalls were not recorded is
    taken as late by its p99 loop lag all the time.
    """
    stats = run.generator_stats
    share = min(1.0, stats.stalls.unlisted_total / max(run.duration, 1e-9))
    longest = stats.stalls.unlisted_longest
    if not stats.stalls.count and stats.loop_lag_p99 > SHORTEST_STALL:
        share, longest = 1.0, stats.loop_lag_p99

    def lateness(statistic: str) -> float:
        if statistic == "mean":
            return share * longest / 2
        # Half of the calls above a percentile, moved by it, move the percentile.
        return longest if share > (1 - PERCENTS.get(statistic, 100.0) / 100) / 2 else 0.0

    return lateness


def _statistics_of_histogram(run: Run, kind: str) -> tuple[_Statistic, _Statistic]:
    """Return the statistics of a run without samples: which calls were late is unknown, so the worst is taken."""
    stats, duration = run.generator_stats, max(run.duration, 1e-9)
    histogram = (run.tally.service if kind == "service" else run.tally.response)[OutcomeCategory.OK]
    lengths = np.array([end - start for start, end in stats.stalls.intervals])
    share = min(1.0, float(lengths.sum()) / duration)
    longest = float(lengths.max(initial=0.0))
    unlisted = _unlisted_lateness(run)
    middles, counts = _middles(histogram)

    def value(statistic: str) -> float:
        if statistic == "mean":
            return float(np.average(middles, weights=counts))
        return histogram.percentile(PERCENTS.get(statistic, 100.0))

    def without(statistic: str) -> float:
        found = value(statistic) - unlisted(statistic)
        if kind == "response":
            found -= stats.send_lag_p50 if statistic in ("mean", "p50") else stats.send_lag_p99
        if statistic == "mean":
            return max(0.0, found - float((lengths**2).sum()) / 2 / duration)
        # At worst the delayed calls are all above the percentile: then it is a lower percentile of the others.
        percent = PERCENTS.get(statistic, 100.0)
        others = max(0.0, (percent - 100 * share) / (1 - share)) if share < 1 else 0.0
        lower = histogram.percentile(others) if others else 0.0
        return max(0.0, found - min(longest, value(statistic) - lower))

    return value, without


def _rate_factor(run: Run) -> float:
    """Return by how much more a closed loop would have sent without the generator's delays.

    Each client sends its next call when the previous one has ended, so a delay is lost time of one client.
    """
    load = run.step.load
    busy = load.connections * max(run.duration - run.measurement_start, 1e-9)
    if len(run.samples):
        latencies = bound_latencies(run, "sent")
        reading = float(latencies.measured.sum() - without_lateness(latencies).sum())
        later = run.samples[run.samples["seq"] >= load.connections]  # all clients start at one instant: one is last
        delays = sending_delay(later[~np.isnan(later["sent"])])
        lost = reading + float(delays[delays > SHORTEST_STALL].sum())
    else:
        # A response that arrives in a stall waits for half of it on average.
        waited = sum((end - start) ** 2 / 2 for start, end in run.generator_stats.stalls.intervals)
        lost = load.connections * waited / max(run.duration, 1e-9)
    lost = min(max(0.0, lost), busy / 2)
    return busy / (busy - lost)
