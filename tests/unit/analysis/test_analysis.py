"""Findings: the whole chain from saved runs to what a report says."""

from dataclasses import replace

import pytest

from loadgen.analysis.analysis import analyze
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.slo import Slo
from loadgen.analysis.verdict import ValidityLimits
from loadgen.errors import UsageError
from tests.support import example_runs as made

BOOK = PriceBook.builtin()


def found(runs, region="us-east-1", **options):
    return analyze(runs, region=region, prices=BOOK, **options)


def test_a_whole_benchmark_is_understood():
    """Six sizes and eleven cells: 2048 MB, its savings against the usual instance, and advice for each client count."""
    runs = made.benchmark_runs()

    analysis = found(runs)

    assert [row.run for row in analysis.runs] == list(runs)
    assert analysis.verdict.is_valid
    assert (analysis.recommendation.memory_mb, analysis.recommendation.runner_up) == (2048, 3072)
    assert analysis.recommendation.is_trustworthy
    assert (analysis.savings.memory_mb, analysis.savings.instance) == (2048, "ml.t2.medium")
    chosen = next(row for row in analysis.in_phase("stability") if row.run.step.config.memory_mb == 2048)
    assert analysis.savings.break_even == pytest.approx(0.056 * 720 / chosen.cost.per_invocation)
    assert [advice.clients for advice in analysis.concurrency_recommendations] == [2, 3, 4, 6, 7, 8, 12, 14, 16]
    assert [advice.max_concurrency for advice in analysis.concurrency_recommendations] == [
        2,
        4,
        4,
        8,
        8,
        8,
        None,
        None,
        None,
    ]
    assert len(analysis.in_phase("concurrency")) == 11
    assert "2026-09-01" in analysis.price_source
    assert analysis.slos == ()


@pytest.mark.parametrize(("objective", "memory_mb"), [("cost", 1024), ("speed", 3072), ("balanced", 2048)])
def test_the_objective_decides(objective, memory_mb):
    """The three objectives choose three sizes of the example."""
    assert found(made.stability_runs(), objective=objective).recommendation.memory_mb == memory_mb


@pytest.mark.parametrize("region", ["us-east-1", "us-east-2", "eu-west-1", ""])
def test_every_region_ranks_alike(region):
    """Without prices the same size is chosen, by GB-seconds; what is not known is None, with a reason."""
    analysis = found(made.stability_runs(), region=region)

    assert analysis.recommendation.memory_mb == 2048
    if region != "us-east-1":
        assert all(row.cost.per_million is None and row.cost.unavailable_reason for row in analysis.runs)
        assert analysis.savings.break_even is None
        assert analysis.savings.unavailable_reason


def test_cold_starts_do_not_change_the_choice():
    """A cold first call of six seconds at every size lifts the averages, and neither latency nor cost of a warm call."""
    warm, cold = found(made.stability_runs()), found(made.stability_runs(cold=1))

    assert cold.recommendation.memory_mb == warm.recommendation.memory_mb == 2048
    for one, other in zip(warm.runs, cold.runs, strict=True):
        assert other.cost.per_million == pytest.approx(one.cost.per_million, rel=0.02)
        assert other.cost.per_million_with_cold_starts > other.cost.per_million * 1.05


def test_failed_sizes_are_left_out():
    """One size does not deploy, one runs out of memory, one fails throughout: the choice is among the rest."""
    runs = [
        made.failed_deploy(1024),
        made.out_of_memory(2048),
        made.all_failed(3072),
        made.stability_run(4096),
        made.stability_run(5120),
    ]

    analysis = found(runs)

    assert analysis.recommendation.memory_mb == 4096
    assert set(analysis.recommendation.excluded) == {1024, 2048, 3072}
    assert analysis.verdict.is_valid
    assert [row.cost is None for row in analysis.runs] == [True, False, True, False, False]


@pytest.mark.parametrize(
    "runs", [[], [made.failed_deploy()], [made.all_failed()], [made.zero_samples()], [made.one_sample()]]
)
def test_little_or_nothing_is_understood_as_well(runs):
    """No run, no sample, no success: analysis without a savings table, and never an error."""
    analysis = found(runs)

    assert analysis.verdict.is_valid
    assert (analysis.recommendation is None) == (not runs)
    assert (analysis.savings is None) == (not any(row.summary.ok for row in analysis.runs))
    assert analysis.concurrency_recommendations == ()


def test_one_invalid_run_spoils_the_whole():
    """The verdict on all is INVALID with the step named, and the recommendation says so; other rows keep theirs."""
    runs = [made.stability_run(1024), made.starved(2048), made.stability_run(3072)]

    analysis = found(runs)

    assert not analysis.verdict.is_valid
    assert all(reason.problem.startswith("stability-2048: ") for reason in analysis.verdict.reasons)
    assert [row.verdict.is_valid for row in analysis.runs] == [True, False, True]
    assert not analysis.recommendation.is_trustworthy


def test_a_note_of_every_step_is_told_once():
    """CloudWatch that refuses all six steps is one note, one that is of a single step names it."""
    same = [replace(made.stability_run(mb), metrics=made.NO_METRICS) for mb in (1024, 2048, 3072)]

    assert [note[:17] for note in found(same).verdict.notes] == ["all 3 steps: Clou"]
    assert (
        found([*same, made.stability_run(4096)])
        .verdict.notes[0]
        .startswith("stability-1024; stability-2048; stability-3072: ")
    )


def test_bounds_are_the_callers():
    """A wider bound accepts what the default does not."""
    run = made.starved()

    assert not found([run]).verdict.is_valid
    assert found([run], limits=ValidityLimits(longest_saturated=60, loop_lag=1, read_lag=1)).verdict.is_valid


def test_steps_of_ones_own_have_no_recommendation():
    """A run that belongs to no benchmark is judged and priced, and nothing is concluded from it."""
    analysis = found([made.open_loop()])

    assert analysis.recommendation is None
    assert analysis.concurrency_recommendations == ()
    assert analysis.runs[0].cost.per_million > 0
    assert analysis.in_phase("") == analysis.runs


def test_promises_are_checked_where_they_are_meant():
    """In a benchmark the chosen size and the cells without more clients than slots decide; each row keeps its own."""
    slos = [Slo("service_p50", at_most=0.15), Slo("throttle_share", at_most=0.01)]

    analysis = found(made.benchmark_runs(), slos=slos)

    assert analysis.violated_slos == ()
    assert {check.step for check in analysis.slos} == {
        *("stability-2048", "concurrency-2-2", "concurrency-4-4", "concurrency-8-8")
    }
    assert not analysis.runs[0].slos[0].is_met  # 1024 MB takes 200 ms, and was not chosen
    assert any(not check.is_met for row in analysis.in_phase("concurrency") for check in row.slos)


def test_a_size_that_breaks_its_promise_is_not_recommended():
    """With 100 ms promised 2048 MB, at 108, gives way to 3072 MB, at 98; a promise that none keeps rules none out."""
    tight = found(made.stability_runs(), slos=[Slo("service_p50", at_most=0.1)]).recommendation
    impossible = found(made.stability_runs(), slos=[Slo("service_p50", at_most=0.01)]).recommendation
    of_others = found(made.stability_runs(), slos=[Slo("tps_average", at_least=1000)]).recommendation

    assert tight.memory_mb == 3072
    assert set(tight.excluded) == {1024, 2048}
    assert "service_p50 at most 0.1 s: violated" in tight.excluded[2048]
    assert (impossible.memory_mb, of_others.memory_mb) == (2048, 2048)


def test_a_promise_that_cannot_be_told_rules_no_size_out():
    """200 calls cannot tell a 99th percentile and 400 can: the size with fewer calls is not the worse for it."""
    runs = [made.stability_run(1024, 400), made.stability_run(2048, 200)]

    analysis = found(runs, slos=[Slo("service_p99", at_most=1)])

    assert [row.slos[0].is_met for row in analysis.runs] == [True, False]
    assert analysis.recommendation.memory_mb == 2048


def test_a_broken_promise_is_named():
    """A step of one's own that breaks its promise says which, and by how much."""
    analysis = found([made.open_loop(max_concurrency=1)], slos=[Slo("throttle_share", at_most=0.01)])

    (broken,) = analysis.violated_slos
    assert broken.step == "promise"
    assert broken.value > 0.4


def test_an_instance_of_ones_own_is_compared():
    """The instance that was asked for stands in the savings, with its own price."""
    savings = found(made.stability_runs(), instance="ml.m5.large").savings

    assert (savings.instance, savings.instance_hourly) == ("ml.m5.large", 0.115)


def test_an_unknown_objective_is_refused():
    """A misspelt objective is an error at once."""
    with pytest.raises(UsageError):
        found(made.stability_runs(), objective="cheapest")


def test_findings_are_the_same_each_time():
    """The same runs give the same analysis: nothing depends on a clock, an order of hashing or a random number."""
    runs = made.benchmark_runs()

    first, second = found(runs), found(runs)

    assert [(r.summary, r.verdict, r.cost) for r in first.runs] == [(r.summary, r.verdict, r.cost) for r in second.runs]
    assert (first.recommendation, first.savings, first.concurrency_recommendations) == (
        second.recommendation,
        second.savings,
        second.concurrency_recommendations,
    )
