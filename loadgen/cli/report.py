"""The command `report`: rebuild all tables and pages from saved runs."""

import argparse
from pathlib import Path

from loadgen.cli.options import AddParser, add_debug_option
from loadgen.errors import ExitStatus


def add_parser(add: AddParser) -> None:
    """Add the command's parser."""
    parser = add(
        "report",
        help="rebuild all tables and pages from saved runs",
        description="Rebuild all tables and pages of an output directory from its saved runs.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="output directory of a run")
    add_debug_option(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> ExitStatus:
    """Write the report of a directory and print it.

    Raises:
        LoadgenError: the directory cannot be read or written.
    """
    from loadgen.report.build import build_report
    from loadgen.report.console import print_report
    from loadgen.results.directory import ResultsDirectory

    results = ResultsDirectory.open(options.directory)
    analysis, page = build_report(results)
    print_report(results.manifest, analysis, page)
    return ExitStatus.OK
