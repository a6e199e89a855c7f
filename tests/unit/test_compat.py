"""The predecessor's two calls: their parameters, their defaults, and the scenario that they build."""

import inspect
from pathlib import Path

import pytest

import loadgen
from loadgen import Emulated, ServerlessBenchmark
from loadgen.compat import load_benchmark
from loadgen.scenario.benchmark_parameters import argv_from_settings, settings_from_arguments

# The signature of run_serverless_benchmarks in sm-serverless-benchmarking 0.2.3, from its second parameter on.
PREDECESSOR = {
    "cold_start_delay": 0,
    "memory_sizes": (1024, 2048, 3072, 4096, 5120, 6144),
    "stability_benchmark_invocations": 1000,
    "stability_benchmark_error_thresh": 3,
    "include_concurrency_benchmark": True,
    "concurrency_benchmark_max_conc": (2, 4, 8),
    "concurrency_benchmark_invocations": 1000,
    "concurrency_num_clients_multiplier": (1, 1.5, 1.75, 2),
    "result_save_path": ".",
}
OTHER = {
    "cold_start_delay": 7.5,
    "memory_sizes": [1024, 3072],
    "stability_benchmark_invocations": 11,
    "stability_benchmark_error_thresh": 2,
    "include_concurrency_benchmark": False,
    "concurrency_benchmark_max_conc": [5],
    "concurrency_benchmark_invocations": 13,
    "concurrency_num_clients_multiplier": [1.25],
}


@pytest.fixture
def examples(tmp_path) -> Path:
    path = tmp_path / "examples.jsonl"
    path.write_text('{"Body": "1,2,3"}\n')
    return path


@pytest.mark.parametrize("function", [loadgen.run_serverless_benchmarks, loadgen.run_as_sagemaker_job])
def test_both_calls_have_the_predecessors_parameters(function):
    """Names, order and defaults of the predecessor's parameters are kept; new parameters are keyword-only."""
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name in PREDECESSOR]
    assert [(p.name, p.default) for p in positional] == list(PREDECESSOR.items())
    assert positional[-1].name == [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][-1].name


def test_the_defaults_are_those_of_serverless_benchmark(examples):
    """The call without settings builds the scenario that ServerlessBenchmark's own defaults build."""
    target = Emulated()
    loaded = load_benchmark("model", examples, target=target)
    assert loaded.scenario == ServerlessBenchmark(target, loaded.scenario.requests)


def test_a_job_is_given_every_argument():
    """The command line of a Processing job has an option for each argument of the call."""
    argv = argv_from_settings(settings_from_arguments(OTHER))
    assert " ".join(argv) == (
        "--cold_start_delay 7.5 --memory_sizes 1024 3072 --stability_benchmark_invocations 11 "
        "--stability_benchmark_error_thresh 2 --no_include_concurrency_benchmark --concurrency_benchmark_max_conc 5 "
        "--concurrency_benchmark_invocations 13 --concurrency_num_clients_multiplier 1.25"
    )


def test_every_argument_sets_a_field(examples):
    """Each of the predecessor's parameters changes its field of ServerlessBenchmark."""
    scenario = load_benchmark("model", examples, **settings_from_arguments(OTHER)).scenario
    assert isinstance(scenario, ServerlessBenchmark)
    assert (scenario.cold_start_delay, scenario.memory_sizes, scenario.invocations) == (7.5, (1024, 3072), 11)
    assert (scenario.error_limit, scenario.include_concurrency, scenario.max_concurrency) == (2, False, (5,))
    assert (scenario.concurrency_invocations, scenario.multipliers) == (13, (1.25,))
