"""The policy that ends memory sizes early: what it ends, and that it judges as the recommendation does."""

from dataclasses import replace

import pytest

from loadgen import ServerlessBenchmark, Slo
from loadgen.analysis.analysis import analyze
from loadgen.analysis.elimination_policy import EliminationPolicy
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.size_choice import Objective
from loadgen.errors import UsageError
from loadgen.measurement.block import Block
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.round_policy import MeasuredStep
from loadgen.scenario.rounds import Rounds
from tests.support import example_runs as made
from tests.support.scenario_runs import REQUESTS


def measured(run, *, rounds=1, stop_reason="", region="us-east-1"):
    blocks = tuple(Block(number, 0, run.started, 0.0) for number in range(1, rounds + 1))
    return MeasuredStep(run.step, run.samples, blocks, region, stop_reason)


def policy(objective="balanced", slos=()):
    return EliminationPolicy(Objective(objective), 0.95, slos=slos, prices=PriceBook.builtin())


def ended(steps, **options):
    """Return the memory sizes that the policy ends."""
    return {steps[i].step.config.memory_mb for i in policy(**options).steps_to_end(steps)}


def test_a_benchmark_that_is_decided_ends_all_sizes():
    """After 40 calls of the published example every size is ended, and each reason names the recommended one."""
    steps = [measured(run) for run in made.stability_runs(40)]

    reasons = policy().steps_to_end(steps)

    assert set(reasons) == set(range(6))
    assert "at least" in reasons[0]
    assert "2048 MB" in reasons[0]
    assert reasons[1] == "no other size is left"


def test_a_size_of_few_calls_is_not_ended():
    """Four calls of each size decide nothing."""
    assert ended([measured(run) for run in made.stability_runs(4)]) == set()


def test_only_open_steps_are_ended():
    """A size that has ended is compared with the others, and not ended again."""
    steps = [
        measured(run, stop_reason="count" if run.step.config.memory_mb == 1024 else "")
        for run in made.stability_runs(40)
    ]

    assert 1024 not in ended(steps)
    assert 3072 in ended(steps)


def test_a_size_that_was_dropped_decides_nothing_more():
    """A size that an earlier look dropped is not compared again, even if its few calls now look like the best ones."""
    runs = list(made.stability_runs(40))
    lucky = made.run_of_samples(runs[0].step, runs[1].samples[:9])  # the calls of 2048 MB, at half of its cost
    others = [measured(run, rounds=2) for run in runs[1:]]

    reasons = policy().steps_to_end([measured(lucky, stop_reason="decided"), *others])

    assert set(reasons) == {1, 2, 3, 4, 5}
    assert reasons[1] == "no other size is left"
    assert "2048 MB" in reasons[5]


def test_a_size_that_violates_an_slo_ends_no_other():
    """2048 MB is best by its score; with an SLO that only larger sizes meet, none of those is ended in its favour."""
    steps = [measured(run) for run in made.stability_runs(40)]
    tight = (Slo("service_p50", at_most=0.097),)

    assert 3072 in ended(steps)
    assert 3072 not in ended(steps, slos=tight) or ended(steps, slos=tight) == {1024, 2048, 3072, 4096, 5120, 6144}
    assert "2048 MB" not in str(policy(slos=tight).steps_to_end(steps).values())


def test_a_size_that_fails_is_left_to_its_error_limit():
    """A size on which every call fails is not compared, and not ended by the policy."""
    runs = list(made.stability_runs(40))
    samples = runs[0].samples.copy()
    samples["outcome"] = Outcome.MODEL_ERROR
    runs[0] = made.run_of_samples(runs[0].step, samples)

    found = ended([measured(run) for run in runs])

    assert 1024 not in found
    assert 6144 in found


@pytest.mark.parametrize("region", ["us-east-1", "xx-nowhere-1"])
def test_the_policy_ends_what_the_recommendation_does_not_choose(region):
    """With the prices of a region, or with none, the size that is recommended is not called worse than another."""
    runs = made.stability_runs(40)
    chosen = analyze(runs, region=region, prices=PriceBook.builtin()).recommendation.memory_mb

    reasons = policy().steps_to_end([measured(run, region=region) for run in runs])

    assert f"than that of {chosen} MB" in reasons[5]


def test_confidence_needs_rounds_and_a_probability():
    """`confidence` is above 0.5 and below 1, and needs more than one round."""

    def benchmark(**settings):
        return ServerlessBenchmark(made_target(), REQUESTS, **settings)

    for settings in ({"confidence": 0.5}, {"confidence": 1.0}, {"confidence": 0.95, "rounds": 1}):
        with pytest.raises(UsageError):
            benchmark(**settings)
    batch = benchmark(confidence=0.95, invocations=45).stability_rounds()
    assert isinstance(batch, Rounds)
    assert batch.policy is not None
    assert batch.block_size == 9  # five rounds: each is an opportunity to stop
    assert benchmark(invocations=45).stability_rounds().policy is None


def made_target():
    from loadgen import Emulated

    return Emulated("instant")


def test_the_plan_and_the_report_choose_the_same_size():
    """In a region without prices the concurrency benchmark runs at the size that the report recommends.

    Bodies of 4 MB cost so much at the prices of us-east-1 that those would choose another size.
    """
    runs = []
    for run in made.stability_runs(60):
        samples = run.samples.copy()
        samples["request_bytes"] = 4_000_000
        runs.append(replace(made.run_of_samples(run.step, samples, metrics=run.metrics), region="xx-nowhere-1"))
    benchmark = ServerlessBenchmark(made_target(), REQUESTS)

    reported = analyze(runs, region="xx-nowhere-1", prices=PriceBook.builtin()).recommendation.memory_mb
    elsewhere = analyze(runs, region="us-east-1", prices=PriceBook.builtin()).recommendation.memory_mb

    assert benchmark.recommended_memory_mb(runs) == reported
    assert reported != elsewhere
