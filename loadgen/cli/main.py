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

from loadgen.cli.messages import say
from loadgen.cli.options import _add_run_options, _chosen, _crew, _loop_factory, _Parser, _rerun
from loadgen.cli.signals import Interrupted, Interrupts
from loadgen.errors import MEANINGS, ExitStatus, LoadgenError, ResourceError, UsageError
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
        return _end_in_a_line(words)
    from loadgen.cli.debug_log import logged
    from loadgen.redaction import secrets_of

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
        from loadgen.scenario.loader import load_scenario

        path = Path(options.scenario)
        if not options.processing_job:
            return _run(load_scenario(path), options, interrupts)
        from loadgen.cli import processing
        from loadgen.processing_job.bundle import opened, pack

        with opened() as paths:
            loaded = _chosen(load_scenario(path), options)
        parcel = pack(paths, scenario=path, working=Path())
        words = [parcel.name_of(path), *_rerun(loaded, options)[1:]]
        return processing.submit(loaded, options, words=words, parcel=parcel, interrupts=interrupts)


def _run(loaded: "LoadedScenario", options: argparse.Namespace, interrupts: Interrupts) -> ExitStatus:
    return _execute(_chosen(loaded, options), options, interrupts)


def _execute(loaded: "LoadedScenario", options: argparse.Namespace, interrupts: Interrupts) -> ExitStatus:
    from loadgen.cli import run

    return run.execute(
        loaded,
        options,
        command=shlex.join(["python", "-m", "loadgen", *_rerun(loaded, options)]),
        crew=_crew(options),
        interrupts=interrupts,
        loop_factory=_loop_factory(),
    )


def _benchmark(words: list[str]) -> ExitStatus | int:
    from loadgen.cli import benchmark

    parser = _Parser(prog="python -m loadgen benchmark", description="Benchmark a SageMaker model over memory sizes.")
    benchmark.add_arguments(parser)
    _add_run_options(parser)
    options = parser.parse_args(words)
    if options.processing_job:
        raise UsageError(
            "benchmark --processing-job", hint="call loadgen.run_as_sagemaker_job(), or write a scenario file"
        )
    interrupts = Interrupts()
    with interrupts.installed():
        return _run(benchmark.from_arguments(options), options, interrupts)


def _emulate(words: list[str]) -> ExitStatus | int:
    from loadgen.cli import emulate

    parser = _Parser(prog="python -m loadgen emulate", description="Serve AWS's APIs on one loopback port.")
    emulate.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return emulate.run(parser.parse_args(words))


def _fetch(words: list[str]) -> ExitStatus | int:
    from loadgen.cli import processing

    parser = _Parser(prog="python -m loadgen fetch", description="Bring a Processing job's results home.")
    processing.add_fetch_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return processing.fetch(parser.parse_args(words))


def _instance(words: list[str]) -> ExitStatus | int:
    """Be an instance of a Processing job: not for people, who have --processing-job."""
    from loadgen.cli import processing

    parser = _Parser(prog="python -m loadgen instance")
    processing.add_instance_arguments(parser)
    return processing.serve(parser.parse_args(words), main)


def _work(words: list[str]) -> int:
    """Be one of several workers: not for people, who have --workers."""
    from loadgen.distributed import local_processes

    _Parser(prog="python -m loadgen work").parse_args(words)
    return local_processes.work()


def _cleanup(words: list[str]) -> ExitStatus | int:
    parser = _Parser(prog="python -m loadgen cleanup", description="Remove what a run that died left behind.")
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id or directory; else every run that is over")
    parser.add_argument("--dry-run", action="store_true", help="list what would be removed, and stop")
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(words)

    from loadgen.cli import cleanup

    return cleanup.run(options)


def _report(words: list[str]) -> ExitStatus | int:
    parser = _Parser(prog="python -m loadgen report", description="Make all tables and pages again from saved runs.")
    parser.add_argument("directory", type=Path, metavar="DIR", help="an output directory")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    options = parser.parse_args(words)

    from loadgen.report import console
    from loadgen.results.directory import Results

    results = Results.open(options.directory)
    findings, page = build_report(results)
    console.show(results.manifest, findings, page)
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
    print(f"{int(status)} {status.name}: {(kind.__doc__ or '').splitlines()[0] if kind else MEANINGS[status]}")  # noqa: T201
    return ExitStatus.OK
