"""Cold: tell which calls met a cold start, from what the client sees. AWS does not say.

Two signs must agree. A call can be cold only when a new instance was needed: it is among the first, or more calls were
under way than instances had been seen, or the instances had been idle. And its latency must stand apart from those of
the calls that cannot have been cold. What shows one sign and half of the other is `unknown`.

An instance serves one call at a time (SageMaker developer guide, "Serverless Inference"), so calls under way at once
count instances. Where CloudWatch's ModelSetupTime exists, its SampleCount is the cross-check, not the judge.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.histogram import Histogram
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.run import Run

IDLE_EXPIRY = 30.0  # seconds unused after which an instance may be gone. AWS publishes none; all reports are of minutes
COLD_RATIO = 3.0  # times the warm median from which a latency stands apart; measured cold starts are 20 to 100 times it
TIGHT_COLD_RATIO = (
    2.0  # the same where the warm latencies lie close together: five times as far out as the slowest of them
)
WARM_RATIO = 1.5  # times the warm median up to which a latency does not
MIN_WARM_CALLS = 5  # calls that cannot have been cold, to know the warm latencies by; and one in a hundred of all
_JITTER = 0.005  # seconds by which calls may overtake each other on their way
_BINS_PER_IDLE_EXPIRY = 8  # to an idle time: how finely forgetting an instance is timed
_CHUNK = 1 << 18


class StartLabel(IntEnum):
    """What a call found when it reached the endpoint."""

    WARM = 0
    COLD = 1
    UNKNOWN = 2
    NOT_SERVED = 3  # or never sent, or never answered: no instance is known to have served it


@dataclass(frozen=True, slots=True)
class ColdStartLabels:
    """Which calls of a run were cold.

    Args:
        labels: a Start for each sample, in the samples' order, shape (n,).
        cloudwatch_cold_starts: cold starts that CloudWatch counted over the same interval; None where that is not known.
    """

    labels: NDArray[np.uint8]
    cloudwatch_cold_starts: int | None

    def count(self, label: StartLabel) -> int:
        """Return how many calls have a label, warm-up and failures included."""
        return int(np.count_nonzero(self.labels == label))

    @property
    def is_consistent(self) -> bool | None:
        """True when the labels and CloudWatch can both be right; None when there is nothing to compare with."""
        if self.cloudwatch_cold_starts is None:
            return None
        return (
            self.count(StartLabel.COLD)
            <= self.cloudwatch_cold_starts
            <= self.count(StartLabel.COLD) + self.count(StartLabel.UNKNOWN)
        )


def label_cold_starts(run: Run, *, idle_expiry: float = IDLE_EXPIRY) -> ColdStartLabels:
    """Label each sample of a run as cold, warm or unknown. O(n log n); holds some 30 bytes for each sample.

    Args:
        run: with its samples.
        idle_expiry: seconds unused after which an instance may be gone.
    """
    samples, config = run.samples, run.step.config
    setups = _cloudwatch_cold_starts(run)
    labels = np.full(len(samples), StartLabel.NOT_SERVED, dtype=np.uint8)
    served = np.flatnonzero(_SERVED[samples["outcome"]]).astype(np.uint32)
    if not served.size:
        return ColdStartLabels(labels, setups)
    sent = np.asarray(samples["sent"][served])
    order = np.argsort(sent, kind="stable").astype(np.uint32)
    served, sent = served[order], sent[order]
    del order
    latency = (np.asarray(samples["done"][served]) - sent).astype(np.float32)  # to judge by, not to report
    slots = run.step.load.connections if config is None else min(config.max_concurrency, run.step.load.connections)
    labels[served] = _assign_labels(latency, _can_be_cold(sent, latency, slots, idle_expiry), slots)
    return ColdStartLabels(_resolve_unknown(labels, setups), setups)


def _is_served(outcome: Outcome) -> bool:
    """Tell whether an instance served the call: the model answered it, well or badly."""
    return outcome is Outcome.OK or (outcome.category is OutcomeCategory.FAILED and outcome < Outcome.DNS)


_OUTCOMES = {int(outcome): outcome for outcome in Outcome}
_SERVED = np.array([number in _OUTCOMES and _is_served(_OUTCOMES[number]) for number in range(256)])


def _cloudwatch_cold_starts(run: Run) -> int | None:
    """Return how many cold starts CloudWatch counted over this run; None where it does not know, or counted more.

    CloudWatch counts by the minute: two short runs on one endpoint share one. It then counted more calls than we sent,
    and its cold starts may be the other run's. Whether it counts refused calls is not published.
    """
    values = run.metrics.values
    sent = run.scheduled - run.tally.counts[Outcome.DROPPED] - run.tally.warmup[Outcome.DROPPED]
    if "Invocations" in values and values["Invocations"].total > sent:
        return None
    if "ModelSetupTime" in values:
        return round(values["ModelSetupTime"].sample_count)
    # No datapoint is what CloudWatch has for no cold start, provided that it has the run at all.
    return 0 if run.metrics.is_final and "ModelLatency" in values else None


def _can_be_cold(
    sent: NDArray[np.float64], latency: NDArray[np.float32], slots: int, idle_expiry: float
) -> NDArray[np.bool_]:
    """Tell which calls may have needed a new instance; columns ascend by `sent`, shape (n,).

    Three counts for each call: the most calls that can have been under way when it arrived (they may overtake each
    other on their way), the fewest that certainly were, and the most of the latter over the last idle time: the
    instances that were there already.
    """
    jitter = min(_JITTER, float(latency.min()) * 0.499)
    done = sent + latency
    done.sort()
    width = idle_expiry / _BINS_PER_IDLE_EXPIRY
    seen, top = _count_instances(sent, done, slots, jitter, width)
    older = np.zeros_like(top)
    for shift in range(1, _BINS_PER_IDLE_EXPIRY):
        older[shift:] = np.maximum(older[shift:], top[:-shift])
    possible = np.zeros(sent.size, dtype=bool)
    for part in _chunks(sent.size):
        now = sent[part]
        most = np.searchsorted(sent, now + jitter, side="right") - np.searchsorted(done, now)
        last = np.searchsorted(sent, now - jitter) - 1  # the call before it, as far as that can be told
        is_recent = (last >= 0) & (now - sent[last] <= idle_expiry)
        known = np.maximum(seen[last], older[_bin(sent[last], sent[0], width)])
        possible[part] = np.minimum(most, slots) > np.where(is_recent, known, 0)
    return possible


def _count_instances(
    sent: NDArray[np.float64],
    done: NDArray[np.float64],
    slots: int,
    jitter: float,
    width: float,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the most instances certainly seen in a call's bin up to the call, shape (n,), and in each whole bin."""
    seen = np.zeros(sent.size, dtype=np.int32)
    top = np.zeros(int(_bin(sent[-1:], sent[0], width)[0]) + 1, dtype=np.int32)
    carried = 0
    for part in _chunks(sent.size):
        now = sent[part]
        # Those whose answer came a way there and back after this one was sent were with the model when it got there.
        count = np.arange(part.start + 1, part.start + now.size + 1) - np.searchsorted(done, now + 2 * jitter)
        # A bin's number in the high digits makes one running maximum start anew in each bin.
        bins = _bin(now, sent[0], width)
        running = np.maximum(np.maximum.accumulate(np.minimum(count, slots) + (bins << 32)), carried)
        carried = int(running[-1])
        seen[part] = running & 0xFFFFFFFF
        np.maximum.at(top, bins, seen[part])
    return seen, top


def _bin(instants: NDArray[np.float64], origin: float, width: float) -> NDArray[np.int64]:
    return np.asarray(((instants - origin) / width).astype(np.int64))


def _chunks(size: int) -> Iterator[slice]:
    for start in range(0, size, _CHUNK):
        yield slice(start, min(size, start + _CHUNK))


def _assign_labels(latency: NDArray[np.float32], possible: NDArray[np.bool_], slots: int) -> NDArray[np.uint8]:
    """Label calls, shape (n,), by whether they can be cold and by how far their latency stands apart."""
    labels = np.full(latency.size, StartLabel.WARM, dtype=np.uint8)
    bounds = _latency_thresholds(latency, possible, slots)
    if bounds is None:
        labels[possible] = StartLabel.UNKNOWN
        return labels
    close, apart = bounds
    labels[possible & (latency > close)] = StartLabel.UNKNOWN
    labels[possible & (latency > apart)] = StartLabel.COLD
    return labels


def _latency_thresholds(
    latency: NDArray[np.float32], possible: NDArray[np.bool_], slots: int
) -> tuple[float, float] | None:
    """Return the latency up to which a call is warm, and the one from which it is cold; None where no one can tell.

    The more calls can be cold, the further out the slowest of the warm ones must be looked for: at most one of them
    should be taken for cold.
    """
    candidates = int(np.count_nonzero(possible))
    far = 100 * (1 - 1 / max(100, candidates))
    surely = _histogram(latency, ~possible)
    if surely.total >= max(MIN_WARM_CALLS, latency.size / 100):
        median, slow = surely.percentile(50), surely.percentile(far)
    elif latency.size >= max(20, 4 * slots):
        # Instances come and go all the time. Most calls are warm all the same: each cold one made an instance.
        everything = _histogram(latency, possible | ~possible)
        median = everything.percentile(50)
        slow = everything.value_at_rank(max(1, round(far / 100 * (latency.size - slots))))
    else:
        # Too few to know the warm ones by: look for one gap in all latencies.
        ascending = np.sort(latency.astype(np.float64))
        ratios = ascending[1:] / np.maximum(ascending[:-1], 1e-6)
        if not ratios.size or ratios.max() < COLD_RATIO:
            return None
        edge = float(ascending[int(ratios.argmax())])
        return edge, edge
    apart = min(COLD_RATIO * median, max(TIGHT_COLD_RATIO * median, median + 5 * (slow - median)))
    return max(slow, WARM_RATIO * median), max(slow, apart)


def _histogram(latency: NDArray[np.float32], chosen: NDArray[np.bool_]) -> Histogram:
    histogram = Histogram()
    for part in _chunks(latency.size):
        histogram.record_values(latency[part][chosen[part]].astype(np.float64))
    return histogram


def _resolve_unknown(labels: NDArray[np.uint8], cloudwatch_cold_starts: int | None) -> NDArray[np.uint8]:
    """Settle what is unknown where CloudWatch's count leaves one way only: none of them, or all of them."""
    unknown = labels == StartLabel.UNKNOWN
    rest = (
        None
        if cloudwatch_cold_starts is None
        else cloudwatch_cold_starts - int(np.count_nonzero(labels == StartLabel.COLD))
    )
    if rest == 0:
        labels[unknown] = StartLabel.WARM
    elif rest == np.count_nonzero(unknown):
        labels[unknown] = StartLabel.COLD
    return labels
