"""The command `cleanup`: list, confirm and delete resources that interrupted runs left behind."""

import argparse
import asyncio
import os

from loadgen.cli.options import AddParser, add_debug_option
from loadgen.errors import ExitStatus


def add_parser(add: AddParser) -> None:
    """Add the command's parser."""
    parser = add(
        "cleanup",
        help="delete resources left by interrupted runs",
        description="List resources left by interrupted runs, ask for confirmation, and delete them.",
    )
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="id or output directory of a run (default: every run that has ended)"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the resources, then exit")
    parser.add_argument("--yes", action="store_true", help="delete without confirmation")
    parser.add_argument(
        "--assume-ended",
        default="",
        metavar="HOST",
        help="clean up after a run that cannot be seen from here and whose process on HOST has ended; "
        "if the host is unknown, give the run's id",
    )
    add_debug_option(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> ExitStatus:
    """Clean up after one run, or after every run that has ended.

    Raises:
        LoadgenError: the account cannot be reached, is not the run's, or the run is still running.
    """
    from loadgen.aws.deployment.run_registry import state_directory
    from loadgen.cli.run_cleanup import clean_up, cleanup_requests

    state_dir = state_directory(os.environ)
    requests = cleanup_requests(options.run, state_dir, assume_ended=options.assume_ended)
    statuses = [
        asyncio.run(clean_up(request, state_dir, dry_run=options.dry_run, is_confirmed=options.yes))
        for request in requests
    ]
    return max(statuses, default=ExitStatus.OK, key=lambda status: status is ExitStatus.RESOURCE_LEAK)
