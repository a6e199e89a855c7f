"""ServerlessBenchmark: the steps that its plan yields for given runs, and the values that it refuses."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import Emulated, Request, ServerlessBenchmark
from loadgen.errors import UsageError
from loadgen.workload.load import Uniform
from loadgen.workload.serverless_config import MEMORY_SIZES_MB, ServerlessConfig
from tests.support import example_runs


def benchmark(**settings) -> ServerlessBenchmark:
    return ServerlessBenchmark(Emulated(), [Request(b"{}")], **settings)


def concurrency_and_clients(steps):
    return [(step.config.max_concurrency, step.load.clients) for step in steps]


def test_the_stability_benchmark_has_one_client_for_each_size():
    """Each memory size is a step with MaxConcurrency 1, one client, and the benchmark's counts and delays."""
    steps = benchmark(invocations=77, error_limit=4, cold_start_delay=9, think=0.5, backoff=0.25).stability_steps()
    assert [step.config for step in steps] == [ServerlessConfig(mb, 1) for mb in MEMORY_SIZES_MB]
    for step in steps:
        assert (step.load.clients, step.load.count, step.load.think, step.load.backoff) == (1, 77, 0.5, 0.25)
        assert (step.error_limit.count, step.delay, step.phase) == (4, 9, "stability")
        assert (step.warmup, step.warmup_calls) == (0, 0)


def test_the_documented_example_of_the_concurrency_benchmark():
    """MaxConcurrency [4, 8] with multipliers [1, 1.5, 2] has 4, 6 and 8, then 8, 12 and 16 clients."""
    steps = benchmark(max_concurrency=[4, 8], multipliers=[1, 1.5, 2], concurrency_invocations=33).concurrency_steps(
        2048
    )
    assert concurrency_and_clients(steps) == [(4, 4), (4, 6), (4, 8), (8, 8), (8, 12), (8, 16)]
    assert {(step.config.memory_mb, step.load.count, step.phase) for step in steps} == {(2048, 33, "concurrency")}


def test_client_counts_are_rounded_up_and_run_once():
    """2 x 1.75 = 3.5 is rounded up to 4 clients; the equal 2 x 2 is not run again."""
    assert concurrency_and_clients(benchmark().concurrency_steps(1024)) == [
        *[(2, 2), (2, 3), (2, 4)],
        *[(4, 4), (4, 6), (4, 7), (4, 8)],
        *[(8, 8), (8, 12), (8, 14), (8, 16)],
    ]
    assert concurrency_and_clients(
        benchmark(max_concurrency=[2, 2], multipliers=[2, 1, 1]).concurrency_steps(1024)
    ) == [(2, 2), (2, 4)]


@given(st.integers(1, 200), st.integers(1, 500))
def test_client_counts_are_rounded_in_decimal_arithmetic(max_concurrency, hundredths):
    """10 x 1.1 is 11 clients, not the 12 of 11.000000000000002 in binary floating point."""
    (step,) = benchmark(max_concurrency=[max_concurrency], multipliers=[hundredths / 100]).concurrency_steps(1024)
    assert step.load.clients == math.ceil(Fraction(hundredths, 100) * max_concurrency)


def test_repeated_sizes_run_once():
    """A memory size that is given twice is measured once; the order is kept."""
    assert [s.config.memory_mb for s in benchmark(memory_sizes=[3072, 1024, 3072]).stability_steps()] == [3072, 1024]


def test_the_plan_runs_concurrency_at_the_size_that_stability_recommends():
    """The plan yields six sizes, receives their runs, and continues at 2048 MB, as in the published example."""
    plan = benchmark(max_concurrency=[4], multipliers=[1]).plan()
    assert len(next(plan).steps) == 6
    steps = plan.send(example_runs.stability_runs())
    assert [step.config for step in steps] == [ServerlessConfig(2048, 4)]
    with pytest.raises(StopIteration):
        plan.send(example_runs.concurrency_runs())


@pytest.mark.parametrize("objective", ["cost", "speed", "balanced"])
def test_the_objective_decides_the_size(objective):
    """`cost` recommends the smallest stable size, `speed` a larger one, `balanced` one between them."""
    plan = benchmark(objective=objective, max_concurrency=[4], multipliers=[1]).plan()
    next(plan)
    memory_mb = plan.send(example_runs.stability_runs())[0].config.memory_mb
    assert memory_mb in {"cost": (1024, 2048), "speed": (3072, 4096, 5120, 6144), "balanced": (2048,)}[objective]


def test_memory_size_overrides_the_recommendation():
    """With `memory_size` the concurrency benchmark runs at that size."""
    plan = benchmark(memory_size=6144, max_concurrency=[4], multipliers=[1]).plan()
    next(plan)
    assert plan.send(example_runs.stability_runs())[0].config.memory_mb == 6144


def test_without_the_concurrency_benchmark_the_plan_ends():
    """With include_concurrency=False the plan yields the stability steps only."""
    plan = benchmark(include_concurrency=False).plan()
    next(plan)
    with pytest.raises(StopIteration):
        plan.send(example_runs.stability_runs())


def test_without_a_stable_size_the_plan_ends():
    """When every size failed, no concurrency step is yielded."""
    plan = benchmark(memory_sizes=[1024]).plan()
    next(plan)
    with pytest.raises(StopIteration):
        plan.send([example_runs.all_failed()])


def test_configs_has_every_configuration_of_the_plan():
    """`configs` has all configurations that the plan may yield, the concurrency benchmark's at the largest size."""
    configs = benchmark(memory_sizes=[1024, 3072], max_concurrency=[2, 50], multipliers=[1]).configs()
    assert set(configs) >= {
        ServerlessConfig(1024, 1),
        ServerlessConfig(3072, 1),
        ServerlessConfig(3072, 2),
        ServerlessConfig(3072, 50),
    }
    assert len(set(benchmark(include_concurrency=False).configs())) == 6


@pytest.mark.parametrize(
    "bad",
    [
        {"memory_sizes": []},
        {"memory_sizes": [1500]},
        {"memory_sizes": [0]},
        {"invocations": 0},
        {"invocations": 2.5},
        {"error_limit": 0},
        {"cold_start_delay": -1},
        {"cold_start_delay": math.nan},
        {"max_concurrency": []},
        {"max_concurrency": [0]},
        {"max_concurrency": [201]},
        {"max_concurrency": [1.5]},
        {"multipliers": []},
        {"multipliers": [0]},
        {"multipliers": [-1]},
        {"multipliers": [math.nan]},
        {"multipliers": [math.inf]},
        {"concurrency_invocations": 0},
        {"memory_size": 1500},
        {"memory_size": 0},
        {"think": -1},
        {"backoff": math.nan},
        {"objective": "best"},
        {"timeout": 0},
        {"timeout": math.inf},
        {"seed": -1},
        {"seed": "x"},
    ],
    ids=str,
)
def test_invalid_settings_are_refused_when_built(bad):
    """Each setting out of its range is a usage error before anything is deployed (C04)."""
    with pytest.raises(UsageError):
        benchmark(**bad)


@pytest.mark.parametrize("requests", [[], ["x"], [b"x"]])
def test_a_benchmark_needs_requests(requests):
    """No requests, and values of another type, are refused."""
    with pytest.raises(UsageError):
        ServerlessBenchmark(Emulated(), requests)


@pytest.mark.parametrize(
    ("settings", "ramp_up"),
    [({}, 0), ({"think": 0.4}, 0.4), ({"think": Uniform(0, 1)}, 0.5), ({"think": 2.0, "ramp_up": 0}, 0)],
    ids=["no think time", "fixed", "random", "all at once"],
)
def test_clients_with_think_times_start_spread_out(settings, ramp_up):
    """The clients of the concurrency benchmark start over the mean think time, unless `ramp_up` is given."""
    steps = benchmark(**settings).concurrency_steps(2048)
    assert {step.load.ramp_up for step in steps} == {ramp_up}


def test_the_warm_up_is_that_of_the_concurrency_benchmark():
    """`warmup` is excluded from each concurrency step; the first call of a size stays counted."""
    scenario = benchmark(warmup=5.0)
    assert {step.warmup for step in scenario.concurrency_steps(2048)} == {5.0}
    assert {step.warmup for step in scenario.stability_steps()} == {0.0}


@pytest.mark.parametrize(
    ("invocations", "rounds", "block_size"),
    [(1000, None, 20), (45, None, 15), (21, None, 11), (5000, None, 50), (1000, 3, 334), (30, 30, 1)],
)
def test_the_default_is_blocks_of_about_20_calls(invocations, rounds, block_size):
    """Blocks have about 20 calls, more when that would need more than 100 rounds; `rounds` divides the calls."""
    assert benchmark(invocations=invocations, rounds=rounds).stability_rounds().block_size == block_size


@pytest.mark.parametrize("settings", [{"rounds": 1}, {"invocations": 20}, {"invocations": 1}])
def test_one_round_is_the_steps_themselves(settings):
    """With one round, or no more calls than one block, each size is measured in one piece."""
    scenario = benchmark(**settings)
    assert scenario.stability_rounds() == scenario.stability_steps()


@pytest.mark.parametrize(
    "settings", [{"rounds": 0}, {"rounds": 31, "invocations": 30}, {"ramp_up": -1}, {"warmup": -1}]
)
def test_rounds_and_start_out_of_range_are_refused(settings):
    """No round, more rounds than calls, and negative times are refused."""
    with pytest.raises(UsageError):
        benchmark(**settings)
