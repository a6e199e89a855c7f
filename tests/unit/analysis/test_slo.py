"""SLOs: their metrics, and when they are met, violated or not evaluated."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.cost import cost_of_run
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.slo import Slo, SloStatus, check_slos
from loadgen.analysis.slo_metrics import METRICS
from loadgen.analysis.summary import summarize
from loadgen.errors import UsageError
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE, WARMUP
from loadgen.statistics.interval import Interval
from loadgen.workload.arrivals import even
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support import example_runs as made


def check(slo, run, region="us-east-1"):
    summary = summarize(run)
    cost = cost_of_run(run, summary, PriceBook.builtin(), region)
    (found,) = check_slos([slo], run=run, summary=summary, cost=cost)
    return found


def figure(metric, run):
    return check(Slo(metric, at_least=0), run).value


def test_every_metric_can_be_read_from_a_long_run():
    """A run of ten thousand calls has a finite value for every metric."""
    run = made.open_loop(rate=200, duration=50, max_concurrency=60)

    assert all(math.isfinite(figure(metric, run)) for metric in METRICS)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "run",
    [made.all_failed(), made.zero_samples(), made.one_sample(), made.failed_deploy()],
    ids=lambda r: r.stop_reason,
)
def test_an_slo_without_value_is_not_met(metric, run):
    """An SLO without a value is not met, and the reason says why; no value is NaN."""
    found = check(Slo(metric, at_most=1e9), run)

    assert found.value is not None or not found.is_met
    assert found.is_met == (found.status is SloStatus.MET)
    assert found.value is None or math.isfinite(found.value)
    accepting = check(Slo(metric, at_most=1e9, on_undecided="pass"), run)
    assert "not evaluated" not in accepting.reason or not accepting.is_met


def test_shares_refer_to_the_responses():
    """The throttle share equals that of the simulation: throttled / (ok + throttled)."""
    run = made.concurrency_run(2, 4)
    counts = run.server_counts

    assert figure("throttle_share", run) == counts["throttled"] / (counts["ok"] + counts["throttled"])
    assert figure("failure_share", run) == 0
    assert figure("failure_share", made.all_failed()) == 1
    assert figure("dropped_share", made.open_loop(max_in_flight=2)) == pytest.approx(189 / 600)


def test_latencies_are_those_of_the_summary():
    """In an open loop response times exceed service times by the send lag."""
    run = made.open_loop(rate=50, duration=20)
    samples = run.samples.copy()
    samples["scheduled"] -= 0.5
    late = replace(run, samples=samples)

    assert figure("response_mean", late) == pytest.approx(figure("service_mean", late) + 0.5, abs=0.001)
    assert figure("service_p99", run) == summarize(run).service.percentiles[99.0].value
    assert figure("service_max", run) == summarize(run).service.maximum


def test_a_percentile_needs_enough_calls():
    """200 calls have no p99, so an SLO on it is not met, and the reason has both numbers."""
    found = check(Slo("service_p99", at_most=10), made.stability_run(count=200))

    assert not found.is_met
    assert "p99 needs 368 ok calls, got 200" in found.reason
    assert check(Slo("service_p99", at_most=10), made.stability_run(count=400)).is_met


@given(value=st.floats(0, 10), low=st.floats(0, 10), high=st.floats(0, 10))
def test_limits_are_inclusive(value, low, high):
    """A value equal to a limit meets the SLO."""
    low, high = sorted((low, high))

    slo = Slo("tps_average", at_least=low, at_most=high)
    exact = Interval(value, value, value, 100, None)

    assert (slo.status_of(exact) is SloStatus.MET) == (not value < low and not value > high)
    assert slo.status_of(exact) is not SloStatus.UNDECIDED


def test_an_slo_on_cost_needs_a_price():
    """4.51 USD meet a limit of 5; without a price the SLO is not evaluated."""
    assert check(Slo("cost_per_million", at_most=5), made.stability_run()).is_met
    assert not check(Slo("cost_per_million", at_most=4), made.stability_run()).is_met
    assert "no serverless price" in check(Slo("cost_per_million", at_most=5), made.stability_run(), "eu-north-1").reason
    assert "no successful responses" in check(Slo("cost_per_million", at_most=5), made.all_failed()).reason


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("latency",), "known metrics"),
        (("service_p99",), "without a limit"),
        (("service_p99", math.nan), "without a limit"),
        (("service_p99", None, math.inf), "without a limit"),
        (("service_p99", 1, 2), "at least 2 and at most 1"),
    ],
)
def test_an_invalid_slo_is_rejected(arguments, words):
    """An unknown metric or a missing limit is a UsageError."""
    with pytest.raises(UsageError) as caught:
        Slo(*arguments)

    assert words in str(caught.value)


def test_an_slo_is_readable_text():
    """Its text has metric, limits and unit; the reason of the check adds status and value."""
    assert str(Slo("response_p99", at_most=0.8)) == "response_p99 at most 0.8 s"
    assert str(Slo("cost_per_million", at_most=5)) == "cost_per_million at most 5 USD"
    assert str(Slo("tps_average", at_least=3, at_most=9)) == "tps_average at least 3/s and at most 9/s"
    assert check(Slo("tps_average", at_least=99), made.stability_run()).reason.startswith(
        "tps_average at least 99/s: violated, 9."
    )


def run_of_latencies(latencies):
    """Return a run of one client with these service times."""
    samples = np.zeros(len(latencies), SAMPLE)
    samples["sent"] = np.concatenate(([0.0], np.cumsum(latencies)[:-1]))
    samples["scheduled"], samples["seq"] = samples["sent"], np.arange(len(latencies))
    samples["done"] = samples["sent"] + latencies
    return made.run_of_samples(Step(ServerlessConfig(2048), ClosedLoop(1, count=len(latencies))), samples)


@pytest.mark.parametrize("count", [100, 400, 1000])
def test_a_percentile_that_is_2_percent_too_slow_is_not_called_met(count):
    """The true p95 is 306 ms, the limit 300 ms: of 200 runs at most 4 are met; comparing the point met a third of 400."""
    log_median = math.log(0.306) - 0.3 * 1.6449  # the 95 % quantile of the normal distribution
    slo, statuses = Slo("service_p95", at_most=0.3), []
    for seed in range(200):
        latencies = np.random.default_rng([seed, count]).lognormal(log_median, 0.3, count)
        statuses.append(check(slo, run_of_latencies(latencies)).status)

    assert statuses.count(SloStatus.MET) <= 4
    assert statuses.count(SloStatus.UNDECIDED) >= 100


@pytest.mark.parametrize(
    ("limit", "status"), [(0.5, SloStatus.MET), (0.09, SloStatus.VIOLATED), (0.1077, SloStatus.UNDECIDED)]
)
def test_an_slo_is_met_violated_or_not_decided(limit, status):
    """A median of 108 ms: far limits are decided; one within the interval is not, and the reason says how many calls are."""
    found = check(Slo("service_p50", at_most=limit), made.stability_run())
    accepted = check(Slo("service_p50", at_most=limit, on_undecided="pass"), made.stability_run())

    assert found.status is accepted.status is status
    assert found.is_met == (status is SloStatus.MET)
    assert accepted.is_met == (status is not SloStatus.VIOLATED)
    assert ("would decide" in found.reason or "may not decide" in found.reason) == (status is SloStatus.UNDECIDED)
    assert found.interval.low < found.value < found.interval.high
    assert "95 % interval" in found.reason


def test_a_share_needs_enough_calls_unless_the_limit_is_none_at_all():
    """200 calls without a failure do not show less than 1 %, which needs 368; that none of these failed is a fact."""
    few, many = made.stability_run(count=200), made.stability_run(count=400)

    assert check(Slo("failure_share", at_most=0.01), few).status is SloStatus.UNDECIDED
    assert check(Slo("failure_share", at_most=0.01), many).status is SloStatus.MET
    assert check(Slo("failure_share", at_most=0), few).status is SloStatus.MET
    assert check(Slo("failure_share", at_most=0), made.all_failed()).status is SloStatus.VIOLATED


def requests_on_schedule():
    """Return 1,000 requests at 100/s: 900 ok in 0.1 s, 40 ok in 0.5 s, 20 throttled, 20 failed, 20 dropped; shuffled."""
    kinds = [(Outcome.OK, 0.1)] * 900 + [(Outcome.OK, 0.5)] * 40 + [(Outcome.THROTTLED, 0.01)] * 20
    kinds += [(Outcome.MODEL_ERROR, 0.02)] * 20 + [(Outcome.DROPPED, 0.0)] * 20
    samples = np.zeros(1000, SAMPLE)
    for i, kind in enumerate(np.random.default_rng(1).permutation(1000)):
        outcome, latency = kinds[kind]
        sent = math.nan if outcome is Outcome.DROPPED else i / 100 + 0.05  # sent 50 ms late
        done = i / 100 if outcome is Outcome.DROPPED else sent + latency
        samples[i]["seq"], samples[i]["scheduled"], samples[i]["sent"] = i, i / 100, sent
        samples[i]["done"], samples[i]["outcome"] = done, int(outcome)
    step = Step(ServerlessConfig(2048), OpenLoop(even(constant(100)), duration=10))
    return made.run_of_samples(step, samples)


@pytest.mark.parametrize(("milliseconds", "share"), [(100, 0.0), (150, 0.9), (400, 0.9), (600, 0.94)])
def test_answered_within_counts_what_was_not_answered(milliseconds, share):
    """Of all scheduled requests, also those throttled, failed and dropped; from the scheduled time, not the sent one."""
    run = requests_on_schedule()
    slo = Slo.answered_within(milliseconds / 1000, at_least=0.5)

    assert slo == Slo(f"answered_within_{milliseconds}ms", at_least=0.5)
    assert check(slo, run).value == share
    assert check(slo, run).status is (SloStatus.MET if share else SloStatus.VIOLATED)
    if milliseconds != 150:  # on the edge of a histogram's bucket
        assert check(slo, made.without_samples(run)).value == share
    warmed = run.samples.copy()
    warmed["flags"][:500] |= WARMUP
    assert check(slo, made.run_of_samples(run.step, warmed)).interval.count == 500
    assert str(slo) == f"answered_within_{milliseconds}ms at least 0.5"


@pytest.mark.parametrize(
    "metric", ["answered_within_0ms", "answered_within_300", "answered_within_xms", "answered_within"]
)
def test_a_time_that_is_none_is_rejected(metric):
    """A time without a unit, or of 0, is no metric; the message shows the form."""
    with pytest.raises(UsageError, match="SLO on") as caught:
        Slo(metric, at_least=0.9)

    assert "answered_within_<number>ms" in caught.value.hint
    with pytest.raises(UsageError, match="answered_within 0"):
        Slo.answered_within(0, at_least=0.9)
    with pytest.raises(UsageError, match="on_undecided"):
        Slo("service_p99", at_most=1, on_undecided="maybe")
