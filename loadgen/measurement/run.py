"""Run: the immutable record of one executed step, with its circumstances. Everything a person reads comes from these.

Values only. The engine makes them, results.py keeps them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.cloudwatch_metrics import Metrics
from loadgen.measurement.generator_stats import Watch
from loadgen.measurement.outcome import Column
from loadgen.measurement.sample import ANSWERED, SAMPLE, Code
from loadgen.measurement.tally import Tally
from loadgen.workload.load import OpenLoop
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class Worker:
    """What one worker did of one run.

    Args:
        name: which, such as `process 2` or a machine's address.
        watch: what its generator saw of itself.
        scheduled: requests that were due on it; each has exactly one outcome.
        ended_by: as in Run; `lost` when the worker went before its end.
        late: seconds after the common start at which it began.
        clock_bound: seconds by which its instants may be off against the other workers'; 0 where they share a clock.
        lost: why it went before its end; empty when it did not.
        unsent: requests of its share that were due after it was lost. Nobody sent them.
        repeats: how often its share was begun a second time by the machinery around it, and refused.
    """

    name: str
    watch: Watch = field(default_factory=Watch)
    scheduled: int = 0
    ended_by: str = ""
    late: float = 0.0
    clock_bound: float = 0.0
    lost: str = ""
    unsent: int = 0
    repeats: int = 0


NO_SAMPLES = np.empty(0, dtype=SAMPLE)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One executed step.

    Args:
        step: what was asked for.
        started: when, in seconds since the epoch.
        duration: seconds until the last answer was in, or given up.
        ended_by: `count`, `duration`, `schedule`, `errors`, `stop`, or `not deployed`.
        scheduled: requests that were due; each has exactly one outcome.
        tally: counts and histograms of all of them.
        per_window: answers by window and column (ok, throttled, failed), shape (windows, 3); empty windows are there.
        window: seconds of a window.
        measured_from: seconds from the start to the first request that counts: the end of the warm-up.
        codes: every error as its sender named it.
        watch: what the generator saw of itself; with several workers, the worst of each.
        workers: what each worker did and saw; empty when one process did it all.
        samples: each request, dtype SAMPLE; empty when they were not kept.
        failure: why there is nothing to show, such as the endpoint's FailureReason; empty when there is.
        endpoint: the endpoint's name.
        deployed_in: seconds from Create to InService.
        transport: which transport carried the requests.
        transport_note: why it is not the one asked for.
        metrics: CloudWatch's view of the same interval.
        ledger: the target's own counts over the run, where it keeps books.
        together: True when other endpoints were measured at the same time.
        damage: what was wrong with the run's files, in words.
    """

    step: Step
    started: float
    duration: float
    ended_by: str
    scheduled: int
    tally: Tally = field(default_factory=Tally)
    per_window: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, len(ANSWERED)), dtype=np.int64))
    window: float = 1.0
    measured_from: float = 0.0
    codes: tuple[Code, ...] = ()
    watch: Watch = field(default_factory=Watch)
    workers: tuple[Worker, ...] = ()
    samples: NDArray[np.void] = field(default_factory=lambda: NO_SAMPLES)
    failure: str = ""
    endpoint: str = ""
    deployed_in: float = 0.0
    transport: str = ""
    transport_note: str = ""
    metrics: Metrics = field(default_factory=Metrics)
    ledger: Mapping[str, int] | None = None
    together: bool = False
    damage: tuple[str, ...] = ()

    @property
    def is_open_loop(self) -> bool:
        """True when requests were sent on a schedule, so that response time differs from service time."""
        return isinstance(self.step.load, OpenLoop)

    def count(self, column: Column) -> int:
        """Return how many requests fall into a column, warm-up left out."""
        return self.tally.count(column)
