"""Run: the immutable record of one executed step, with its circumstances. Everything a person reads comes from these.

Values only. The engine makes them, results.py keeps them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, OutcomeCategory
from loadgen.measurement.sample import SAMPLE, ErrorCode
from loadgen.measurement.tally import Tally
from loadgen.workload.load import OpenLoop
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What one worker did of one run.

    Args:
        name: which, such as `process 2` or a machine's address.
        generator_stats: what its generator saw of itself.
        scheduled: requests that were due on it; each has exactly one outcome.
        stop_reason: as in Run; `lost_reason` when the worker went before its end.
        start_delay: seconds after the common start at which it began.
        clock_uncertainty: seconds by which its instants may be off against the other workers'; 0 where they share a clock.
        lost_reason: why it went before its end; empty when it did not.
        unsent: requests of its share that were due after it was lost. Nobody sent them.
        duplicate_starts: how often its share was begun a second time by the machinery around it, and refused.
    """

    name: str
    generator_stats: GeneratorStats = field(default_factory=GeneratorStats)
    scheduled: int = 0
    stop_reason: str = ""
    start_delay: float = 0.0
    clock_uncertainty: float = 0.0
    lost_reason: str = ""
    unsent: int = 0
    duplicate_starts: int = 0


NO_SAMPLES = np.empty(0, dtype=SAMPLE)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One executed step.

    Args:
        step: what was asked for.
        started: when, in seconds since the epoch.
        duration: seconds until the last answer was in, or given up.
        stop_reason: `count`, `duration`, `schedule`, `errors`, `stop`, or `not deploy_endpoint`.
        scheduled: requests that were due; each has exactly one outcome.
        tally: counts and histograms of all of them.
        window_counts: answers by window and column (ok, throttled, failed), shape (windows, 3); empty windows are there.
        window: seconds of a window.
        measurement_start: seconds from the start to the first request that counts: the end of the warm-up.
        error_codes: every error as its sender named it.
        generator_stats: what the generator saw of itself; with several workers, the worst of each.
        workers: what each worker did and saw; empty when one process did it all.
        samples: each request, dtype SAMPLE; empty when they were not kept.
        failure: why there is nothing to show, such as the endpoint's FailureReason; empty when there is.
        endpoint: the endpoint's name.
        deploy_duration: seconds from Create to InService.
        transport: which transport carried the requests.
        transport_note: why it is not the one asked for.
        metrics: CloudWatch's view of the same interval.
        server_counts: the target's own counts over the run, where it keeps books.
        together: True when other endpoints were measured at the same time.
        data_errors: what was wrong with the run's files, in words.
    """

    step: Step
    started: float
    duration: float
    stop_reason: str
    scheduled: int
    tally: Tally = field(default_factory=Tally)
    window_counts: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((0, len(COMPLETED_CATEGORIES)), dtype=np.int64)
    )
    window: float = 1.0
    measurement_start: float = 0.0
    error_codes: tuple[ErrorCode, ...] = ()
    generator_stats: GeneratorStats = field(default_factory=GeneratorStats)
    workers: tuple[WorkerReport, ...] = ()
    samples: NDArray[np.void] = field(default_factory=lambda: NO_SAMPLES)
    failure: str = ""
    endpoint: str = ""
    deploy_duration: float = 0.0
    transport: str = ""
    transport_note: str = ""
    metrics: CloudWatchMetrics = field(default_factory=CloudWatchMetrics)
    server_counts: Mapping[str, int] | None = None
    together: bool = False
    data_errors: tuple[str, ...] = ()

    @property
    def is_open_loop(self) -> bool:
        """True when requests were sent on a schedule, so that response time differs from service time."""
        return isinstance(self.step.load, OpenLoop)

    def count(self, category: OutcomeCategory) -> int:
        """Return how many requests fall into a column, warm-up left out."""
        return self.tally.count(category)
