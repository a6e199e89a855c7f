"""Cold-start detection from client-side observations; AWS does not report which calls were cold.

A call is `cold` if two conditions hold. First, a new instance may have been needed: the call is among the first, or
more calls were in flight than instances had been seen, or the instances had been idle. Second, its latency is far
above that of calls that cannot have been cold. A call with the first condition whose latency is not that of a typical
warm call either is `unknown`, and so is every call where no call is known to be warm.

An instance serves one call at a time (SageMaker developer guide, "Serverless Inference"), so concurrent calls count
instances. The SampleCount of CloudWatch's ModelSetupTime resolves unknown calls, and stands where it disagrees.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.histogram import Histogram
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.run import Run

# Idle seconds after which an instance may have been removed. AWS publishes no value; all reports are of minutes.
IDLE_EXPIRY = 30.0
# A latency above this multiple of the warm median is cold; measured cold starts are 20 to 100 times the warm median.
COLD_RATIO = 3.0
# The same where warm latencies are close together: the cold threshold is five times as far from the median as the
# slowest warm call.
TIGHT_COLD_RATIO = 2.0
WARM_RATIO = 1.5  # a latency up to this multiple of the warm median is warm
# A slower one is warm if it is among the usual warm latencies, but not above this multiple of their median: where warm
# latencies have a long tail, cold ones lie within it.
MAX_WARM_RATIO = 2.1
MIN_WARM_CALLS = 5  # certainly warm calls needed to know the warm latencies; and at least 1 % of all calls
_JITTER = 0.005  # seconds by which calls may overtake each other in the network
_BINS_PER_IDLE_EXPIRY = 8  # time resolution of the expiry of instances
_CHUNK = 1 << 18  # calls per chunk


class StartLabel(IntEnum):
    """Cold-start label of a call."""

    WARM = 0
    COLD = 1
    UNKNOWN = 2
    NOT_SERVED = 3  # throttled, not sent or without response: not known to have reached an instance


@dataclass(frozen=True, slots=True)
class ColdStartLabels:
    """Cold-start labels of the calls of a run.

    Args:
        labels: a StartLabel per sample, in the order of the samples, shape (n,).
        cloudwatch_cold_starts: cold starts that CloudWatch counted over the same interval; None if unknown.
        is_consistent: whether the client's observations agree with CloudWatch's count; None if that is unknown.
            If not, CloudWatch's count stands: more calls are unknown, or fewer cold.
    """

    labels: NDArray[np.uint8]
    cloudwatch_cold_starts: int | None
    is_consistent: bool | None

    def count(self, label: StartLabel) -> int:
        """Return the number of calls with a label, including warm-up and failures."""
        return int(np.count_nonzero(self.labels == label))


def label_cold_starts(run: Run, *, idle_expiry: float = IDLE_EXPIRY) -> ColdStartLabels:
    """Label each sample of a run as cold, warm or unknown. O(n log n); needs about 30 bytes per sample.

    Args:
        run: a run with samples.
        idle_expiry: idle seconds after which an instance may have been removed.
    """
    samples, config = run.samples, run.step.config
    counted = _cloudwatch_cold_starts(run)
    labels = np.full(len(samples), StartLabel.NOT_SERVED, dtype=np.uint8)
    served = np.flatnonzero(_SERVED[samples["outcome"]]).astype(np.uint32)
    if not served.size:
        return ColdStartLabels(labels, counted, None if counted is None else counted == 0)
    # Real time: an instance is idle while other steps are measured, although the run's clock stands still.
    sent = run.real_elapsed(np.asarray(samples["sent"][served]), samples["seq"][served])
    order = np.argsort(sent, kind="stable").astype(np.uint32)
    served, sent = served[order], sent[order]
    del order
    latency = (samples["done"][served] - samples["sent"][served]).astype(np.float32)  # only compared, never reported
    slots = run.step.load.connections if config is None else min(config.max_concurrency, run.step.load.connections)
    possible = _can_be_cold(sent, latency, slots, idle_expiry)
    # Each slot starts an instance, and again when it was idle for long enough.
    max_starts = slots * (1 + int((sent[-1] - sent[0]) / idle_expiry))
    assigned = _assign_labels(latency, possible, max_starts)
    is_consistent = None if counted is None else _is_consistent(assigned, counted)
    if counted is not None:
        _apply_count(assigned, latency, possible, counted)
    labels[served] = assigned
    return ColdStartLabels(labels, counted, is_consistent)


def _is_served(outcome: Outcome) -> bool:
    """Tell whether an instance served the call, successfully or not."""
    return outcome is Outcome.OK or (outcome.category is OutcomeCategory.FAILED and outcome < Outcome.DNS)


_OUTCOMES = {int(outcome): outcome for outcome in Outcome}
_SERVED = np.array([number in _OUTCOMES and _is_served(_OUTCOMES[number]) for number in range(256)])


def _cloudwatch_cold_starts(run: Run) -> int | None:
    """Return the cold starts that CloudWatch counted during this run; None if unknown.

    CloudWatch counts per minute, so two short runs on one endpoint share a datapoint. Then it has more invocations than
    this run sent, and its cold starts may belong to the other run. Whether it counts throttled calls is not published.
    """
    values = run.metrics.values
    sent = run.scheduled - run.tally.counts[Outcome.DROPPED] - run.tally.warmup[Outcome.DROPPED]
    if "Invocations" in values and values["Invocations"].total > sent:
        return None
    if "ModelSetupTime" in values:
        return round(values["ModelSetupTime"].sample_count)
    # Without a cold start CloudWatch has no datapoint; ModelLatency shows that it has the run.
    return 0 if run.metrics.is_final and "ModelLatency" in values else None


def _can_be_cold(
    sent: NDArray[np.float64], latency: NDArray[np.float32], slots: int, idle_expiry: float
) -> NDArray[np.bool_]:
    """Tell which calls may have needed a new instance; arrays are sorted by `sent`, shape (n,).

    Compares, per call, the largest possible number of calls in flight at its arrival (calls may overtake each other)
    with the number of instances certainly seen during the last `idle_expiry` seconds.
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
        last = np.searchsorted(sent, now - jitter) - 1  # the latest call that certainly preceded it
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
    """Return the number of instances certainly seen in a call's bin up to the call, shape (n,), and in each bin."""
    seen = np.zeros(sent.size, dtype=np.int32)
    top = np.zeros(int(_bin(sent[-1:], sent[0], width)[0]) + 1, dtype=np.int32)
    carried = 0
    for part in _chunks(sent.size):
        now = sent[part]
        # Calls whose response arrived a round trip after this call was sent were at the model when it arrived there.
        count = np.arange(part.start + 1, part.start + now.size + 1) - np.searchsorted(done, now + 2 * jitter)
        # The bin number in the high bits makes one running maximum start again in each bin.
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


def _assign_labels(latency: NDArray[np.float32], possible: NDArray[np.bool_], max_starts: int) -> NDArray[np.uint8]:
    """Label calls, shape (n,), by whether they can be cold and by their latency; at most `max_starts` can be cold."""
    labels = np.full(latency.size, StartLabel.WARM, dtype=np.uint8)
    thresholds = _latency_thresholds(latency, possible, max_starts)
    if thresholds is None:
        labels[possible] = StartLabel.UNKNOWN
        return labels
    max_warm, min_cold = thresholds
    labels[possible & (latency > max_warm)] = StartLabel.UNKNOWN
    labels[possible & (latency > min_cold)] = StartLabel.COLD
    return labels


def _latency_thresholds(
    latency: NDArray[np.float32], possible: NDArray[np.bool_], max_starts: int
) -> tuple[float, float] | None:
    """Return the latency up to which a call is warm and the one above which it is cold; None if unknown.

    The percentile that bounds the warm latencies rises with the number of calls that can be cold, so that about one
    warm call at most is labelled cold.
    """
    candidates = int(np.count_nonzero(possible))
    percent = 100 * (1 - 1 / max(100, candidates))
    certainly_warm = _histogram(latency, ~possible)
    if certainly_warm.total >= max(MIN_WARM_CALLS, latency.size / 100):
        median, slow = certainly_warm.percentile(50), certainly_warm.percentile(percent)
    elif latency.size >= max(20, 4 * max_starts):
        # Most calls are warm even if instances come and go, because each cold one created an instance.
        all_calls = _histogram(latency, possible | ~possible)
        median = all_calls.percentile(50)
        slow = all_calls.value_at_rank(max(1, round(percent / 100 * (latency.size - max_starts))))
    else:
        # Too few warm calls: look for one gap in all latencies.
        ascending = np.sort(latency.astype(np.float64))
        ratios = ascending[1:] / np.maximum(ascending[:-1], 1e-6)
        if not ratios.size or ratios.max() < COLD_RATIO:
            return None
        edge = float(ascending[int(ratios.argmax())])
        return edge, edge
    min_cold = min(COLD_RATIO * median, max(TIGHT_COLD_RATIO * median, median + 5 * (slow - median)))
    max_warm = max(WARM_RATIO * median, min(slow, MAX_WARM_RATIO * median))
    return max_warm, max(slow, min_cold)


def _histogram(latency: NDArray[np.float32], chosen: NDArray[np.bool_]) -> Histogram:
    histogram = Histogram()
    for part in _chunks(latency.size):
        histogram.record_values(latency[part][chosen[part]].astype(np.float64))
    return histogram


def _is_consistent(labels: NDArray[np.uint8], cloudwatch_cold_starts: int) -> bool:
    cold = int(np.count_nonzero(labels == StartLabel.COLD))
    unknown = int(np.count_nonzero(labels == StartLabel.UNKNOWN))
    return cold <= cloudwatch_cold_starts <= cold + unknown


def _apply_count(
    labels: NDArray[np.uint8], latency: NDArray[np.float32], possible: NDArray[np.bool_], cloudwatch_cold_starts: int
) -> None:
    """Change labels, shape (n,), in place so that they do not contradict CloudWatch's count.

    With fewer cold starts than cold calls, only the slowest stay cold. With more, every call that can have been cold is
    unknown. Unknown calls are warm or cold if the count shows that none or all of them are cold.
    """
    cold = np.flatnonzero(labels == StartLabel.COLD)
    if cold.size > cloudwatch_cold_starts:
        fastest = np.argsort(latency[cold], kind="stable")[: cold.size - cloudwatch_cold_starts]
        labels[cold[fastest]] = StartLabel.UNKNOWN
        return
    unknown = labels == StartLabel.UNKNOWN
    if cold.size + np.count_nonzero(unknown) < cloudwatch_cold_starts:
        unknown = possible & (labels != StartLabel.COLD)
        labels[unknown] = StartLabel.UNKNOWN
    remaining = cloudwatch_cold_starts - cold.size
    if remaining == 0:
        labels[unknown] = StartLabel.WARM
    elif remaining == np.count_nonzero(unknown):
        labels[unknown] = StartLabel.COLD
