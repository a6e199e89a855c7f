"""The command line: arguments, loop, signals, exit status. The only file that touches the process.

Nothing heavy is imported before it is known what to do: `--help` needs no AWS package.
"""

import argparse
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadgen.errors import ExitStatus, LoadgenError, ResourceError, UsageError
from loadgen.interrupts import Interrupted, Interrupts
from loadgen.saying import say

if TYPE_CHECKING:
    import asyncio

    from loadgen.runners.crew import Crew
    from loadgen.scenario import LoadedScenario

_EPILOG = """\
commands:
  SCENARIO.py          run a scenario file (this page)
  benchmark MODEL FILE run the whole serverless benchmark of a model on AWS
  emulate              serve AWS's APIs on this machine, for nothing
  fetch JOB            bring a Processing job's results home
  cleanup [RUN]        remove what a run that died left behind
  report DIR           make all tables and pages again from saved runs
  explain STATUS       say what an exit status means

`python -m loadgen COMMAND --help` tells more. Nothing bills unless a scenario names SageMaker or an existing endpoint.
"""


class _Parser(argparse.ArgumentParser):
    """Says what was wrong in one line, as every other error of loadgen does."""

    def error(self, message: str) -> Any:
        raise UsageError(message, hint=f"{self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; `argv` is `sys.argv[1:]` by default."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--debug" not in words:
        return _end_in_a_line(words)
    from loadgen.logs import logged
    from loadgen.redact import secrets_of

    with logged(sys.stderr, secrets_of(os.environ)):
        return _end_in_a_line(words, debug=True)


def _end_in_a_line(words: list[str], *, debug: bool = False) -> int:
    """Run a command; whatever it raises becomes one line and an exit status."""
    try:
        return int(_command(words))
    except LoadgenError as error:
        _tell(error, debug=debug)
        return int(error.status)
    except MemoryError:
        _tell(ResourceError("out of memory", hint="fewer clients, smaller payloads, or a larger machine"), debug=debug)
        return int(ExitStatus.OS_RESOURCE)
    except BrokenPipeError:  # `... | head`: the reader has gone, and that is no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitStatus.OK)
    except Interrupted as stopped:
        return int(stopped.status)
    except KeyboardInterrupt:
        return int(ExitStatus.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last resort: a bug of ours must still end in one line
        hint = "this is a bug in loadgen; run again with --debug and report what it prints"
        _tell(LoadgenError(f"{type(error).__name__}: {error}", hint=hint), cause=error, debug=debug)
        return int(ExitStatus.INTERNAL)


def _tell(error: LoadgenError, *, debug: bool, cause: BaseException | None = None) -> None:
    if debug:
        say(*"".join(traceback.format_exception(cause or error)).splitlines())
    say(f"loadgen: error[{error.status.name}]: {error}", *(f"  {line}" for line in error.details[:10]))


def _command(words: list[str]) -> ExitStatus | int:
    commands: dict[str, Callable[[list[str]], ExitStatus | int]] = {
        "benchmark": _benchmark,
        "emulate": _emulate,
        "fetch": _fetch,
        "instance": _instance,
        "cleanup": _cleanup,
        "report": _report,
        "explain": _explain,
        "work": _work,
    }
    if words and words[0] in commands:
        return commands[words[0]](words[1:])
    return _scenario(words)


def _scenario(words: list[str]) -> ExitStatus | int:
    parser = _Parser(
        prog="python -m loadgen",
        description="Measure what a SageMaker endpoint can do and what it costs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", metavar="SCENARIO.py", help="a Python file that defines `scenario`")
    _add_run_options(parser)
    parser.add_argument("--version", action="version", version=f"loadgen {version('loadgen')}")
    if not words:
        parser.print_help(sys.stderr)
        return ExitStatus.USAGE
    options = parser.parse_args(words)
    interrupts = Interrupts()
    with interrupts.installed():
        from loadgen.scenario import load_scenario

        path = Path(options.scenario)
        if not options.processing_job:
            return _run(load_scenario(path), options, interrupts)
        from loadgen import hiring
        from loadgen.runners.parcel import opened, pack

        with opened() as paths:
            loaded = _chosen(load_scenario(path), options)
        parcel = pack(paths, scenario=path, working=Path())
        words = [parcel.name_of(path), *_rerun(loaded, options)[1:]]
        return hiring.submit(loaded, options, words=words, parcel=parcel, interrupts=interrupts)


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


def _run(loaded: "LoadedScenario", options: argparse.Namespace, interrupts: Interrupts) -> ExitStatus:
    return _execute(_chosen(loaded, options), options, interrupts)


def _chosen(loaded: "LoadedScenario", options: argparse.Namespace) -> "LoadedScenario":
    """Return the scenario as the options change it."""
    from loadgen.scenario import change

    settings = dict(_setting(text) for text in options.set)
    scenario = change(loaded.scenario, settings)
    if options.emulate is not None:
        scenario = _with_target(scenario, _rehearsal(scenario.target, options.emulate))
    if options.transport is not None:
        scenario = _with_target(scenario, replace(_as_ours(scenario.target), transport=options.transport))
    return replace(loaded, scenario=scenario)


def _with_target(scenario: Any, target: Any) -> Any:
    """Return the scenario against another place."""
    return replace(scenario, target=target)


def _as_ours(target: Any) -> Any:
    if not hasattr(target, "transport"):
        raise UsageError("--transport works on SageMaker, Existing and Emulated only")
    return target


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: no value", hint="write --set name=value")
    return name.strip(), value.strip()


def _rehearsal(target: Any, profile: str) -> Any:
    """Return the emulator in place of a target, with the same model name."""
    from loadgen.targets.emulated import Emulated

    if isinstance(target, Emulated):
        return Emulated(profile, model=target.model) if profile else target
    return Emulated(profile or "mobilenet-v2", model=getattr(target, "model", None))


def _execute(loaded: "LoadedScenario", options: argparse.Namespace, interrupts: Interrupts) -> ExitStatus:
    from loadgen import running

    return running.execute(
        loaded,
        options,
        command=shlex.join(["python", "-m", "loadgen", *_rerun(loaded, options)]),
        crew=_crew(options),
        interrupts=interrupts,
        loop_factory=_loop_factory(),
    )


def _crew(options: argparse.Namespace) -> "Crew | None":
    """Return who sends the requests; None for this process alone."""
    if options.as_instance is not None:
        from loadgen import hiring

        return hiring.instances(*options.as_instance)
    if options.dask is not None:
        from loadgen.runners.dask import DaskCrew

        return DaskCrew(address=options.dask, workers=options.workers)
    if options.workers in (None, 1):
        return None
    from loadgen.runners.processes import Processes

    return Processes(options.workers)


def _rerun(loaded: "LoadedScenario", options: argparse.Namespace) -> list[str]:
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


def _benchmark(words: list[str]) -> ExitStatus | int:
    from loadgen import predecessor

    parser = _Parser(prog="python -m loadgen benchmark", description="Benchmark a SageMaker model over memory sizes.")
    predecessor.add_arguments(parser)
    _add_run_options(parser)
    options = parser.parse_args(words)
    if options.processing_job:
        raise UsageError(
            "benchmark --processing-job", hint="call loadgen.run_as_sagemaker_job(), or write a scenario file"
        )
    interrupts = Interrupts()
    with interrupts.installed():
        return _run(predecessor.from_arguments(options), options, interrupts)


def _emulate(words: list[str]) -> ExitStatus | int:
    from loadgen.emulator import command

    parser = _Parser(prog="python -m loadgen emulate", description="Serve AWS's APIs on one loopback port.")
    command.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return command.run(parser.parse_args(words))


def _fetch(words: list[str]) -> ExitStatus | int:
    from loadgen import hiring

    parser = _Parser(prog="python -m loadgen fetch", description="Bring a Processing job's results home.")
    hiring.add_fetch_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return hiring.fetch(parser.parse_args(words))


def _instance(words: list[str]) -> ExitStatus | int:
    """Be an instance of a Processing job: not for people, who have --processing-job."""
    from loadgen import hiring

    parser = _Parser(prog="python -m loadgen instance")
    hiring.add_instance_arguments(parser)
    return hiring.serve(parser.parse_args(words), main)


def _work(words: list[str]) -> int:
    """Be one of several workers: not for people, who have --workers."""
    from loadgen.runners import processes

    _Parser(prog="python -m loadgen work").parse_args(words)
    return processes.work()


def _cleanup(words: list[str]) -> ExitStatus | int:
    parser = _Parser(prog="python -m loadgen cleanup", description="Remove what a run that died left behind.")
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id or directory; else every run that is over")
    parser.add_argument("--dry-run", action="store_true", help="list what would be removed, and stop")
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(words)

    from loadgen.aws import command

    return command.run(options)


def _report(words: list[str]) -> ExitStatus | int:
    parser = _Parser(prog="python -m loadgen report", description="Make all tables and pages again from saved runs.")
    parser.add_argument("directory", type=Path, metavar="DIR", help="an output directory")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(words)

    from loadgen import job
    from loadgen.report import live
    from loadgen.results import Results

    results = Results.open(options.directory)
    findings, page = job.report(results)
    live.show(results.manifest, findings, page)
    return ExitStatus.OK


def _explain(words: list[str]) -> ExitStatus | int:
    parser = _Parser(prog="python -m loadgen explain", description="Say what an exit status means.")
    parser.add_argument("status", type=int)
    options = parser.parse_args(words)
    classes = {kind.status: kind for kind in LoadgenError.__subclasses__()}
    try:
        status = ExitStatus(options.status)
    except ValueError:
        raise UsageError(
            f"loadgen has no exit status {options.status}", hint=f"it has {', '.join(str(int(s)) for s in ExitStatus)}"
        ) from None
    kind = classes.get(status)
    print(f"{int(status)} {status.name}: {(kind.__doc__ or '').splitlines()[0] if kind else _MEANINGS[status]}")  # noqa: T201
    return ExitStatus.OK


_MEANINGS = {
    ExitStatus.OK: "Everything was measured, the verdict is VALID, nothing is left behind.",
    ExitStatus.THRESHOLD: "A promise (SLO) of the scenario was broken.",
    ExitStatus.INVALID: "The run took place, but its numbers are not to be trusted; the report says why.",
    ExitStatus.INTERRUPTED: "Stopped by Ctrl-C; what was measured is kept, endpoints are removed.",
    ExitStatus.TERMINATED: "Stopped by SIGTERM; what was measured is kept, endpoints are removed.",
}
