"""The series of a memory size: cost and latency of its warm ok calls, call by call, from a run."""

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.cold_start import StartLabel, label_cold_starts
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.analysis.size_choice import SizeSeries
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.measurement.run import Run
from loadgen.measurement.sample import WARMUP, in_category


def size_series(analyzed: RunAnalysis, *, is_priced: bool) -> SizeSeries | None:
    """Return the series of a run; None if its samples were not kept or none is a warm ok call.

    The service observes the billed duration as a mean only (CloudWatch). A call's billed duration is its service time
    less the difference of the means, which is the network's share and nearly constant.

    Args:
        analyzed: a run of the stability benchmark.
        is_priced: True for USD per call, False for GB-seconds.
    """
    cost, memory_mb = analyzed.cost, analyzed.memory_mb
    if cost is None or memory_mb is None or not len(analyzed.run.samples):
        return None
    latency = warm_latencies(analyzed.run)
    if np.isnan(latency).all():
        return None
    deviation = latency - float(np.nanmean(latency))
    if is_priced and cost.per_invocation is not None:
        return SizeSeries(memory_mb, cost.per_invocation + cost.usd_per_second * deviation, latency)
    return SizeSeries(memory_mb, memory_mb / 1024 * (cost.billed_duration + deviation), latency)


def warm_latencies(run: Run) -> NDArray[np.float64]:
    """Return the service times by the calls' numbers, shape (calls,); NaN where a call was not a warm ok one.

    Calls that cannot be told to be warm are left out, unless no call can be.
    """
    samples = np.asarray(run.samples)
    labels = label_cold_starts(run).labels
    counted = in_category(OutcomeCategory.OK, samples) & ((samples["flags"] & WARMUP) == 0)
    chosen = counted & (labels == StartLabel.WARM)
    if not chosen.any():
        chosen = counted
    latencies = np.full(int(samples["seq"].max()) + 1, np.nan)
    latencies[samples["seq"][chosen]] = (samples["done"] - samples["sent"])[chosen]
    return latencies
