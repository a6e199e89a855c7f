"""Billed duration of a warm call: one estimator, whatever the number of cold calls.

What is billed is a sum over calls, so the estimate is a mean of warm calls. CloudWatch does not separate cold and warm
calls; the client does. The mean service time of all calls exceeds the mean billed duration by the network, which is the
same for cold and warm calls, so the network is subtracted from the mean service time of the warm ones:

    warm = client's mean of warm calls - (client's mean of all calls - CloudWatch's mean of all calls)

Refused: percentiles of OverheadLatency (of a skewed overhead they are 2 to 30 % below the mean), its trimmed mean
(needs the share of cold calls of each datapoint), and subtracting ModelSetupTime (it exceeds the overhead that it is
part of).
"""

from dataclasses import dataclass, replace

from loadgen.analysis.latency import Latency
from loadgen.analysis.summary import Summary
from loadgen.measurement.run import Run
from loadgen.statistics.interval import Interval

_LARGE_BODIES = 100_000  # bytes of request and response whose transfer takes milliseconds
_TOLERATED_DIFFERENCE = 0.02  # of the numbers of calls that CloudWatch and the client averaged


@dataclass(frozen=True, slots=True)
class BilledDuration:
    """Billed duration of a call.

    Args:
        warm: mean seconds of a warm call.
        with_cold_starts: mean seconds of all calls; None if unknown.
        source: how the value was determined, human-readable.
        interval: 95 % interval of `warm`; None with too few warm calls.
    """

    warm: float
    with_cold_starts: float | None
    source: str
    interval: Interval | None = None


def find_billed_duration(run: Run, summary: Summary) -> BilledDuration | None:
    """Return the billed duration from CloudWatch if it has the run, else from the client's service times.

    Returns None if no call was successful and CloudWatch has no datapoint.
    """
    metrics = run.metrics
    model, overhead = metrics.values.get("ModelLatency"), metrics.values.get("OverheadLatency")
    if model is None or overhead is None:
        reason = metrics.unavailable.get("ModelLatency") or metrics.unavailable.get("OverheadLatency") or "not queried"
        return _from_client(summary, f"CloudWatch unavailable: {reason}")
    mean = (model.average + overhead.average) / 1e6
    source = "CloudWatch: mean of ModelLatency + OverheadLatency"
    starts = summary.cold_starts
    if starts is None or starts.served_service_mean is None:
        return BilledDuration(mean, mean, f"{source}; cold and warm calls are not told apart without samples")
    warm, not_warm = starts.warm_service, starts.cold + starts.unknown
    if not not_warm or warm is None:
        known = "no cold start was recorded" if not not_warm else f"none of {not_warm:,} calls is known to be warm"
        interval = None if summary.service is None else _shifted(summary.service, mean)
        return BilledDuration(mean, mean, f"{source} ({known})", interval)
    if abs(overhead.sample_count - starts.served) > max(1, _TOLERATED_DIFFERENCE * starts.served):
        counts = f"CloudWatch averaged {overhead.sample_count:,.0f} calls, this step made {starts.served:,}"
        found = _from_client(summary, counts)
        return found and replace(found, with_cold_starts=mean)
    value = warm.mean - (starts.served_service_mean - mean)
    kinds = " and ".join(
        f"{count:,} {kind}" for count, kind in ((starts.cold, "cold"), (starts.unknown, "unknown")) if count
    )
    source += f", less what {kinds} of {starts.served:,} calls add to it (client's service times)"
    return BilledDuration(value, mean, source, _shifted(warm, value))


def _from_client(summary: Summary, reason: str) -> BilledDuration | None:
    if summary.service is None:
        return None
    which, latency = "all calls", summary.service
    if summary.cold_starts is not None and summary.cold_starts.warm_service is not None:
        which, latency = "warm calls", summary.cold_starts.warm_service
    size = summary.request_bytes + (summary.response_bytes or 0.0)
    transfer = ""
    if size > _LARGE_BODIES:
        transfer = f" and the transfer of {size / 1e6:,.1f} MB per call, which AWS does not bill, so this is too much"
    source = f"the client's mean service time of {which}, network included{transfer} ({reason})"
    return BilledDuration(latency.mean, summary.service.mean, source, _shifted(latency, latency.mean))


def _shifted(latency: Latency, value: float) -> Interval | None:
    """Return the interval of the client's mean, moved to another value: the network varies little."""
    found = latency.mean_interval
    if found is None or found.low is None or found.high is None:
        return None
    return replace(found, value=value, low=found.low + value - found.value, high=found.high + value - found.value)
