"""The predecessor's two calls: their parameters, their defaults, and the scenario that they build."""

import inspect
import math
from pathlib import Path

import pytest

import loadgen
from loadgen import Emulated, ServerlessBenchmark
from loadgen.compat import load_benchmark
from loadgen.errors import ConfigError, LoadgenError
from loadgen.processing_job import client
from loadgen.scenario.benchmark_parameters import argv_from_settings, settings_from_arguments
from tests.support.emulator import emulated

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


ROLE = "arn:aws:iam::123456789012:role/loadgen"
# Each parameter of run_as_sagemaker_job with values that it cannot have.
INVALID_ARGUMENTS = {
    "tags": [{"aws:team": "x"}, {"": "x"}, {"k": "v" * 257}, [("k", "v")], "k=v", {1: "x"}],
    "role": ["", "role", None, 5, "arn:aws:iam::1:role/x", "arn:aws:iam::123456789012:user/x", f"{ROLE} x"],
    "model_name": ["", "a b", "x" * 64, "-x", None, 5],
    "invoke_args_examples_file": ["nothing.jsonl", "", ".", "empty.jsonl", None],
    "s3_output_path": ["", "bucket", "s3://", "s3:///x", "s3://UP per/x", "http://x", 5],
    "wait": ["no", 2, None],
    "cold_start_delay": [-1, math.nan, math.inf, "x", None],
    "memory_sizes": [[1500], [7168], [-1024], [True], [1024.5], [], 1024, "1024", None],
    "stability_benchmark_invocations": [-4, 0, 1.5, "x", None, True],
    "stability_benchmark_error_thresh": [-4, 0, 1.5, "x", None],
    "include_concurrency_benchmark": ["no", None, 2],
    "concurrency_benchmark_max_conc": [[0], [201], [], 2, ["x"], None],
    "concurrency_benchmark_invocations": [-4, 0, 1.5, "x", None],
    "concurrency_num_clients_multiplier": [[0], [-1], [math.nan], [math.inf], [1e300], ["x"], [], 1.5, None],
    "result_save_path": ["empty.jsonl", "a\0b", "/proc/x", None],
    "instance_type": ["", "m5.large", "ml.", "ml.m5", "ml.m5 large", None, 5],
    "instance_count": [0, 101, 1.5, "2", None, True],
    "image": ["a b", "http://x/y", "x" * 300, "ubuntu/" + "x" * 300, None, 5],
    "max_runtime": [0, 777_601, 1.5, math.nan, "x", None],
    "region": ["", "us east 1", "mars", 5],
}


def test_the_table_of_invalid_arguments_is_complete():
    """Every parameter of `run_as_sagemaker_job` has invalid values in the table."""
    assert set(INVALID_ARGUMENTS) == set(inspect.signature(loadgen.run_as_sagemaker_job).parameters)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in INVALID_ARGUMENTS.items() for value in values]
)
def test_an_invalid_argument_is_refused_before_anything_is_uploaded(examples, monkeypatch, name, value):
    """An invalid argument is an error of one line before the job's client is called."""

    async def create_job(*_, **__):
        raise AssertionError("the argument was accepted")

    monkeypatch.chdir(examples.parent)
    Path("empty.jsonl").touch()
    monkeypatch.setattr(client, "create_job", create_job)
    valid = {"role": ROLE, "model_name": "m", "invoke_args_examples_file": examples, "wait": name == "result_save_path"}
    with pytest.raises(LoadgenError) as caught:
        loadgen.run_as_sagemaker_job(**valid | {name: value})
    assert "\n" not in str(caught.value)


def test_a_region_without_an_image_is_refused_before_anything_is_uploaded(examples, monkeypatch):
    """In a region without a default image the job needs `image`; no bucket is created before that is known."""
    with emulated(region="eu-south-2") as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        with pytest.raises(ConfigError, match="no default container image for eu-south-2"):
            loadgen.run_as_sagemaker_job(ROLE, "m", examples, region="eu-south-2")
        assert not list(emulator.storage.bucket_names())


def test_a_second_benchmark_in_a_directory_is_saved_beside_the_first(examples, monkeypatch, capsys):
    """Three calls with one `result_save_path` keep three results; the second and third name their directory."""
    monkeypatch.chdir(examples.parent)
    with emulated() as emulator:
        target = Emulated(model="quick", url=emulator.url)
        settings = {"memory_sizes": [1024], "stability_benchmark_invocations": 5, "target": target}
        for _ in range(3):
            page = loadgen.run_serverless_benchmarks(
                "quick", examples, include_concurrency_benchmark=False, result_save_path="out", **settings
            )
            assert "<html" in page
    written = capsys.readouterr().err
    for name in ("out", "out-2", "out-3"):
        assert (Path(name) / "result.json").exists()
    assert "result_save_path 'out' holds an earlier benchmark; saving to 'out-2'" in written
    assert "saving to 'out-3'" in written


def test_an_unusable_result_save_path_is_named_in_the_predecessors_words(examples):
    """A `result_save_path` that is a file is refused with a hint at that parameter, not at the command line's --out."""
    with pytest.raises(LoadgenError, match="result_save_path") as caught:
        loadgen.run_serverless_benchmarks("quick", examples, result_save_path=examples, target=Emulated())
    assert "--out" not in str(caught.value)
