"""The entry point: build the parser, route to a command, and map exceptions to an exit status.

A command module is cheap to import: it imports what it needs when it runs, so that `--help` loads no AWS package.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version

from loadgen.cli import (
    benchmark,
    cleanup,
    compare,
    emulate,
    explain,
    fetch,
    guide,
    processing_instance,
    report,
    run,
    worker,
)
from loadgen.cli.debug_log import debug_logging, quiet_sdk_logging
from loadgen.cli.messages import echo
from loadgen.cli.options import Parser
from loadgen.cli.signals import Interrupted
from loadgen.errors import ExitStatus, LoadgenError, ResourceError
from loadgen.standard_streams import lossy_output, open_missing_descriptors

_EPILOG = """\
A scenario file is the default command: `python -m loadgen scenario.py` is `python -m loadgen run scenario.py`.
`python -m loadgen COMMAND --help` lists the options of a command. Only scenarios that target SageMaker or
Existing, Processing jobs, and the command benchmark incur AWS charges.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; `argv` is `sys.argv[1:]` by default."""
    try:
        return _run_safely(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt as interrupt:  # before or after the command, or while an error is printed
        return int(interrupt.status if isinstance(interrupt, Interrupted) else ExitStatus.INTERRUPTED)


def _run_safely(argv: list[str]) -> int:
    """Run a command with streams that cannot fail."""
    open_missing_descriptors()
    with lossy_output():
        if "--debug" not in argv:
            with quiet_sdk_logging():
                return _run_command(argv)
        from loadgen.redaction import secrets_in

        with debug_logging(sys.stderr, secrets_in(os.environ)):
            return _run_command(argv, debug=True)


def build_parser() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of the whole command line, and the parser of each command by name."""
    parser = Parser(
        prog="python -m loadgen",
        usage="python -m loadgen SCENARIO.py [OPTIONS]\n       python -m loadgen COMMAND [OPTIONS]",
        description="Measure what a SageMaker endpoint can do and what it costs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"loadgen {version('loadgen')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND ...", prog="python -m loadgen")
    for module in (run, benchmark, emulate, fetch, cleanup, report, compare, explain, guide, worker):
        module.add_parser(commands.add_parser)
    processing_instance.add_parser(commands.add_parser, main)
    return parser, dict(commands.choices)


def _run_command(argv: list[str], *, debug: bool = False) -> int:
    """Run a command; report an exception as one line and an exit status."""
    try:
        return int(_dispatch(argv))
    except LoadgenError as error:
        _print_error(error, debug=debug)
        return int(error.status)
    except MemoryError:
        hint = "use fewer clients, smaller payloads, or a larger machine"
        _print_error(ResourceError("out of memory", hint=hint), debug=debug)
        return int(ExitStatus.OS_RESOURCE)
    except Interrupted as interrupt:
        return int(interrupt.status)
    except KeyboardInterrupt:
        return int(ExitStatus.INTERRUPTED)
    except BaseException as error:  # a bug of loadgen must end in one line and status 70 as well
        from loadgen.scenario.user_code import script_error

        if (users := script_error(error)) is not None:
            _print_error(users, cause=error, debug=debug)
            return int(users.status)
        if not isinstance(error, Exception):
            raise
        hint = "this is a bug in loadgen; run again with --debug and report the output"
        _print_error(LoadgenError(f"{type(error).__name__}: {error}", hint=hint), cause=error, debug=debug)
        return int(ExitStatus.INTERNAL)


def _dispatch(argv: list[str]) -> int:
    parser, commands = build_parser()
    if not argv:
        parser.print_help(sys.stderr)
        return ExitStatus.USAGE
    if argv[0] in {"-h", "--help", "--version"}:
        parser.parse_args(argv)
    name, *rest = argv if argv[0] in commands else ["run", *argv]
    # Not parser.parse_args(): it would report an unknown option with a hint at its own --help, not the command's.
    options = commands[name].parse_args(rest)
    options.argv = rest
    status: int = options.handler(options)
    return status


def _print_error(error: LoadgenError, *, debug: bool, cause: BaseException | None = None) -> None:
    if debug:
        echo(*"".join(traceback.format_exception(cause or error)).splitlines())
    echo(f"loadgen: error[{error.status.name}]: {error}", *(f"  {line}" for line in error.details[:10]))
