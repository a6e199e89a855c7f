"""SLOs: their metrics, and when they are met, violated or not evaluated."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.cost import cost_of_run
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.slo import METRICS, Slo, check_slos
from loadgen.analysis.summary import summarize
from loadgen.errors import UsageError
from tests.support import example_runs as made


def check(slo, run, region="us-east-1"):
    summary = summarize(run)
    cost = cost_of_run(run, summary, PriceBook.builtin(), region)
    (found,) = check_slos([slo], step=run.step.name, summary=summary, cost=cost)
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

    assert found.is_met == (found.value is not None)
    assert ("not evaluated" in found.reason) == (found.value is None)
    assert found.value is None or math.isfinite(found.value)


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

    assert Slo("tps_average", at_least=low, at_most=high).is_met(value) == (not value < low and not value > high)


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
