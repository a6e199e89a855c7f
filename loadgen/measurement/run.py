"""Run: the immutable record of one executed step. Analysis and reports are functions of runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.block import Block, block_indices
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.measurement.generator_stats import GeneratorStats
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, OutcomeCategory
from loadgen.measurement.sample import SAMPLE, ErrorCode
from loadgen.measurement.tally import Tally
from loadgen.workload.load import OpenLoop
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What one worker contributed to a run.

    Args:
        name: name of the worker, such as `process 2` or a host's address.
        generator_stats: self-monitoring of the worker.
        scheduled: number of requests that were due on the worker; each has exactly one outcome.
        stop_reason: as in Run; `lost` when the worker was lost before the end.
        start_delay: seconds by which the worker started after the common start.
        clock_uncertainty: maximum error of the worker's instants relative to the other workers, in seconds; 0 when they
            share a clock.
        lost_reason: why the worker was lost; empty when it was not.
        unsent: number of requests of its shard that were due after it was lost, which no worker sent.
        duplicate_starts: how often its shard was started again, for instance by a scheduler; each was rejected.
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
    """The record of one executed step.

    Args:
        step: the step that was executed.
        started: start of the run, in seconds since the epoch.
        duration: seconds until the last request completed or was cancelled; without the time between blocks.
        stop_reason: `count`, `duration`, `schedule`, `errors`, `decided`, `stop`, `lost` or `not deployed`.
        scheduled: number of requests that were due; each has exactly one outcome.
        tally: counts and histograms of all requests.
        window_counts: completed requests by window and category (ok, throttled, failed), shape (windows, 3), windows
            without requests included.
        window: length of a window, in seconds.
        measurement_start: end of the warm-up: seconds from the start until the first counted request was due.
        error_codes: every distinct error of the run.
        generator_stats: self-monitoring of the generator; merged when there are several workers.
        workers: a report of each worker; empty when a single process ran the step.
        samples: every request, dtype SAMPLE; empty when samples were not kept.
        failure: why nothing, or only a part, was measured: the endpoint's FailureReason, or how it was lost; empty
            otherwise.
        endpoint: the endpoint's name.
        region: AWS region of the endpoint.
        deploy_duration: seconds from CreateEndpoint to InService.
        transport: name of the transport that carried the requests.
        transport_note: why it differs from the requested transport.
        metrics: the endpoint's CloudWatch metrics of the same interval.
        server_counts: server-side counts of the run, or None if the target has none.
        together: True when other endpoints were measured at the same time.
        blocks: the blocks of a step that was measured in rounds, in order; empty when it was measured in one piece.
        stop_detail: why a policy ended the step, human-readable; empty otherwise.
        data_errors: human-readable errors found in the run's files.
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
    region: str = ""
    deploy_duration: float = 0.0
    transport: str = ""
    transport_note: str = ""
    metrics: CloudWatchMetrics = field(default_factory=CloudWatchMetrics)
    server_counts: Mapping[str, int] | None = None
    together: bool = False
    blocks: tuple[Block, ...] = ()
    stop_detail: str = ""
    data_errors: tuple[str, ...] = ()

    @property
    def is_open_loop(self) -> bool:
        """True when requests were sent on a schedule, so response time differs from service time."""
        return isinstance(self.step.load, OpenLoop)

    def count(self, category: OutcomeCategory) -> int:
        """Return the number of requests in a category, without the warm-up."""
        return self.tally.count(category)

    @property
    def ended(self) -> float:
        """End of the run on the wall clock, in seconds since the epoch."""
        if not self.blocks:
            return self.started + self.duration
        last = self.blocks[-1]
        return last.started + self.duration - last.offset

    def real_elapsed(self, instants: NDArray[np.float64], seqs: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return the real time that had passed since the run's start, the time between its blocks included.

        Args:
            instants: on the run's clock, seconds, shape (n,).
            seqs: numbers of the requests that the instants belong to, shape (n,).

        Returns:
            Seconds, shape (n,); `started` plus these is the wall clock.
        """
        if not self.blocks:
            return instants
        shifts = np.array([block.started - self.started - block.offset for block in self.blocks])
        return np.asarray(instants + shifts[block_indices(self.blocks, seqs)])
