"""Options of the commands that run a scenario, and the arguments that run the same again."""

from dataclasses import replace
from pathlib import Path

import pytest

from loadgen import ClosedLoop, Existing, Request, SageMaker, Scenario, ServerlessConfig, Step
from loadgen.cli.main import build_parser
from loadgen.cli.options import apply_options, repeatable_argv
from loadgen.errors import UsageError
from loadgen.processing_job.job_spec import INSTANCE_TYPE, MAX_RUNTIME
from loadgen.scenario.benchmark_parameters import PARAMETERS, settings_from_arguments
from loadgen.scenario.loader import LoadedScenario
from loadgen.scenario.serverless_benchmark import ServerlessBenchmark


@pytest.mark.parametrize(
    ("argv", "repeated"),
    [
        (["ask.py"], ["ask.py"]),
        (["--quiet", "ask.py", "--debug", "--dry-run"], ["ask.py"]),
        (["ask.py", "--out", "x", "--set", "a=1", "--out=y", "--set=b=--out"], ["ask.py", "--set", "a=1", "--set=b=--out"]),
        (["--emulate", "xgboost", "ask.py"], ["--emulate", "xgboost", "ask.py"]),
        (["ask.py", "--emulate", "--resume", "x"], ["ask.py", "--emulate"]),
        (["ask.py", "--max-spend", "5", "--max-r", "60", "--instance-t", "ml.c5.large"], ["ask.py", "--max-spend", "5"]),
        (["ask.py", "--processing-job", "--role", "arn", "--wait", "--yes", "--grace=3"], ["ask.py", "--yes", "--grace=3"]),
        (["ask.py", "--run-id", "r", "--job-files", "a", "b", "--term-budget", "9"], ["ask.py", "--term-budget", "9"]),
    ],
)  # fmt: skip
def test_repeatable_argv_drops_the_options_of_one_invocation(argv, repeated):
    """Output, display, resume and job options are dropped with their values; the rest keeps its form and order."""
    build_parser()[1]["run"].parse_args(argv)
    assert repeatable_argv(argv) == repeated


def test_repeatable_argv_drops_aliases_of_out():
    """The predecessor's --result_save_path is dropped as --out is."""
    argv = ["model", "examples.jsonl", "--result_save_path", "x", "--memory_sizes", "1024", "2048"]
    repeated = ["model", "examples.jsonl", "--memory_sizes", "1024", "2048"]
    assert repeatable_argv(argv, out_aliases=("--result_save_path",)) == repeated


@pytest.mark.parametrize("emulate", [(), ("--emulate",)])
def test_tag_adds_to_the_tags_of_the_target(emulate):
    """--tag KEY=VALUE adds a tag or replaces that of the scenario, with --emulate too; the value may contain =."""
    scenario = Scenario(
        SageMaker("m", tags={"Team": "a", "Stage": "x"}),
        [Request(b"1")],
        [Step(ServerlessConfig(1024), ClosedLoop(1, count=1), name="s")],
    )
    loaded = LoadedScenario(scenario, "test", "", "", Path("ask.py"))
    options = build_parser()[1]["run"].parse_args(["ask.py", "--tag", "Team=b", "--tag=Cost=1=2", *emulate])
    assert apply_options(loaded, options).scenario.target.tags == {"Team": "b", "Stage": "x", "Cost": "1=2"}


def test_tag_needs_a_target_that_creates_something():
    """--tag is refused for an existing endpoint, without a value, and with an invalid key."""
    parser = build_parser()[1]["run"]
    step = Step(None, ClosedLoop(1, count=1), name="s")
    loaded = LoadedScenario(Scenario(Existing("e"), [Request(b"1")], [step]), "test", "", "", Path("ask.py"))
    with pytest.raises(UsageError, match="SageMaker and Emulated only"):
        apply_options(loaded, parser.parse_args(["ask.py", "--tag", "Team=b"]))
    loaded = replace(loaded, scenario=replace(loaded.scenario, target=SageMaker("m")))
    for tag, message in (("Team", "no value"), ("aws:x=1", "AWS reserves")):
        with pytest.raises(UsageError, match=message):
            apply_options(loaded, parser.parse_args(["ask.py", "--tag", tag]))


def test_defaults_in_help_texts_are_the_real_ones():
    """The help of the job options names the defaults of ProcessingJobSpec, which `run` does not import."""
    help_text = " ".join(build_parser()[1]["run"].format_help().split())
    assert f"(default {INSTANCE_TYPE})" in help_text
    assert f"(default {MAX_RUNTIME})" in help_text


def test_benchmark_defaults_are_those_of_the_scenario():
    """The benchmark command without options sets the defaults of ServerlessBenchmark, and its help shows them."""
    parser = build_parser()[1]["benchmark"]
    settings = settings_from_arguments(vars(parser.parse_args(["model", "examples.jsonl"])))
    assert settings == {name: ServerlessBenchmark.__dataclass_fields__[name].default for name in settings}
    assert len(settings) == len(PARAMETERS)
    assert "(default 1 1.5 1.75 2)" in " ".join(parser.format_help().split())
