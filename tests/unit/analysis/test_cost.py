"""What calls cost, against arithmetic by hand and the published example."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.cost import (
    BYTES_PER_GB,
    COMPARABLE_INSTANCE,
    compare_with_instance,
    cost_of_run,
    find_billed_duration,
    price_of_call,
)
from loadgen.analysis.estimate import estimate_cost
from loadgen.analysis.prices import Price, PriceBook
from loadgen.analysis.summary import summarize
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetric, CloudWatchMetrics
from loadgen.workload.arrivals import even
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step
from tests.support import example_runs as made

BOOK = PriceBook.builtin()
REGION = "us-east-1"


def cost(run, region=REGION, book=BOOK):
    return cost_of_run(run, summarize(run), book, region)


def metrics_with(model, overhead, setups=0, **percentiles):
    """Return CloudWatch's view: latencies in seconds, their averages as given, percentiles of the overhead."""

    def of(name, seconds, count, **named):
        micro = seconds * 1e6
        named = {key: value * 1e6 for key, value in named.items()}
        return CloudWatchMetric(name, "Microseconds", count, micro * count, micro, micro / 2, micro * 9, named)

    values = {"ModelLatency": of("ModelLatency", model, 100.0)}
    values["OverheadLatency"] = of("OverheadLatency", overhead, 100.0, **percentiles)
    if setups:
        values["ModelSetupTime"] = of("ModelSetupTime", 6.0, float(setups))
    return CloudWatchMetrics(values, is_final=True)


@pytest.mark.parametrize(("memory_mb", "seconds", "per_million"), [(2048, 0.102, 4.55), (3072, 0.092, 5.95)])
def test_the_published_example_comes_out(memory_mb, seconds, per_million):
    """An image of 29 KB and a page of answer at 102 ms of 2 GB cost 4.55 USD a million, at 92 ms of 3 GB 5.95."""
    run = replace(made.stability_run(memory_mb), metrics=metrics_with(seconds - 0.012, 0.012))
    samples = run.samples.copy()
    samples["request_bytes"], samples["response_bytes"] = 29_000, 1_000

    assert cost(replace(run, samples=samples)).per_million == pytest.approx(per_million, rel=0.01)


def test_a_call_costs_memory_time_and_bytes():
    """2 GB for a tenth of a second at 0.00002, and a 1024th of a GB at 0.016: 0.000004 + 0.000015625 USD."""
    data = BOOK.data(REGION)

    found = price_of_call(2048, 0.1, 2**20, BOOK.serverless(REGION), data)

    assert BYTES_PER_GB == 2**30
    assert found == pytest.approx(4e-6 + 0.016 / 1024)


def test_warm_calls_are_the_headline_and_cold_ones_stand_beside():
    """One cold call in two hundred lifts the plain average by its 30 ms, and the headline not at all."""
    warm, cold = cost(made.stability_run(count=200)), cost(made.stability_run(count=200, cold=1))

    assert cold.billed_duration == pytest.approx(warm.billed_duration, rel=0.01)
    assert cold.billed_duration_with_cold_starts == pytest.approx(warm.billed_duration + 6 / 200, rel=0.1)
    assert cold.per_million_with_cold_starts > cold.per_million
    assert "0.5% of the calls were cold" in cold.billed_source
    assert "p50" in cold.billed_source
    assert warm.billed_duration_with_cold_starts == warm.billed_duration


def test_the_middle_of_the_warm_calls_is_found_among_many_cold_ones():
    """With half of the calls cold the lower quartile of all is the median of the warm ones."""
    metrics = metrics_with(0.1, 3.0, setups=50, p25=0.011, p50=2.9, p75=6.0)
    run = replace(made.stability_run(), metrics=metrics)

    billed = find_billed_duration(run, summarize(run))

    assert billed.warm == pytest.approx(0.111)
    assert billed.with_cold_starts == pytest.approx(3.1)
    assert "p25" in billed.source


@pytest.mark.parametrize(
    ("setups", "percentiles", "warm", "words"),
    [
        (0, {"p50": 0.01}, 0.03, "no cold start was recorded"),
        (100, {"p50": 0.01}, 0.03, "all calls were cold"),
        (80, {"p50": 0.01}, 0.015, "minimum"),
        (3, {}, 0.015, "minimum"),
        (40, {"p25": 0.011, "p50": 0.02, "p75": 6.0}, 0.011, "p25"),
        (3, {"p50": 0.01, "p99": 0.09}, 0.01, "p50"),
    ],
)
def test_the_figure_that_was_billed_is_named(setups, percentiles, warm, words):
    """Average, percentile or minimum of the overhead: whichever was taken is said in words."""
    run = replace(made.stability_run(), metrics=metrics_with(0.1, 0.03, setups, **percentiles))

    billed = find_billed_duration(run, summarize(run))

    assert billed.warm == pytest.approx(0.1 + warm)
    assert words in billed.source


def test_without_cloudwatch_the_clients_view_is_taken_and_said():
    """The mean service time of warm calls stands in, with the reason why CloudWatch is not there."""
    run = replace(made.stability_run(cold=1), metrics=made.NO_METRICS)
    latencies = np.sort(run.samples["done"] - run.samples["sent"])

    found = cost(run)

    assert found.billed_duration == pytest.approx(latencies[:-1].mean())
    assert found.billed_duration_with_cold_starts == pytest.approx(latencies.mean())
    assert "network included" in found.billed_source
    assert "AccessDenied" in found.billed_source


def test_an_unknown_price_is_no_price():
    """A region without prices has a reason and no figure, and never 0."""
    found = cost(made.stability_run(), region="eu-north-1")

    assert found.per_invocation is None
    assert found.per_million is None
    assert found.per_million_with_cold_starts is None
    assert "no serverless price for eu-north-1" in found.unavailable_reason
    assert "no data price for eu-north-1" in found.unavailable_reason
    assert found.billed_duration > 0


def test_one_price_that_lacks_is_enough_to_know_no_cost():
    """us-east-2 has a price for compute but none for data: a sum without its part would be too low."""
    found = cost(made.stability_run(), region="us-east-2")

    assert found.per_million is None
    assert found.unavailable_reason.startswith("no data price for us-east-2")


def test_sizes_that_were_not_kept_make_no_cost():
    """Without samples nobody knows how many bytes went over the wire."""
    assert "samples were not kept" in cost(made.without_samples(made.stability_run())).unavailable_reason


@pytest.mark.parametrize("run", [made.failed_deploy(), made.all_failed(), made.zero_samples()])
def test_what_served_nothing_has_no_cost(run):
    """No ok call, no cost of one."""
    assert cost(run) is None


def test_a_place_that_was_not_deployed_has_no_cost():
    """An existing endpoint's memory is not known, so its calls have no price."""
    run = made.stability_run()

    assert cost(replace(run, step=replace(run.step, config=None))) is None


def test_provisioned_concurrency_costs_by_the_hour_as_well():
    """Two instances of 2 GB kept warm cost 2 x 0.00001 x 3600 an hour; a call on them 0.0000233 a second and its data."""
    run = made.stability_run()
    run = replace(run, step=replace(run.step, config=ServerlessConfig(2048, 4, 2)))

    found = cost(run)
    saved = compare_with_instance(found, BOOK, REGION, "ml.c5.xlarge")

    assert found.provisioned_hourly == pytest.approx(0.072)
    assert found.per_invocation == pytest.approx(0.0000233 * found.billed_duration + 29_480 / 2**30 * 0.016)
    assert saved.break_even == pytest.approx((0.204 - 0.072) * 720 / found.per_invocation)
    assert saved.rows[0].serverless_usd == pytest.approx(0.072 * 720 + 500_000 * found.per_invocation)
    assert (
        "the provisioned concurrency alone costs more" in compare_with_instance(found, BOOK, REGION).unavailable_reason
    )


def priced(per_invocation, memory_mb=2048):
    return replace(cost(made.one_sample()), memory_mb=memory_mb, per_invocation=per_invocation)


@pytest.mark.parametrize(
    ("break_even", "stride"),
    [(9_500, 10_000), (150_000, 10_000), (199_999, 10_000), (200_000, 50_000), (999_999, 50_000), (1_000_000, 100_000),
     (1_999_999, 100_000), (2_000_000, 200_000), (4_999_999, 200_000), (5_000_000, 500_000), (50_000_000, 500_000)],
)  # fmt: skip
def test_the_savings_table_has_the_usual_strides(break_even, stride):
    """A row for every stride below break-even, as AWS's toolkit has them, and a last one where nothing is saved."""
    monthly = Fraction(56, 1000) * 720
    savings = compare_with_instance(priced(float(monthly / break_even)), BOOK, REGION)
    counts = [row.monthly_invocations for row in savings.rows]

    assert savings.break_even == pytest.approx(break_even)
    assert counts[:-1] == list(range(stride, counts[-1], stride))
    assert counts[-1] == pytest.approx(break_even, abs=1)
    assert savings.rows[-1].percent_saved == pytest.approx(0, abs=0.02)
    for row in savings.rows:
        assert row.instance_usd == pytest.approx(40.32)
        assert row.serverless_usd == pytest.approx(40.32 * row.monthly_invocations / break_even)
        assert row.percent_saved == pytest.approx(100 * (1 - row.monthly_invocations / break_even))


def test_counts_beyond_32_bits_are_whole_and_few():
    """A large instance breaks even at thousands of millions: the counts stay exact and the table short."""
    savings = compare_with_instance(priced(4.5e-6), BOOK, REGION, "ml.p5.48xlarge")

    assert savings.break_even > 2**32
    assert len(savings.rows) <= 201
    assert savings.rows[-1].monthly_invocations == math.floor(savings.break_even)


def test_each_size_has_its_comparable_instance():
    """The usual map; an instance of one's own goes before it, and one without a price is said."""
    assert [compare_with_instance(priced(1e-5, mb), BOOK, REGION).instance for mb in COMPARABLE_INSTANCE] == [
        *("ml.t2.medium", "ml.t2.medium", "ml.c5.large", "ml.c5.large", "ml.c5.large", "ml.c5.xlarge")
    ]
    assert compare_with_instance(priced(1e-5), BOOK, REGION, "ml.m5.large").instance_hourly == 0.115
    assert "ml.x1.huge" in compare_with_instance(priced(1e-5), BOOK, REGION, "ml.x1.huge").unavailable_reason
    assert compare_with_instance(priced(None), BOOK, REGION).break_even is None


@given(per_invocation=st.floats(1e-9, 10), memory_mb=st.sampled_from(list(COMPARABLE_INSTANCE)))
def test_savings_fall_from_row_to_row(per_invocation, memory_mb):
    """Whatever a call costs, traffic rises and savings fall to 0 at break-even, and never below."""
    savings = compare_with_instance(priced(per_invocation, memory_mb), BOOK, REGION)
    saved = [row.percent_saved for row in savings.rows]

    assert saved == sorted(saved, reverse=True)
    assert all(-1e-9 <= percent < 100 for percent in saved)
    assert len(savings.rows) <= 201


def test_an_estimate_bounds_a_benchmark_by_hand():
    """1000 calls of a second at 2 GB cost 0.04 USD, 500 at 6 GB 0.06; the data of 1500 MB and more comes on top."""
    steps = [
        Step(ServerlessConfig(2048), ClosedLoop(1, count=1000)),
        Step(ServerlessConfig(6144, 8), ClosedLoop(16, count=500)),
        Step(None, ClosedLoop(1, count=9)),
    ]

    found = estimate_cost(steps, BOOK, REGION, call_duration=1.0, payload_bytes=2**20)

    assert found.invocations == 1500
    assert found.usd == pytest.approx(0.1 + 1500 / 1024 * 0.016)


def test_an_estimate_of_a_timed_load_is_bounded_by_its_slots():
    """16 clients on 4 slots for a minute are billed for at most 4 slots and 60 s, and the last calls' 2 s."""
    steps = [Step(ServerlessConfig(1024, 4), ClosedLoop(16, duration=60))]

    found = estimate_cost(steps, BOOK, REGION, call_duration=2.0)

    assert found.usd == pytest.approx(4 * 62 * 0.00002)


def test_an_estimate_of_a_schedule_counts_its_arrivals():
    """50 requests a second for 10 s are 500 calls, of half a second each at 3 GB; ten slots cannot take them all."""
    load = OpenLoop(even(constant(50)), duration=10)

    free = estimate_cost([Step(ServerlessConfig(3072, 200), load)], BOOK, REGION, call_duration=0.5)
    tight = estimate_cost([Step(ServerlessConfig(3072, 10), load)], BOOK, REGION, call_duration=0.5)

    assert free.invocations == 500
    assert free.usd == pytest.approx(250 * 0.00006)
    assert tight.usd == pytest.approx(10 * 10.5 * 0.00006)


def test_an_estimate_without_prices_says_why():
    """An unknown region has no figure but a reason."""
    found = estimate_cost([made.stability_step(1024)], BOOK, "eu-north-1")

    assert found.usd is None
    assert "eu-north-1" in found.unavailable_reason


def test_an_estimate_is_never_below_what_was_spent():
    """At the slowest call's time, the bound holds for every run of a whole benchmark."""
    for run in made.benchmark_runs():
        summary = summarize(run)
        spent = cost(run).per_million_with_cold_starts * summary.ok / 1e6
        bound = estimate_cost([run.step], BOOK, REGION, call_duration=summary.service.maximum, payload_bytes=29_480)

        assert spent <= bound.usd


def test_prices_of_a_book_of_ones_own_are_used():
    """Twice the price of compute and no change in data is what the sum shows."""
    rows = tuple(
        Price(
            "mars-1", row.item, row.usd * (2 if row.item == "serverless" else 1), row.unit, "2030", "a tale", row.name
        )
        for row in BOOK.entries
        if row.region == REGION
    )
    run = made.stability_run()

    here, there = cost(run), cost(run, "mars-1", PriceBook("the book of tales", rows))

    assert there.per_invocation - here.per_invocation == pytest.approx(2 * 0.00002 * here.billed_duration)
