"""Summary: every number that is derived from one run. Percentiles with intervals, TPS, shares, sizes.

Nothing is trimmed; a figure that the sample cannot carry is None, and is shown as a dash.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from loadgen.outcome import Outcome
from loadgen.runs import Run

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Percentile:
    """A percentile with its distribution-free 95 % confidence interval; seconds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Latency:
    """The distribution of the latencies of one column; seconds.

    Args:
        count: how many; at least 1.
        minimum: and the rest: exact where samples were kept, else within 0.1 %.
        mean: arithmetic.
        median: the middle.
        maximum: nothing is trimmed.
        iqr: third quartile minus first.
        percentiles: percent -> value with interval; None where the count cannot carry it.
    """

    count: int
    minimum: float
    mean: float
    median: float
    maximum: float
    iqr: float
    percentiles: Mapping[float, Percentile | None]


@dataclass(frozen=True, slots=True)
class Tps:
    """Answers per whole second, empty seconds included, without the partial first and last.

    Args:
        seconds: how many whole seconds were counted; at least 1.
        average: and the rest: ok answers per second over them.
    """

    seconds: int
    average: float
    p25: float
    p50: float
    p75: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run says.

    Args:
        scheduled: requests that were due, warm-up left out; it equals ok + throttled + failed + unfinished.
        ok: and the next three: how many fell into each column.
        outcomes: how many had each outcome; only those that occurred.
        warmup: calls left out of everything else here.
        service: service times of ok calls; None when there were none.
        response: response times of ok calls; in a closed loop the same as `service` by definition.
        refused: service times of throttled calls.
        failures: service times of failed calls.
        tps: None when the run has no whole second.
        throttled_per_second: over the measured time.
        request_bytes: mean payload size of all requests sent.
        response_bytes: mean size of ok answers; None when there were none.
        measured: seconds that the counts cover.
    """

    scheduled: int
    ok: int
    throttled: int
    failed: int
    unfinished: int
    outcomes: Mapping[Outcome, int]
    warmup: int
    service: Latency | None
    response: Latency | None
    refused: Latency | None
    failures: Latency | None
    tps: Tps | None
    throttled_per_second: float
    request_bytes: float
    response_bytes: float | None
    measured: float


def summarize(run: Run) -> Summary:
    """Derive every number of one run."""
    raise AssertionError(run)
