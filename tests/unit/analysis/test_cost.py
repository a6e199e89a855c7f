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


def metrics_with(model, overhead):
    """Return CloudWatch's view: average latencies in seconds."""

    def of(name, seconds):
        micro = seconds * 1e6
        return CloudWatchMetric(name, "Microseconds", 100.0, micro * 100, micro, micro / 2, micro * 9)

    values = {"ModelLatency": of("ModelLatency", model), "OverheadLatency": of("OverheadLatency", overhead)}
    return CloudWatchMetrics(values, is_final=True)


@pytest.mark.parametrize(("memory_mb", "seconds", "per_million"), [(2048, 0.102, 4.55), (3072, 0.092, 5.95)])
def test_the_published_example_is_reproduced(memory_mb, seconds, per_million):
    """29 KB in and a page out cost 4.55 USD per million at 102 ms and 2 GB, 5.95 USD at 92 ms and 3 GB."""
    run = replace(made.stability_run(memory_mb), metrics=metrics_with(seconds - 0.012, 0.012))
    samples = run.samples.copy()
    samples["request_bytes"], samples["response_bytes"] = 29_000, 1_000

    assert cost(replace(run, samples=samples)).per_million == pytest.approx(per_million, rel=0.01)


def test_a_call_costs_memory_time_and_bytes():
    """0.1 s at 2 GB and 0.00002 USD, and 1/1024 GB at 0.016 USD: 0.000004 + 0.000015625 USD."""
    data = BOOK.data(REGION)

    found = price_of_call(2048, 0.1, 2**20, BOOK.serverless(REGION), data)

    assert BYTES_PER_GB == 2**30
    assert found == pytest.approx(4e-6 + 0.016 / 1024)


def test_the_cost_shown_first_is_that_of_warm_calls():
    """One cold call in 200 raises the average by 30 ms, but not the billed duration of a warm call."""
    warm, cold = cost(made.stability_run(count=200)), cost(made.stability_run(count=200, cold=1))

    assert cold.billed_duration == pytest.approx(warm.billed_duration, rel=0.01)
    assert cold.billed_duration_with_cold_starts == pytest.approx(warm.billed_duration + 6 / 200, rel=0.1)
    assert cold.per_million_with_cold_starts > cold.per_million
    assert "1 cold of 200 calls" in cold.billed_source
    assert warm.billed_duration_with_cold_starts == warm.billed_duration


def test_the_cost_of_a_million_has_an_interval():
    """The interval is that of the billed duration at the same prices, and so is that of the break-even point."""
    found = cost(made.stability_run())
    saved = compare_with_instance(found, BOOK, REGION)

    def price(seconds):
        return 1e6 * price_of_call(
            2048, seconds, found.request_bytes + found.response_bytes, BOOK.serverless(REGION), BOOK.data(REGION)
        )

    billed, million = found.billed_interval, found.per_million_interval
    assert (million.low, million.value, million.high) == pytest.approx(
        (price(billed.low), price(billed.value), price(billed.high))
    )
    assert million.low < found.per_million == million.value < million.high
    assert saved.break_even_low < saved.break_even < saved.break_even_high
    assert saved.break_even_low * million.high == pytest.approx(saved.break_even * million.value)


def test_without_cloudwatch_the_client_s_latency_is_used():
    """The mean service time of warm calls is used, with the reason why CloudWatch is unavailable."""
    run = replace(made.stability_run(cold=1), metrics=made.NO_METRICS)
    latencies = np.sort(run.samples["done"] - run.samples["sent"])

    found = cost(run)

    assert found.billed_duration == pytest.approx(latencies[:-1].mean())
    assert found.billed_duration_with_cold_starts == pytest.approx(latencies.mean())
    assert "network included" in found.billed_source
    assert "AccessDenied" in found.billed_source


def test_an_unknown_price_has_a_reason():
    """A region without prices has a reason and no cost, never 0."""
    found = cost(made.stability_run(), region="eu-north-1")

    assert found.per_invocation is None
    assert found.per_million is None
    assert found.per_million_with_cold_starts is None
    assert "no serverless price for eu-north-1" in found.unavailable_reason
    assert "no data price for eu-north-1" in found.unavailable_reason
    assert found.billed_duration > 0


def test_one_missing_price_makes_the_cost_unknown():
    """us-east-2 has a compute price but no data price, so its cost is unknown."""
    found = cost(made.stability_run(), region="us-east-2")

    assert found.per_million is None
    assert found.unavailable_reason.startswith("no data price for us-east-2")


def test_without_samples_the_cost_is_unknown():
    """Without samples the payload sizes are unknown, and so is the cost."""
    assert "samples were not kept" in cost(made.without_samples(made.stability_run())).unavailable_reason


@pytest.mark.parametrize("run", [made.failed_deploy(), made.all_failed(), made.zero_samples()])
def test_a_run_without_successful_calls_has_no_cost(run):
    """Without an ok call there is no cost."""
    assert cost(run) is None


def test_an_existing_endpoint_has_no_cost():
    """The memory size of an existing endpoint is unknown, so its calls have no cost."""
    run = made.stability_run()

    assert cost(replace(run, step=replace(run.step, config=None))) is None


def test_provisioned_concurrency_adds_an_hourly_cost():
    """Two provisioned 2 GB instances cost 2 x 0.00001 x 3600 USD per hour; a call 0.0000233 USD/s and its data."""
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
def test_the_savings_table_has_the_strides_of_the_predecessor(break_even, stride):
    """One row per stride below break-even, as in sm-serverless-benchmarking, and a last row with no savings."""
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


def test_large_break_even_points_are_exact():
    """A large instance breaks even at thousands of millions: counts are exact and the table is short."""
    savings = compare_with_instance(priced(4.5e-6), BOOK, REGION, "ml.p5.48xlarge")

    assert savings.break_even > 2**32
    assert len(savings.rows) <= 201
    assert savings.rows[-1].monthly_invocations == math.floor(savings.break_even)


def test_each_size_has_its_comparable_instance():
    """Each size has a default instance; a given instance replaces it, and one without a price has a reason."""
    assert [compare_with_instance(priced(1e-5, mb), BOOK, REGION).instance for mb in COMPARABLE_INSTANCE] == [
        *("ml.t2.medium", "ml.t2.medium", "ml.c5.large", "ml.c5.large", "ml.c5.large", "ml.c5.xlarge")
    ]
    assert compare_with_instance(priced(1e-5), BOOK, REGION, "ml.m5.large").instance_hourly == 0.115
    assert "ml.x1.huge" in compare_with_instance(priced(1e-5), BOOK, REGION, "ml.x1.huge").unavailable_reason
    assert compare_with_instance(priced(None), BOOK, REGION).break_even is None


@given(per_invocation=st.floats(1e-9, 10), memory_mb=st.sampled_from(list(COMPARABLE_INSTANCE)))
def test_savings_decrease_to_zero_at_break_even(per_invocation, memory_mb):
    """For any cost, savings decrease from row to row to 0 at break-even."""
    savings = compare_with_instance(priced(per_invocation, memory_mb), BOOK, REGION)
    saved = [row.percent_saved for row in savings.rows]

    assert saved == sorted(saved, reverse=True)
    assert all(-1e-9 <= percent < 100 for percent in saved)
    assert len(savings.rows) <= 201


def test_an_estimate_of_counted_calls_is_exact():
    """1000 calls of 1 s at 2 GB cost 0.04 USD, 500 at 6 GB 0.06 USD, plus the data of 1500 calls."""
    steps = [
        Step(ServerlessConfig(2048), ClosedLoop(1, count=1000)),
        Step(ServerlessConfig(6144, 8), ClosedLoop(16, count=500)),
        Step(None, ClosedLoop(1, count=9)),
    ]

    found = estimate_cost(steps, BOOK, REGION, call_duration=1.0, payload_bytes=2**20)

    assert found.invocations == 1500
    assert found.usd == pytest.approx(0.1 + 1500 / 1024 * 0.016)


def test_an_estimate_of_a_timed_load_is_bounded_by_its_slots():
    """16 clients on 4 slots for a minute are billed for at most 4 slots and 60 s plus the last calls."""
    steps = [Step(ServerlessConfig(1024, 4), ClosedLoop(16, duration=60))]

    found = estimate_cost(steps, BOOK, REGION, call_duration=2.0)

    assert found.usd == pytest.approx(4 * 62 * 0.00002)


def test_an_estimate_of_a_schedule_counts_its_arrivals():
    """50 requests/s for 10 s are 500 calls of 0.5 s at 3 GB, more than ten slots can serve."""
    load = OpenLoop(even(constant(50)), duration=10)

    free = estimate_cost([Step(ServerlessConfig(3072, 200), load)], BOOK, REGION, call_duration=0.5)
    tight = estimate_cost([Step(ServerlessConfig(3072, 10), load)], BOOK, REGION, call_duration=0.5)

    assert free.invocations == 500
    assert free.usd == pytest.approx(250 * 0.00006)
    assert tight.usd == pytest.approx(10 * 10.5 * 0.00006)


def test_an_estimate_without_prices_has_a_reason():
    """An unknown region has no estimate but a reason."""
    found = estimate_cost([made.stability_step(1024)], BOOK, "eu-north-1")

    assert found.usd is None
    assert "eu-north-1" in found.unavailable_reason


def test_an_estimate_is_an_upper_bound():
    """With the duration of the slowest call, the estimate is an upper bound for every run of a benchmark."""
    for run in made.benchmark_runs():
        summary = summarize(run)
        spent = cost(run).per_million_with_cold_starts * summary.ok / 1e6
        bound = estimate_cost([run.step], BOOK, REGION, call_duration=summary.service.maximum, payload_bytes=29_480)

        assert spent <= bound.usd


def test_a_given_price_book_is_used():
    """Doubling the compute price doubles that part of the cost only."""
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
