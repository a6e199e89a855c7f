"""The command `fetch`: download the results of a Processing job and delete what the job left behind."""

import argparse
from pathlib import Path

from loadgen.cli.options import AddParser, add_debug_option, add_quiet_option
from loadgen.errors import ExitStatus


def add_parser(add: AddParser) -> None:
    """Add the command's parser."""
    parser = add(
        "fetch",
        help="download the results of a Processing job",
        description="Download the results of a Processing job, and delete endpoints that an ended job left behind. "
        "Can be repeated.",
    )
    parser.add_argument("job", metavar="JOB", help="name of the Processing job")
    parser.add_argument("--out", type=Path, metavar="DIR", help="output directory (default ./results/JOB)")
    parser.add_argument("--region", help="AWS region (default: the SDK's own configuration)")
    add_quiet_option(parser)
    add_debug_option(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> ExitStatus:
    """Download, report, and delete what the job left behind.

    Raises:
        LoadgenError: the job does not exist, or its results cannot be downloaded.
    """
    from loadgen.cli.processing import fetch_job

    return fetch_job(options)
