"""Options of the commands that run a scenario, and the arguments that run the same again."""

from dataclasses import replace
from pathlib import Path

import pytest

from loadgen import ClosedLoop, Existing, Request, SageMaker, Scenario, ServerlessConfig, Step
from loadgen.cli.main import build_parser
from loadgen.cli.main import main as command_line
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
        (["ask.py", "--max-spend", "5", "--max-runtime", "60", "--instance-type", "ml.c5.large"], ["ask.py", "--max-spend", "5"]),
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


COMMANDS = build_parser()[1]
LONG_OPTIONS = [
    (command, option)
    for command, parser in COMMANDS.items()
    for option in sorted(parser._option_string_actions)
    if option.startswith("--")
]


@pytest.mark.parametrize(("command", "option"), LONG_OPTIONS)
def test_options_cannot_be_abbreviated(capsys, command, option):
    """No command accepts a shortened option, which could be another option in the next version."""
    shortened = option[:-1]
    if shortened not in COMMANDS[command]._option_string_actions and len(shortened) > 2:
        assert command_line([command, *["1"] * 2, shortened, "1"]) == 2
        assert capsys.readouterr().err.startswith("loadgen: error[USAGE]")


def test_benchmark_lists_no_option_that_it_refuses(capsys):
    """`benchmark` has no options of Processing jobs, and its help names the call that has them."""
    help_text = " ".join(COMMANDS["benchmark"].format_help().split())
    assert "--processing-job" not in help_text
    assert "--role" not in help_text
    assert "loadgen.run_as_sagemaker_job()" in help_text
    assert command_line(["benchmark", "model", "examples.jsonl", "--processing-job"]) == 2
    assert "--processing-job" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        *(["--role", "arn"], ["--instance-type", "ml.c5.large"], ["--instance-count", "2"], ["--image", "x"]),
        *(["--max-runtime", "60"], ["--s3", "s3://bucket"], ["--wait"]),
    ],
)
def test_an_option_of_processing_jobs_alone_is_refused(capsys, argv):
    """An option of Processing jobs without --processing-job is a usage error that names both, not ignored."""
    assert command_line(["run", "scenario.py", *argv]) == 2
    assert f"{argv[0]} without --processing-job" in capsys.readouterr().err
