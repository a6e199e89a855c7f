"""The command `explain`: print what an exit status means and what to do."""

import argparse

from loadgen.cli.options import AddParser, add_debug_option
from loadgen.errors import STATUS_MEANINGS, ExitStatus, UsageError


def add_parser(add: AddParser) -> None:
    """Add the command's parser."""
    parser = add(
        "explain",
        help="print what an exit status means and what to do",
        description="Print what an exit status means and what to do.",
    )
    parser.add_argument("status", type=int, metavar="STATUS", help="exit status of loadgen, such as 110")
    add_debug_option(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> ExitStatus:
    """Print the meaning of a status.

    Raises:
        UsageError: loadgen never exits with this status.
    """
    try:
        status = ExitStatus(options.status)
    except ValueError:
        known = ", ".join(str(int(status)) for status in ExitStatus)
        raise UsageError(f"{options.status} is not an exit status of loadgen", hint=f"one of {known}") from None
    meaning, action = STATUS_MEANINGS[status]
    print(f"{int(status)} {status.name}: {meaning}")  # noqa: T201
    if action:
        print(f"What to do: {action}")  # noqa: T201
    return ExitStatus.OK
