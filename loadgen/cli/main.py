"""The command line: arguments, loop, signals, exit status. The only file that touches the process.

Nothing heavy is imported before it is known what to do: `--help` needs no AWS package.
"""

import argparse
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from loadgen.cli.messages import echo
from loadgen.cli.options import _add_run_options, _apply_options, _executor, _loop_factory, _Parser, _to_argv
from loadgen.cli.signals import Interrupted, SignalHandler
from loadgen.errors import STATUS_MEANINGS, ExitStatus, LoadgenError, ResourceError, UsageError
from loadgen.report.build import build_report

if TYPE_CHECKING:
    from loadgen.scenario.loader import LoadedScenario
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; `argv` is `sys.argv[1:]` by default."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--debug" not in words:
        return _run_command(words)
    from loadgen.cli.debug_log import debug_logging
    from loadgen.redaction import secrets_in

    with debug_logging(sys.stderr, secrets_in(os.environ)):
        return _run_command(words, debug=True)


def _run_command(argv: list[str], *, debug: bool = False) -> int:
    """Run a command; whatever it raises becomes one line and an exit status."""
    try:
        return int(_dispatch(argv))
    except LoadgenError as error:
        _print_error(error, debug=debug)
        return int(error.status)
    except MemoryError:
        _print_error(
            ResourceError("out of memory", hint="fewer clients, smaller payloads, or a larger machine"), debug=debug
        )
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
        _print_error(LoadgenError(f"{type(error).__name__}: {error}", hint=hint), cause=error, debug=debug)
        return int(ExitStatus.INTERNAL)


def _print_error(error: LoadgenError, *, debug: bool, cause: BaseException | None = None) -> None:
    if debug:
        echo(*"".join(traceback.format_exception(cause or error)).splitlines())
    echo(f"loadgen: error[{error.status.name}]: {error}", *(f"  {line}" for line in error.details[:10]))


def _dispatch(argv: list[str]) -> ExitStatus | int:
    commands: dict[str, Callable[[list[str]], ExitStatus | int]] = {
        "benchmark": _benchmark,
        "emulate": _emulate,
        "fetch": _fetch,
        "_processing-instance": _processing_instance,
        "cleanup": _cleanup,
        "report": _report,
        "explain": _explain,
        "_worker": _worker,
    }
    if argv and argv[0] in commands:
        return commands[argv[0]](argv[1:])
    return _scenario(argv)


def _scenario(argv: list[str]) -> ExitStatus | int:
    parser = _Parser(
        prog="python -m loadgen",
        description="Measure what a SageMaker endpoint can do and what it costs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", metavar="SCENARIO.py", help="a Python file that defines `scenario`")
    _add_run_options(parser)
    parser.add_argument("--version", action="version", version=f"loadgen {version('loadgen')}")
    if not argv:
        parser.print_help(sys.stderr)
        return ExitStatus.USAGE
    options = parser.parse_args(argv)
    interrupts = SignalHandler()
    with interrupts.install():
        from loadgen.scenario.loader import load_scenario

        path = Path(options.scenario)
        if not options.processing_job:
            return _run(load_scenario(path), options, interrupts)
        from loadgen.cli import processing
        from loadgen.processing_job.bundle import build_bundle, record_opened_files

        with record_opened_files() as paths:
            loaded = _apply_options(load_scenario(path), options)
        parcel = build_bundle(paths, scenario=path, working_directory=Path())
        argv = [parcel.remote_path(path), *_to_argv(loaded, options)[1:]]
        return processing.submit_job(loaded, options, argv=argv, bundle=parcel, signal_handler=interrupts)


def _run(loaded: "LoadedScenario", options: argparse.Namespace, signal_handler: SignalHandler) -> ExitStatus:
    return _execute(_apply_options(loaded, options), options, signal_handler)


def _execute(loaded: "LoadedScenario", options: argparse.Namespace, signal_handler: SignalHandler) -> ExitStatus:
    from loadgen.cli import run

    return run.run_and_report(
        loaded,
        options,
        command=shlex.join(["python", "-m", "loadgen", *_to_argv(loaded, options)]),
        executor=_executor(options),
        signal_handler=signal_handler,
        loop_factory=_loop_factory(),
    )


def _benchmark(argv: list[str]) -> ExitStatus | int:
    from loadgen.cli import benchmark

    parser = _Parser(prog="python -m loadgen benchmark", description="Benchmark a SageMaker model over memory sizes.")
    benchmark.add_arguments(parser)
    _add_run_options(parser)
    options = parser.parse_args(argv)
    if options.processing_job:
        raise UsageError(
            "benchmark --processing-job", hint="call loadgen.run_as_sagemaker_job(), or write a scenario file"
        )
    interrupts = SignalHandler()
    with interrupts.install():
        return _run(benchmark.from_arguments(options), options, interrupts)


def _emulate(argv: list[str]) -> ExitStatus | int:
    from loadgen.cli import emulate

    parser = _Parser(prog="python -m loadgen emulate", description="Serve AWS's APIs on one loopback port.")
    emulate.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return emulate.run(parser.parse_args(argv))


def _fetch(argv: list[str]) -> ExitStatus | int:
    from loadgen.cli import processing

    parser = _Parser(prog="python -m loadgen fetch", description="Bring a Processing job's results home.")
    processing.add_fetch_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return processing.fetch_job(parser.parse_args(argv))


def _processing_instance(argv: list[str]) -> ExitStatus | int:
    """Be an instance of a Processing job: not for people, who have --processing-job."""
    from loadgen.cli import processing

    parser = _Parser(prog="python -m loadgen _processing-instance")
    processing.add_instance_arguments(parser)
    return processing.run_instance(parser.parse_args(argv), main)


def _worker(argv: list[str]) -> int:
    """Be one of several workers: not for people, who have --workers."""
    from loadgen.distributed import local_processes

    _Parser(prog="python -m loadgen _worker").parse_args(argv)
    return local_processes.worker_main()


def _cleanup(argv: list[str]) -> ExitStatus | int:
    parser = _Parser(prog="python -m loadgen cleanup", description="Remove what a run that died left behind.")
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id or directory; else every run that is over")
    parser.add_argument("--dry-run", action="store_true", help="list what would be removed, and stop")
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(argv)

    from loadgen.cli import cleanup

    return cleanup.run(options)


def _report(argv: list[str]) -> ExitStatus | int:
    parser = _Parser(prog="python -m loadgen report", description="Make all tables and pages again from saved runs.")
    parser.add_argument("directory", type=Path, metavar="DIR", help="an output directory")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(argv)

    from loadgen.report import console
    from loadgen.results.directory import ResultsDirectory

    results = ResultsDirectory.open(options.directory)
    analysis, page = build_report(results)
    console.print_report(results.manifest, analysis, page)
    return ExitStatus.OK


def _explain(argv: list[str]) -> ExitStatus | int:
    parser = _Parser(prog="python -m loadgen explain", description="Say what an exit status means.")
    parser.add_argument("status", type=int)
    options = parser.parse_args(argv)
    classes = {kind.status: kind for kind in LoadgenError.__subclasses__()}
    try:
        status = ExitStatus(options.status)
    except ValueError:
        raise UsageError(
            f"loadgen has no exit status {options.status}", hint=f"it has {', '.join(str(int(s)) for s in ExitStatus)}"
        ) from None
    kind = classes.get(status)
    print(f"{int(status)} {status.name}: {(kind.__doc__ or '').splitlines()[0] if kind else STATUS_MEANINGS[status]}")  # noqa: T201
    return ExitStatus.OK
