"""Options that several commands share, and how they change a scenario."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadgen.errors import UsageError

if TYPE_CHECKING:
    from loadgen.execution.executor import Executor
    from loadgen.scenario.loader import LoadedScenario


class Parser(argparse.ArgumentParser):
    """Raise UsageError for an invalid command line instead of printing the usage and exiting.

    Options are not abbreviated: an abbreviation that is unique today can be ambiguous, or another option, tomorrow.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False} | settings)

    def error(self, message: str) -> Any:
        """Raise the error that argparse found.

        Raises:
            UsageError: always.
        """
        raise UsageError(message, hint=f"{self.prog} --help")


AUTO = "auto"  # value of --workers
AddParser = Callable[..., Parser]  # add_parser of argparse's subparsers


def _worker_count(text: str) -> int | str:
    if text == AUTO:
        return text
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor {AUTO}") from error


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """Add --debug."""
    parser.add_argument("--debug", action="store_true", help="print tracebacks and debug logs")


def add_quiet_option(parser: argparse.ArgumentParser) -> None:
    """Add --quiet."""
    parser.add_argument("--quiet", action="store_true", help="print one line per step instead of live progress")


def add_run_options(parser: argparse.ArgumentParser, *, out_aliases: Sequence[str] = ()) -> None:
    """Add the options of the commands that run a scenario.

    Args:
        parser: the command's.
        out_aliases: further names of --out.
    """
    parser.add_argument(
        "--emulate",
        nargs="?",
        const="",
        metavar="PROFILE",
        help="run against the local emulator (no AWS account, no cost); PROFILE is mobilenet-v2, xgboost or "
        "huggingface",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a field of the scenario; can be repeated",
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="tag every created resource, such as with a cost center; can be repeated",
    )
    parser.add_argument(
        "--transport",
        choices=("auto", "wire", "botocore"),
        help="HTTP client: wire (built-in), botocore (AWS SDK) or auto",
    )
    parser.add_argument(
        "--workers",
        type=_worker_count,
        metavar="N",
        help="send from N local processes, auto for one per core less one; with --dask, from at most N Dask workers",
    )
    parser.add_argument(
        "--workers-per-node",
        type=int,
        metavar="N",
        help="processes on each Dask worker or instance (default: one per core less one)",
    )
    parser.add_argument("--dask", metavar="ADDRESS", help="send from the workers of the Dask cluster at this scheduler")
    group = parser.add_argument_group("limits")
    group.add_argument("--yes", action="store_true", help="create as many endpoints as the scenario asks for")
    group.add_argument("--max-endpoints", type=int, metavar="N", help="refuse to create more than N endpoints")
    group.add_argument("--max-spend", type=float, metavar="USD", help="stop the load once this much is spent")
    group.add_argument("--expect-account", metavar="ID", help="refuse to run in another AWS account")
    group.add_argument(
        "--grace",
        type=float,
        metavar="S",
        help="how long to wait for in-flight requests after a signal, in seconds (default 10)",
    )
    group.add_argument("--term-budget", type=float, metavar="S", help="exit within S seconds of SIGTERM")
    _add_invocation_options(parser, out_aliases)


def _add_invocation_options(parser: argparse.ArgumentParser, out_aliases: Sequence[str] = ()) -> None:
    """Add the options that belong to one invocation; the command to run again does not repeat them."""
    parser.add_argument(
        "--out", *out_aliases, type=Path, metavar="DIR", help="output directory (default: a new one in ./results)"
    )
    parser.add_argument(
        "--resume", type=Path, metavar="DIR", help="continue an interrupted run; finished steps are kept"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print planned resources, request count and maximum cost, then exit",
    )
    add_quiet_option(parser)
    add_debug_option(parser)
    # Added by _processing-instance to the command line of a job.
    parser.add_argument("--run-id", default="", help=argparse.SUPPRESS)
    parser.add_argument("--job-files", nargs=2, help=argparse.SUPPRESS)


def add_processing_job_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command that can run a scenario as a Processing job."""
    group = parser.add_argument_group("SageMaker Processing job")
    group.add_argument("--processing-job", action="store_true", help="run the scenario as a Processing job")
    group.add_argument("--role", metavar="ARN", help="execution role of the job")
    # The defaults are those of ProcessingJobSpec, which is expensive to import.
    group.add_argument("--instance-type", metavar="TYPE", help="instance type (default ml.m5.large)")
    group.add_argument(
        "--instance-count", type=int, dest="instances", metavar="N", help="number of instances (default 1)"
    )
    group.add_argument("--image", metavar="URI", help="container image with Python 3.11 or later")
    group.add_argument("--max-runtime", type=int, metavar="S", help="maximum job runtime in seconds (default 86400)")
    group.add_argument("--s3", metavar="s3://BUCKET/PREFIX", help="location of the job's code and results")
    group.add_argument("--wait", action="store_true", help="wait for the job's end and download its results")


def check_processing_job_options(options: argparse.Namespace) -> None:
    """Refuse an option of Processing jobs without --processing-job, which would have no effect.

    Raises:
        UsageError: there is one.
    """
    parser = Parser(add_help=False)
    add_processing_job_options(parser)
    unset = vars(parser.parse_args([]))
    if not options.processing_job and (given := [name for name in unset if getattr(options, name) != unset[name]]):
        option = "instance-count" if given[0] == "instances" else given[0].replace("_", "-")
        raise UsageError(f"--{option} without --processing-job", hint="add --processing-job, or leave it out")


def repeatable_argv(argv: Sequence[str], *, out_aliases: Sequence[str] = ()) -> list[str]:
    """Return a command's arguments without the options that belong to one invocation.

    Args:
        argv: arguments that the command's parser has accepted.
        out_aliases: as for `add_run_options`.

    Example:
        >>> repeatable_argv(["--quiet", "ask.py", "--out=x", "--set", "seed=7", "--max-spend", "5"])
        ['ask.py', '--set', 'seed=7', '--max-spend', '5']
    """
    parser = Parser(add_help=False)
    _add_invocation_options(parser, out_aliases)
    add_processing_job_options(parser)
    return parser.parse_known_args(argv)[1]


def apply_options(loaded: "LoadedScenario", options: argparse.Namespace) -> "LoadedScenario":
    """Return the scenario with --set, --emulate, --tag and --transport applied.

    Raises:
        UsageError: an option does not fit the scenario.
    """
    from loadgen.scenario.overrides import apply_overrides

    scenario: Any = apply_overrides(loaded.scenario, dict(_parse_setting(text) for text in options.set))
    if options.emulate is not None:
        scenario = replace(scenario, target=_emulated_target(scenario.target, options.emulate))
    if options.tag:
        if not hasattr(scenario.target, "tags"):
            raise UsageError("--tag works on SageMaker and Emulated only", hint="Existing creates nothing")
        tags = {**scenario.target.tags, **dict(_parse_setting(text, "--tag") for text in options.tag)}
        scenario = replace(scenario, target=replace(scenario.target, tags=tags))
    if options.transport is not None:
        if not hasattr(scenario.target, "transport"):
            raise UsageError("--transport works on SageMaker, Existing and Emulated only")
        scenario = replace(scenario, target=replace(scenario.target, transport=options.transport))
    return replace(loaded, scenario=scenario)


def _parse_setting(text: str, option: str = "--set") -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{option} {text}: no value", hint=f"write {option} name=value")
    return name.strip(), value.strip()


def _emulated_target(target: Any, profile: str) -> Any:
    """Return an Emulated target with the model name of the given target."""
    from loadgen.targets.emulated import Emulated

    if isinstance(target, Emulated):
        return Emulated(profile, model=target.model, tags=target.tags) if profile else target
    tags = getattr(target, "tags", {})
    return Emulated(profile or "mobilenet-v2", model=getattr(target, "model", None), tags=tags)


def executor(options: argparse.Namespace) -> "Executor | None":
    """Return the executor that the options select; None sends all requests from this process.

    Raises:
        LoadgenError: the executor cannot be used.
    """
    if options.job_files is not None:
        from loadgen.processing_job.cluster import job_executor

        resource_config, job_config = map(Path, options.job_files)
        return job_executor(resource_config, job_config, options.workers_per_node)
    if options.dask is not None:
        from loadgen.distributed.dask import DaskExecutor

        if options.workers == AUTO:
            raise UsageError("--dask with --workers auto", hint="without --workers, all Dask workers are used")
        return DaskExecutor(address=options.dask, workers=options.workers, workers_per_node=options.workers_per_node)
    if options.workers_per_node is not None:
        raise UsageError("--workers-per-node without --dask or --processing-job", hint="on one machine: --workers N")
    if options.workers is None:
        return None
    from loadgen.distributed.local_processes import ProcessExecutor, free_cores

    workers = free_cores() if options.workers == AUTO else options.workers
    return ProcessExecutor(workers) if workers != 1 else None
