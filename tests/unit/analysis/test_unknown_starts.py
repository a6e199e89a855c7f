"""Calls that may have been cold: unknown where the latencies do not tell, and CloudWatch's count stands."""

from dataclasses import replace

import numpy as np
import pytest

from loadgen.analysis.cold_start import StartLabel, label_cold_starts
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetrics
from loadgen.measurement.sample import SAMPLE
from loadgen.workload.load import ClosedLoop
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support import example_runs as made


def idle_between_calls(count, *, cloudwatch):
    """Return a run of one client that thinks for 15 minutes: every call of 6 s is cold."""
    samples = np.zeros(count, SAMPLE)
    samples["seq"], samples["scheduled"] = np.arange(count), 900.0 * np.arange(count)
    samples["sent"] = samples["scheduled"]
    samples["done"] = samples["sent"] + 6 * np.random.default_rng(count).lognormal(0, 0.12, count)
    run = made.run_of_samples(Step(ServerlessConfig(2048), ClosedLoop(1, count=count)), samples)
    setup = made.metric("ModelSetupTime", np.full(count, 8.4e6))
    return replace(run, metrics=CloudWatchMetrics({"ModelSetupTime": setup} if cloudwatch else {}, {}, True))


@pytest.mark.parametrize("count", [5, 12, 20, 60, 500])
def test_calls_that_may_all_be_cold_are_never_warm(count):
    """Every call was cold: the client cannot tell, and says unknown; with CloudWatch's count all of them are cold."""
    alone = label_cold_starts(idle_between_calls(count, cloudwatch=False))
    counted = label_cold_starts(idle_between_calls(count, cloudwatch=True))

    assert alone.count(StartLabel.UNKNOWN) == count
    assert counted.count(StartLabel.COLD) == count
    assert counted.is_consistent


@pytest.mark.parametrize("warm", ["sigma 1", "two kinds of calls"])
@pytest.mark.parametrize("cold_count", [None, 8])
def test_cold_calls_within_a_long_tail_are_not_warm(warm, cold_count):
    """Cold calls that are slower by five warm means, hidden in the tail: unknown without CloudWatch, cold with its count."""
    random = np.random.default_rng(5)
    tail = (
        random.lognormal(np.log(0.1), 1.0, 800) if warm == "sigma 1" else random.choice([0.1, 1.0], 800, p=[0.8, 0.2])
    )
    samples = np.zeros(800, SAMPLE)
    rounds = np.arange(800) // 8  # 8 clients that call in rounds; the calls of the first round are cold
    latency = tail + np.where(rounds == 0, 0.5, 0)
    samples["seq"] = np.arange(800)
    samples["sent"] = samples["scheduled"] = rounds * 20.0
    samples["done"] = samples["sent"] + latency
    run = made.run_of_samples(Step(ServerlessConfig(2048, 8), ClosedLoop(8, count=800)), samples)
    values = {} if cold_count is None else {"ModelSetupTime": made.metric("ModelSetupTime", np.full(cold_count, 8.4e6))}

    starts = label_cold_starts(replace(run, metrics=CloudWatchMetrics(values, {}, bool(values))))

    assert np.count_nonzero(starts.labels[:8] == StartLabel.WARM) == 0
    assert np.count_nonzero(starts.labels[8:] == StartLabel.COLD) == 0
    if cold_count:
        assert starts.count(StartLabel.COLD) == 8


@pytest.mark.parametrize(("counted", "cold", "unknown"), [(1, 1, 0), (0, 0, 1), (4, 1, 0)])
def test_the_count_of_cloudwatch_stands(counted, cold, unknown):
    """One clearly cold call. CloudWatch counted none: it is unknown; 4: no other call can have been cold, as is said."""
    run = made.stability_run(cold=1)
    setup = {"ModelSetupTime": made.metric("ModelSetupTime", np.full(counted, 6e6))} if counted else {}
    others = {name: value for name, value in run.metrics.values.items() if name != "ModelSetupTime"}
    run = replace(run, metrics=CloudWatchMetrics(others | setup, {}, True))

    starts = label_cold_starts(run)

    assert (starts.count(StartLabel.COLD), starts.count(StartLabel.UNKNOWN)) == (cold, unknown)
    assert starts.is_consistent == (counted == 1)


def test_the_faster_of_two_kinds_of_cold_calls_is_not_warm():
    """All 40 calls are cold, half of them with a slow payload: the gap between the kinds makes none of them warm."""
    run = idle_between_calls(40, cloudwatch=False)
    samples = run.samples.copy()
    samples["done"] = samples["sent"] + np.tile([0.3, 1.2], 20)

    starts = label_cold_starts(replace(run, samples=samples))

    assert starts.count(StartLabel.WARM) == 0
