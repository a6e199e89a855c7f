"""The hidden command `_worker`: a local worker process, started by --workers."""

import argparse

from loadgen.cli.options import AddParser


def add_parser(add: AddParser) -> None:
    """Add the command's parser."""
    add("_worker").set_defaults(handler=run)


def run(_: argparse.Namespace) -> int:
    """Serve the coordinator over stdin and stdout until stdin ends."""
    from loadgen.distributed.local_processes import worker_main

    return worker_main()
