"""Options shared by the commands that run a scenario, and what they make of it."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadgen.errors import UsageError

if TYPE_CHECKING:
    import asyncio

    from loadgen.execution.executor import Executor
    from loadgen.scenario.loader import LoadedScenario


class _Parser(argparse.ArgumentParser):
    """Says what was wrong in one line, as every other error of loadgen does."""

    def error(self, message: str) -> Any:
        raise UsageError(message, hint=f"{self.prog} --help")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write; by default a new directory in ./results"
    )
    parser.add_argument(
        "--emulate",
        nargs="?",
        const="",
        metavar="PROFILE",
        help="rehearse against the emulator, for nothing: mobilenet-v2, xgboost or huggingface",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a field of the scenario; may be repeated",
    )
    parser.add_argument("--transport", choices=("auto", "wire", "botocore"), help="how requests travel")
    parser.add_argument("--workers", type=int, metavar="N", help="send from N processes; of a Dask cluster, at most N")
    parser.add_argument("--dask", metavar="ADDRESS", help="send from the workers of the Dask cluster at this scheduler")
    group = parser.add_argument_group("safety")
    group.add_argument("--dry-run", action="store_true", help="say what would be created and cost at most, and stop")
    group.add_argument("--yes", action="store_true", help="create as many endpoints as the scenario asks for")
    group.add_argument("--max-endpoints", type=int, metavar="N", help="refuse to create more endpoints than this")
    group.add_argument("--max-spend", type=float, metavar="USD", help="send no more once this much was spent")
    group.add_argument("--expect-account", metavar="ID", help="refuse to run in any other AWS account")
    group.add_argument("--resume", type=Path, metavar="DIR", help="go on with a run that died; finished steps are kept")
    group.add_argument("--grace", type=float, metavar="S", help="seconds for requests in flight after Ctrl-C (10)")
    group.add_argument("--term-budget", type=float, metavar="S", help="seconds from SIGTERM until it must be gone")
    _add_job_options(parser)
    parser.add_argument("--quiet", action="store_true", help="one line for each step instead of live progress")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("as a SageMaker Processing job")
    group.add_argument("--processing-job", action="store_true", help="run in the cloud, beside the endpoint")
    group.add_argument("--role", metavar="ARN", help="execution role that the job acts as")
    group.add_argument("--instance-type", default="ml.m5.large", metavar="TYPE", help="ml.m5.large by default")
    group.add_argument("--instance-count", type=int, default=1, metavar="N", help="each instance sends a shard")
    group.add_argument("--image", default="", metavar="URI", help="of a container with Python 3.11 or later")
    group.add_argument("--max-runtime", type=int, default=86400, metavar="S", help="it is ended then (86400)")
    group.add_argument("--s3", metavar="s3://BUCKET/PREFIX", help="where its code and results go")
    group.add_argument("--wait", action="store_true", help="wait for its end, and bring the results home")
    # What a job's own command line is given, by `instance`.
    parser.add_argument("--run-id", default="", help=argparse.SUPPRESS)
    parser.add_argument("--as-instance", nargs=2, help=argparse.SUPPRESS)


def _apply_options(loaded: "LoadedScenario", options: argparse.Namespace) -> "LoadedScenario":
    """Return the scenario as the options change it."""
    from loadgen.scenario.overrides import apply_overrides

    settings = dict(_parse_setting(text) for text in options.set)
    scenario = apply_overrides(loaded.scenario, settings)
    if options.emulate is not None:
        scenario = _with_target(scenario, _emulated_target(scenario.target, options.emulate))
    if options.transport is not None:
        scenario = _with_target(
            scenario, replace(_require_transport_field(scenario.target), transport=options.transport)
        )
    return replace(loaded, scenario=scenario)


def _with_target(scenario: Any, target: Any) -> Any:
    """Return the scenario against another place."""
    return replace(scenario, target=target)


def _require_transport_field(target: Any) -> Any:
    if not hasattr(target, "transport"):
        raise UsageError("--transport works on SageMaker, Existing and Emulated only")
    return target


def _parse_setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: no value", hint="write --set name=value")
    return name.strip(), value.strip()


def _emulated_target(target: Any, profile: str) -> Any:
    """Return the emulator in place of a target, with the same model name."""
    from loadgen.targets.emulated import Emulated

    if isinstance(target, Emulated):
        return Emulated(profile, model=target.model) if profile else target
    return Emulated(profile or "mobilenet-v2", model=getattr(target, "model", None))


def _executor(options: argparse.Namespace) -> "Executor | None":
    """Return who sends the requests; None for this process alone."""
    if options.as_instance is not None:
        from loadgen.cli import processing

        return processing.cluster_executor(*options.as_instance)
    if options.dask is not None:
        from loadgen.distributed.dask import DaskExecutor

        return DaskExecutor(address=options.dask, workers=options.workers)
    if options.workers in (None, 1):
        return None
    from loadgen.distributed.local_processes import ProcessExecutor

    return ProcessExecutor(options.workers)


def _to_argv(loaded: "LoadedScenario", options: argparse.Namespace) -> list[str]:
    """Return the arguments that run the same again."""
    words = [str(loaded.path)]
    words += [f"--set={text}" for text in options.set]
    if options.emulate is not None:
        words += ["--emulate", options.emulate] if options.emulate else ["--emulate"]
    if options.transport is not None:
        words += ["--transport", options.transport]
    if options.workers is not None:
        words += ["--workers", str(options.workers)]
    if options.dask is not None:
        words += ["--dask", options.dask]
    for name in ("max_endpoints", "max_spend", "expect_account", "grace", "term_budget"):
        if getattr(options, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return [*words, "--yes"] if options.yes else words


def _loop_factory() -> "Callable[[], asyncio.AbstractEventLoop] | None":
    try:
        import uvloop
    except ImportError:  # not on this platform
        return None
    return uvloop.new_event_loop
