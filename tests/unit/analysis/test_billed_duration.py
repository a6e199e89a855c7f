"""The billed duration of a warm call: unbiased by cold calls, with an interval, and honest about its source."""

from dataclasses import replace

import numpy as np
import pytest

from loadgen.analysis.billed_duration import find_billed_duration
from loadgen.analysis.summary import summarize
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.measurement.sample import SAMPLE
from loadgen.workload.load import ClosedLoop
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support import example_runs as made

NETWORK = 0.0005
STEP = Step(ServerlessConfig(2048), ClosedLoop(1, count=1000))


def run_with(random, *, sigma, cold, count=1000):
    """Return a run of one client, and the true mean billed duration of its warm calls.

    Cold calls are the first, and others after idle minutes; CloudWatch has model, overhead and setup of all calls.
    """
    model = 0.02 * np.exp(0.1 * random.standard_normal(count))
    overhead = 0.02 * np.exp(sigma * random.standard_normal(count) - sigma * sigma / 2)
    is_cold = np.zeros(count, dtype=bool)
    is_cold[np.arange(cold) * count // max(cold, 1)] = True
    warm = (model + overhead)[~is_cold].mean() if cold < count else None
    overhead[is_cold] += random.lognormal(np.log(6), 0.1, cold)
    latency = model + overhead + NETWORK
    samples = np.zeros(count, SAMPLE)
    sent = np.concatenate(([0.0], np.cumsum(latency)[:-1])) + 600 * np.cumsum(is_cold)
    samples["seq"], samples["scheduled"], samples["sent"] = np.arange(count), sent, sent
    samples["first_byte"] = samples["done"] = sent + latency
    samples["request_bytes"], samples["response_bytes"] = 29_000, 201
    columns = {"ModelLatency": model, "OverheadLatency": overhead}
    if cold:
        columns["ModelSetupTime"] = overhead[is_cold] * 1.4  # exceeds the overhead, as on AWS
    metrics = CloudWatchMetrics({name: made.metric(name, column * 1e6) for name, column in columns.items()}, {}, True)
    return replace(made.run_of_samples(STEP, samples), metrics=metrics), warm


def billed(run):
    return find_billed_duration(run, summarize(run))


@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("cold", [0, 1, 5, 50])
def test_cold_calls_do_not_move_the_cost_of_warm_ones(sigma, cold):
    """Whatever the number of cold calls, the estimate is the mean of the warm calls, within 1 %."""
    run, warm = run_with(np.random.default_rng([cold, 3]), sigma=sigma, cold=cold)

    found = billed(run)

    assert found.warm == pytest.approx(warm, rel=0.01)
    assert found.interval.low < found.warm < found.interval.high
    assert found.source.startswith("CloudWatch: mean")
    assert ("cold" in found.source) == (cold > 0) or "no cold start" in found.source


def test_the_interval_covers_the_true_mean():
    """In at least 91 % of 150 runs with 5 cold calls the interval contains the expectation, 40 ms by construction."""
    truth = 0.02 * np.exp(0.005) + 0.02
    found = [billed(run_with(np.random.default_rng(seed), sigma=0.5, cold=5, count=300)[0]) for seed in range(150)]

    assert sum(one.interval.low <= truth <= one.interval.high for one in found) >= 137


def test_percentiles_of_cloudwatch_are_not_needed():
    """Two datapoints of an interval have no percentiles: the estimate is the same without them."""
    run, warm = run_with(np.random.default_rng(1), sigma=1.0, cold=1)
    values = {name: replace(metric, percentiles={}) for name, metric in run.metrics.values.items()}

    found = billed(replace(run, metrics=replace(run.metrics, values=values)))

    assert found.warm == billed(run).warm == pytest.approx(warm, rel=0.01)


def test_counts_that_do_not_match_are_said():
    """If CloudWatch averaged another set of calls, cold calls cannot be taken out: the client's mean is used, and said."""
    run, _ = run_with(np.random.default_rng(2), sigma=0.5, cold=5)
    overhead = replace(run.metrics.values["OverheadLatency"], sample_count=1500.0)
    metrics = replace(run.metrics, values=dict(run.metrics.values) | {"OverheadLatency": overhead})

    found = billed(replace(run, metrics=metrics))

    assert found.warm == pytest.approx(summarize(run).cold_starts.warm_service.mean)
    assert "CloudWatch averaged 1,500 calls, this step made 1,000" in found.source
    assert "network included" in found.source


@pytest.mark.parametrize(("size", "is_said"), [(29_000, False), (4_000_000, True)])
def test_the_transfer_of_large_bodies_is_said(size, is_said):
    """Without CloudWatch the service time has the transfer of the bodies, which is not billed; large ones are named."""
    run, _ = run_with(np.random.default_rng(2), sigma=0.5, cold=0)
    samples = run.samples.copy()
    samples["request_bytes"] = size

    found = billed(replace(run, samples=samples, metrics=made.NO_METRICS))

    assert ("4.0 MB per call, which AWS does not bill" in found.source) == is_said
    assert "AccessDenied" in found.source
    assert found.warm == pytest.approx((samples["done"] - samples["sent"]).mean())


def test_without_samples_cold_calls_are_included():
    """Without samples cold and warm calls cannot be told apart: the mean of all calls is taken, and said."""
    run, _ = run_with(np.random.default_rng(2), sigma=0.5, cold=5)

    found = billed(made.without_samples(run))

    assert found.warm == found.with_cold_starts
    assert "not told apart" in found.source


def test_without_a_warm_call_nothing_is_taken_out():
    """When every call was cold, the mean of all calls is taken, and the source says that none is known to be warm."""
    run, _ = run_with(np.random.default_rng(2), sigma=0.3, cold=12, count=12)

    found = billed(run)

    assert found.warm == found.with_cold_starts
    assert "none of 12 calls is known to be warm" in found.source
