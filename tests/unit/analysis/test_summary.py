"""Every number of a run, against numpy's order statistics and counts made by hand."""

import dataclasses
import math
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.analysis import summary
from loadgen.analysis.latency import PERCENTILES
from loadgen.analysis.summary import summarize
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.sample import SAMPLE, WARMUP
from loadgen.statistics.order_statistics import calls_needed
from loadgen.workload.arrivals import even
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support import example_runs as made
from tests.support.fleet_samples import sample_record

CLOSED = Step(ServerlessConfig(2048), ClosedLoop(1, count=1000))


def run_of(calls, step=CLOSED, **fields):
    """Return a run of (scheduled, sent, done, outcome) calls."""
    samples = np.array([sample_record(i, *call) for i, call in enumerate(calls)], dtype=SAMPLE)
    return made.run_of_samples(step, samples, **fields)


def one_after_another(latencies):
    """Return calls that begin when the one before is done."""
    ends = np.cumsum(latencies)
    return [(end - length, end - length, end, Outcome.OK) for end, length in zip(ends, latencies, strict=True)]


def floats_in(value):
    """Yield every float in a nested value."""
    if isinstance(value, float):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from floats_in(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from floats_in(key)
            yield from floats_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from floats_in(item)


EVERY_RUN = {
    "stable": made.stability_run,
    "cold": lambda: made.stability_run(cold=1),
    "cell": lambda: made.concurrency_run(4, 6),
    "failed_deploy": made.failed_deploy,
    "all_failed": made.all_failed,
    "out_of_memory": made.out_of_memory,
    "zero_samples": made.zero_samples,
    "one_sample": made.one_sample,
    "open_loop": made.open_loop,
    "dropping": lambda: made.open_loop(max_in_flight=2),
    "throttled open loop": lambda: made.open_loop(max_concurrency=1),
    "warmed_up": made.warmed_up,
    "starved": made.starved,
}


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("name", EVERY_RUN)
def test_all_values_are_finite_and_counts_add_up(name, kept):
    """No value is NaN or infinite, and scheduled = ok + throttled + failed + unfinished."""
    run = EVERY_RUN[name]()
    summary = summarize(run if kept else made.without_samples(run))

    assert all(math.isfinite(value) for value in floats_in(summary))
    assert summary.scheduled == summary.ok + summary.throttled + summary.failed + summary.unfinished
    assert summary.scheduled + summary.warmup == run.scheduled
    assert sum(summary.outcomes.values()) == summary.scheduled
    assert 0 not in summary.outcomes.values()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(1e-6, 100, allow_nan=False), min_size=1, max_size=500))
def test_latencies_are_numpy_s_order_statistics(latencies):
    """Minimum, mean, median, quartiles, maximum and percentiles equal numpy's."""
    run = run_of(one_after_another(latencies))
    values = run.samples["done"] - run.samples["sent"]

    found = summarize(run).service

    assert found.count == len(latencies)
    assert found.minimum == values.min()
    assert found.maximum == values.max()
    assert found.mean == pytest.approx(values.mean())
    assert found.median == pytest.approx(np.median(values))
    assert found.iqr == pytest.approx(np.subtract(*np.percentile(values, [75, 25])), abs=1e-12)
    for percent, percentile in found.percentiles.items():
        if percentile is not None:
            expected = {np.quantile(values, percent / 100 + wiggle, method="inverted_cdf") for wiggle in (-1e-12, 0)}
            assert percentile.value in expected
            assert percentile.low <= percentile.value <= percentile.high


def test_percentiles_with_too_few_calls_are_none():
    """p95 exists from 72 calls on, p99 from 368 on."""

    def carried(count):
        found = summarize(run_of(one_after_another(np.random.default_rng(1).uniform(0.1, 0.2, count)))).service
        return [percent for percent in PERCENTILES if found.percentiles[percent] is not None]

    assert carried(1) == []
    assert carried(5) == []
    assert carried(6) == [50.0]
    assert carried(71) == [50.0, 75.0, 90.0]
    assert carried(72) == [50.0, 75.0, 90.0, 95.0]
    assert carried(367) == [50.0, 75.0, 90.0, 95.0]
    assert carried(368) == [50.0, 75.0, 90.0, 95.0, 99.0]


@pytest.mark.parametrize("name", ["stable", "cold", "cell", "open_loop", "all_failed", "throttled open loop"])
def test_histograms_agree_within_a_thousandth(name):
    """Without samples, latencies from histograms differ by at most 0.1 % and 1 us; intervals, which assume independent
    calls then, lie within those of the samples."""
    run = EVERY_RUN[name]()
    exact, coarse = summarize(run), summarize(made.without_samples(run))

    for column in ("service", "response", "throttled_latency", "failed_latency"):
        one, other = getattr(exact, column), getattr(coarse, column)
        if one is None:
            assert other is None
            continue
        assert other.count == one.count
        for figure in ("minimum", "mean", "maximum"):
            assert getattr(other, figure) == pytest.approx(getattr(one, figure), rel=1.1e-3, abs=2e-6)
        for percent in PERCENTILES:
            a, b = one.percentiles[percent], other.percentiles[percent]
            assert (b is None) == (one.count < calls_needed(percent))
            if a is not None:
                assert b.value == pytest.approx(a.value, rel=1.1e-3, abs=2e-6)
                assert b.low >= a.low * 0.9989 - 2e-6
                assert b.high <= a.high * 1.0011 + 2e-6
            if one.effective_count == one.count and a is not None and percent == 50:
                assert (b.low, b.high) == pytest.approx((a.low, a.high), rel=1.1e-3, abs=2e-6)


def test_nothing_is_trimmed():
    """One call of 60 s among 200 of 0.1 s is the maximum and part of the mean."""
    run = run_of(one_after_another([60.0] + [0.1] * 199))

    found = summarize(run).service

    assert found.maximum == 60.0
    assert found.mean == pytest.approx((60 + 19.9) / 200)
    assert found.median == pytest.approx(0.1)


def test_each_category_has_its_own_latencies():
    """Latencies of ok, throttled and failed calls are never mixed; a drop has none."""
    calls = [
        (0.0, 0.0, 1.0, Outcome.OK),
        (1.0, 1.0, 1.02, Outcome.THROTTLED),
        (1.1, 1.1, 3.1, Outcome.MODEL_ERROR),
        (3.1, 3.1, 7.1, Outcome.RESET),
        (7.2, math.nan, 7.2, Outcome.DROPPED),
    ]

    found = summarize(run_of(calls))

    assert (found.ok, found.throttled, found.failed, found.unfinished) == (1, 1, 2, 1)
    assert found.service.maximum == pytest.approx(1.0)
    assert found.throttled_latency.maximum == pytest.approx(0.02)
    assert (found.failed_latency.count, found.failed_latency.mean) == (2, pytest.approx(3.0))
    assert found.outcomes[Outcome.RESET] == 1


def test_response_time_counts_from_the_schedule_in_an_open_loop_only():
    """Scheduled at 0, sent at 2, done at 3 s: the response time is 3 s in an open loop, 1 s in a closed one."""
    calls = [(0.0, 2.0, 3.0, Outcome.OK)]
    open_step = Step(ServerlessConfig(2048), OpenLoop(even(constant(1)), duration=1))

    scheduled, waiting = summarize(run_of(calls, open_step)), summarize(run_of(calls))

    assert (scheduled.service.mean, scheduled.response.mean) == (1.0, 3.0)
    assert waiting.response is waiting.service


def test_tps_counts_whole_seconds_including_empty_ones():
    """Responses at 0.2, 0.4, 0.6, 3.5 and 10.1 of 10.5 s are 3, 0, 0, 1 and then none per second."""
    calls = [(at - 0.1, at - 0.1, at, Outcome.OK) for at in (0.2, 0.4, 0.6, 3.5, 10.1)]

    tps = summarize(run_of(calls, duration=10.5)).tps

    assert (tps.seconds, tps.average, tps.p50, tps.maximum) == (10, 0.4, 0.0, 3.0)


def test_a_few_seconds_have_no_percentiles_of_tps():
    """9 whole seconds have an average and, from 8 on, its interval; quartiles and the maximum need 10."""
    calls = [(at, at, at + 0.05, Outcome.OK) for at in np.arange(0, 9.5, 0.13)]

    tps = summarize(run_of(calls, duration=9.5)).tps

    assert tps.seconds == 9
    assert (tps.p25, tps.p50, tps.p75, tps.maximum) == (None, None, None, None)
    assert tps.interval.low <= tps.average <= tps.interval.high
    assert summarize(run_of(calls[:30], duration=4.5)).tps.interval is None


def test_shares_have_intervals_with_and_without_samples():
    """One throttle of 20 calls is a share of 5 % with an interval of 0.3 to 22 % (mid-P tables); of none, None."""
    calls = one_after_another([0.1] * 19)
    calls.append((1.95, 1.95, 1.96, Outcome.THROTTLED))
    run = run_of(calls)

    for found in (summarize(run).shares, summarize(made.without_samples(run)).shares):
        assert found.throttled.value == 1 / 20
        assert (found.throttled.low, found.throttled.high) == pytest.approx((0.0025, 0.222), abs=0.001)
        assert (found.failed.value, found.failed.low) == (0, 0)
        assert found.failed.high == pytest.approx(1 - 0.025 ** (1 / 20))  # exact: 0.975 of runs would have shown one
        assert found.unfinished.count == 20
    dropped = run_of([(0.1, math.nan, 0.1, Outcome.DROPPED)])
    assert summarize(dropped).shares.throttled is None


def test_intervals_of_dependent_calls_are_wider():
    """Latencies that move slowly carry less than as many independent ones: the interval of the median is wider."""
    random = np.random.default_rng(4)
    slow = np.convolve(random.standard_normal(2019), np.ones(20) / 20**0.5, "valid")
    independent = summarize(run_of(one_after_another(0.1 * np.exp(0.2 * random.permutation(slow))))).service
    dependent = summarize(run_of(one_after_another(0.1 * np.exp(0.2 * slow)))).service

    assert independent.effective_count == independent.count == dependent.count == 2000
    assert dependent.effective_count < 400  # a moving average of 20 has an autocorrelation time of 20
    one, other = (found.percentiles[50.0] for found in (independent, dependent))
    assert other.high - other.low > 2 * (one.high - one.low)
    assert dependent.mean_interval.high - dependent.mean_interval.low > 2 * (
        independent.mean_interval.high - independent.mean_interval.low
    )
    assert dependent.percentiles[99.0] is None  # 368 independent calls are needed


def test_tps_excludes_the_warm_up():
    """Seconds are counted from the end of the warm-up."""
    calls = [(at - 0.1, at - 0.1, at, Outcome.OK) for at in (0.5, 1.2, 2.0, 2.4, 3.0, 3.6)]
    samples = np.array([sample_record(i, *call) for i, call in enumerate(calls)], dtype=SAMPLE)
    samples["flags"][:2] = WARMUP

    found = summarize(made.run_of_samples(CLOSED, samples, duration=3.9, measurement_start=1.5))

    assert found.warmup == 2
    assert (found.tps.seconds, found.tps.average) == (2, 1.5)  # 2.0 and 2.4, then 3.0
    assert found.measured_duration == pytest.approx(2.4)


def test_tps_of_an_open_loop_ends_with_its_schedule():
    """Waiting 9 s for a last response does not lower the TPS of 3 s of load."""
    step = Step(ServerlessConfig(2048), OpenLoop(even(constant(2)), duration=3))
    calls = [(at, at, at + 0.1, Outcome.OK) for at in (0.0, 0.5, 1.0, 1.5, 2.0)] + [(2.5, 2.5, 12.0, Outcome.OK)]

    tps = summarize(run_of(calls, step)).tps

    assert (tps.seconds, tps.average) == (3, pytest.approx(5 / 3))


def test_a_run_of_less_than_a_second_has_no_tps():
    """Without a whole second, tps is None."""
    assert summarize(run_of(one_after_another([0.3, 0.3]))).tps is None


@pytest.mark.parametrize(
    ("window", "counts"), [(1.0, [2, 4, 1] * 4), (0.5, [1, 1, 0, 4, 1, 0] * 4 + [7]), (2.0, [6, 2] * 5)]
)
def test_tps_from_windows_of_any_length(window, counts):
    """Without samples, windows are added up to seconds; longer windows are used as they are."""
    window_counts = np.array([[count, 0, 0] for count in counts])
    run = replace(
        made.without_samples(run_of(one_after_another([0.1]))),
        window_counts=window_counts,
        window=window,
        duration=len(counts) * window,
    )

    tps = summarize(run).tps

    expected = {1.0: [2, 4, 1] * 4, 0.5: [2, 4, 1] * 4, 2.0: [3, 1] * 5}[window]
    assert (tps.seconds, tps.average, tps.maximum) == (len(expected), np.mean(expected), max(expected))


def test_mean_sizes_cover_sent_requests_and_ok_responses():
    """Dropped requests and failed responses are not part of the mean sizes."""
    samples = np.array(
        [
            sample_record(0, 0, 0, 1, request_bytes=100, response_bytes=10),
            sample_record(1, 1, 1, 2, request_bytes=300, response_bytes=30),
            sample_record(2, 2, 2, 3, Outcome.MODEL_ERROR, request_bytes=500),
            sample_record(3, 3, math.nan, 3, Outcome.DROPPED, request_bytes=90_000),
        ],
        dtype=SAMPLE,
    )

    found = summarize(made.run_of_samples(CLOSED, samples))

    assert (found.request_bytes, found.response_bytes) == (300.0, 20.0)


def test_throttles_per_second_cover_the_measured_time():
    """Throttled calls are divided by the seconds after the warm-up."""
    run = made.concurrency_run(2, 4)

    found = summarize(run)

    assert found.throttled == run.server_counts["throttled"] > 50
    assert found.throttled_per_second == pytest.approx(run.server_counts["throttled"] / run.duration)


def test_cold_calls_are_separated():
    """The first call of a cold endpoint is the only cold one and not in the mean of the warm calls."""
    run = made.stability_run(cold=1)

    cold = summarize(run).cold_starts

    assert (cold.cold, cold.warm, cold.unknown) == (1, 199, 0)
    assert cold.cold_service.minimum > 5
    assert cold.warm_service.maximum < 0.2
    assert (cold.cloudwatch_cold_starts, cold.is_consistent) == (1, True)


def test_cold_calls_of_the_warm_up_are_excluded():
    """A cold call within the warm-up is not counted."""
    cold = summarize(made.warmed_up()).cold_starts

    assert (cold.cold, cold.warm) == (0, 190)


def test_chunk_size_does_not_change_the_summary(monkeypatch):
    """With chunks of seven samples the summary is the same."""
    runs = [made.concurrency_run(4, 6), made.open_loop(max_in_flight=3), made.warmed_up()]
    whole = [summarize(run) for run in runs]

    monkeypatch.setattr(summary, "_CHUNK", 7)
    monkeypatch.setattr("loadgen.analysis.cold_start._CHUNK", 11)

    assert [summarize(run) for run in runs] == whole


def test_memory_stays_below_a_copy_of_the_samples(monkeypatch, tmp_path):
    """Samples on disk are never copied as a whole: the peak is below two thirds of their size."""
    count = 200_000
    monkeypatch.setattr(summary, "_CHUNK", 4096)
    monkeypatch.setattr("loadgen.analysis.cold_start._CHUNK", 4096)
    samples = np.zeros(count, SAMPLE)
    samples["seq"] = np.arange(count)
    samples["scheduled"] = samples["sent"] = np.arange(count) / 1000
    samples["done"] = samples["sent"] + np.random.default_rng(3).lognormal(-2.3, 0.2, count)
    run = made.run_of_samples(Step(None, OpenLoop(even(constant(1000)), duration=200)), samples[:10])
    run.tally.record_samples(samples[10:], with_response=True)
    samples.tofile(tmp_path / "samples")
    del samples
    run = replace(run, samples=np.memmap(tmp_path / "samples", dtype=SAMPLE, mode="r"), duration=200.0)

    tracemalloc.start()
    found = summarize(run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert found.service.count == count
    assert peak < 40 * count


def test_latency_counts_equal_category_counts():
    """The count of a latency distribution is the number of calls of its category."""
    found = summarize(made.concurrency_run(8, 12))

    assert found.service.count == found.ok == found.outcomes[Outcome.OK]
    assert found.throttled_latency.count == found.throttled
    assert (
        sum(n for outcome, n in found.outcomes.items() if outcome.category is OutcomeCategory.FAILED)
        == found.failed
        == 0
    )
