"""Analysis: from saved runs to everything that a report states."""

from dataclasses import replace

import pytest

from loadgen.analysis.analysis import analyze
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.slo import Slo
from loadgen.analysis.verdict import ValidityLimits
from loadgen.errors import UsageError
from tests.support import example_runs as made

BOOK = PriceBook.builtin()


def analyzed(runs, region="us-east-1", **options):
    return analyze(runs, region=region, prices=BOOK, **options)


def test_a_whole_benchmark_is_analyzed():
    """Six sizes and eleven concurrency runs give recommendations of size, savings and MaxConcurrency."""
    runs = made.benchmark_runs()

    analysis = analyzed(runs)

    assert [row.run for row in analysis.runs] == list(runs)
    assert analysis.verdict.is_valid
    assert (analysis.recommendation.memory_mb, analysis.recommendation.runner_up) == (2048, 3072)
    assert analysis.recommendation.is_trustworthy
    assert (analysis.savings.memory_mb, analysis.savings.instance) == (2048, "ml.t2.medium")
    chosen = next(row for row in analysis.in_phase("stability") if row.run.step.config.memory_mb == 2048)
    assert analysis.savings.break_even == pytest.approx(0.056 * 720 / chosen.cost.per_invocation)
    assert [item.clients for item in analysis.concurrency_recommendations] == [2, 3, 4, 6, 7, 8, 12, 14, 16]
    assert [item.max_concurrency for item in analysis.concurrency_recommendations] == [
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
    """Each of the three objectives recommends another size of the example."""
    assert analyzed(made.stability_runs(), objective=objective).recommendation.memory_mb == memory_mb


@pytest.mark.parametrize("region", ["us-east-1", "us-east-2", "eu-west-1", ""])
def test_the_recommendation_does_not_depend_on_prices(region):
    """Without prices the same size is recommended, by GB-seconds; unknown costs are None, with a reason."""
    analysis = analyzed(made.stability_runs(), region=region)

    assert analysis.recommendation.memory_mb == 2048
    if region != "us-east-1":
        assert all(row.cost.per_million is None and row.cost.unavailable_reason for row in analysis.runs)
        assert analysis.savings.break_even is None
        assert analysis.savings.unavailable_reason


def test_cold_starts_do_not_change_the_recommendation():
    """A cold first call of 6 s at every size raises the averages, but neither latency nor cost of a warm call."""
    warm, cold = analyzed(made.stability_runs()), analyzed(made.stability_runs(cold=1))

    assert cold.recommendation.memory_mb == warm.recommendation.memory_mb == 2048
    for one, other in zip(warm.runs, cold.runs, strict=True):
        assert other.cost.per_million == pytest.approx(one.cost.per_million, rel=0.02)
        assert other.cost.per_million_with_cold_starts > other.cost.per_million * 1.05


def test_unstable_sizes_are_excluded():
    """A size that does not deploy, runs out of memory or fails throughout is excluded."""
    runs = [
        made.failed_deploy(1024),
        made.out_of_memory(2048),
        made.all_failed(3072),
        made.stability_run(4096),
        made.stability_run(5120),
    ]

    analysis = analyzed(runs)

    assert analysis.recommendation.memory_mb == 4096
    assert set(analysis.recommendation.excluded) == {1024, 2048, 3072}
    unmeasured = {"stability-1024: no call was ok", "stability-3072: no call was ok"}
    assert {reason.problem for reason in analysis.verdict.reasons} == unmeasured
    assert [row.cost is None for row in analysis.runs] == [True, False, True, False, False]


@pytest.mark.parametrize(
    "runs", [[], [made.failed_deploy()], [made.all_failed()], [made.zero_samples()], [made.one_sample()]]
)
def test_runs_without_successful_calls_are_analyzed(runs):
    """No run, no sample or no successful call gives an analysis without savings, and never an error."""
    analysis = analyzed(runs)

    assert analysis.verdict.is_valid == any(row.summary.ok for row in analysis.runs)
    assert (analysis.recommendation is None) == (not runs)
    assert (analysis.savings is None) == (not any(row.summary.ok for row in analysis.runs))
    assert analysis.concurrency_recommendations == ()


def test_one_invalid_run_makes_the_analysis_invalid():
    """The overall verdict is INVALID and names the step, and the recommendation is not trustworthy."""
    runs = [made.stability_run(1024), made.starved(2048), made.stability_run(3072)]

    analysis = analyzed(runs)

    assert not analysis.verdict.is_valid
    assert all(reason.problem.startswith("stability-2048: ") for reason in analysis.verdict.reasons)
    assert [row.verdict.is_valid for row in analysis.runs] == [True, False, True]
    assert not analysis.recommendation.is_trustworthy


def test_equal_notes_are_merged():
    """A note of all steps is given once; a note of some steps names them."""
    same = [replace(made.stability_run(mb), metrics=made.NO_METRICS) for mb in (1024, 2048, 3072)]

    assert [note[:17] for note in analyzed(same).verdict.notes] == ["all 3 steps: Clou"]
    assert (
        analyzed([*same, made.stability_run(4096)])
        .verdict.notes[0]
        .startswith("stability-1024; stability-2048; stability-3072: ")
    )


def test_limits_can_be_changed():
    """Wider limits accept a run that the default limits reject."""
    run = made.starved()

    assert not analyzed([run]).verdict.is_valid
    assert analyzed([run], limits=ValidityLimits(effect=10)).verdict.is_valid


def test_own_steps_have_no_recommendation():
    """A run outside the benchmark phases has a verdict and a cost, but no recommendation."""
    analysis = analyzed([made.open_loop()])

    assert analysis.recommendation is None
    assert analysis.concurrency_recommendations == ()
    assert analysis.runs[0].cost.per_million > 0
    assert analysis.in_phase("") == analysis.runs


def test_slos_apply_to_the_relevant_runs():
    """The recommended size and runs with no more clients than slots count; every run has its own checks."""
    slos = [Slo("service_p50", at_most=0.15), Slo("throttle_share", at_most=0.02)]

    analysis = analyzed(made.benchmark_runs(), slos=slos)

    assert analysis.violated_slos == ()
    assert {check.step for check in analysis.slos} == {
        *("stability-2048", "concurrency-2-2", "concurrency-4-4", "concurrency-8-8")
    }
    assert not analysis.runs[0].slos[0].is_met  # 1024 MB takes 200 ms, and was not chosen
    assert any(not check.is_met for row in analysis.in_phase("concurrency") for check in row.slos)


def test_a_size_that_violates_an_slo_is_not_recommended():
    """With a limit of 100 ms, 2048 MB (108 ms) is excluded; an SLO that no size meets excludes none."""
    tight = analyzed(made.stability_runs(), slos=[Slo("service_p50", at_most=0.1)]).recommendation
    impossible = analyzed(made.stability_runs(), slos=[Slo("service_p50", at_most=0.01)]).recommendation
    of_others = analyzed(made.stability_runs(), slos=[Slo("tps_average", at_least=1000)]).recommendation

    assert tight.memory_mb == 3072
    assert set(tight.excluded) == {1024, 2048}
    assert "service_p50 at most 0.1 s: violated" in tight.excluded[2048]
    assert (impossible.memory_mb, of_others.memory_mb) == (2048, 2048)


def test_an_slo_without_value_excludes_no_size():
    """200 calls have no p99: the SLO is not met, but the size is not excluded."""
    runs = [made.stability_run(1024, 400), made.stability_run(2048, 200)]

    analysis = analyzed(runs, slos=[Slo("service_p99", at_most=1)])

    assert [row.slos[0].is_met for row in analysis.runs] == [True, False]
    assert analysis.recommendation.memory_mb == 2048


def test_violated_slos_name_step_and_value():
    """A violated SLO of an own step has the step's label and the observed value."""
    analysis = analyzed([made.open_loop(max_concurrency=1)], slos=[Slo("throttle_share", at_most=0.01)])

    (violated,) = analysis.violated_slos
    assert violated.step == "open loop"
    assert violated.value > 0.4


def test_a_given_instance_is_compared():
    """The given instance type is in the savings with its price."""
    savings = analyzed(made.stability_runs(), instance="ml.m5.large").savings

    assert (savings.instance, savings.instance_hourly) == ("ml.m5.large", 0.115)


def test_an_unknown_objective_is_rejected():
    """A misspelt objective is a UsageError."""
    with pytest.raises(UsageError):
        analyzed(made.stability_runs(), objective="cheapest")


def test_the_analysis_is_deterministic():
    """The same runs give the same analysis."""
    runs = made.benchmark_runs()

    first, second = analyzed(runs), analyzed(runs)

    assert [(r.summary, r.verdict, r.cost) for r in first.runs] == [(r.summary, r.verdict, r.cost) for r in second.runs]
    assert (first.recommendation, first.savings, first.concurrency_recommendations) == (
        second.recommendation,
        second.savings,
        second.concurrency_recommendations,
    )
