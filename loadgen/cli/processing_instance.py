"""The hidden command `_processing-instance`: one instance of a Processing job, started by its bootstrap program.

The leader runs the submitted command line; every other instance runs a Dask worker.
"""

import argparse
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from loadgen.cli.options import AddParser
from loadgen.errors import ExitStatus


def add_parser(add: AddParser, run_command: Callable[[list[str]], int]) -> None:
    """Add the command's parser.

    Args:
        add: adds a parser to the subparsers.
        run_command: runs a command line and returns its exit status.
    """
    parser = add("_processing-instance")
    parser.add_argument("--resource-config", type=Path, required=True)
    parser.add_argument("--job-config", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.set_defaults(handler=partial(run, run_command=run_command))


def run(options: argparse.Namespace, run_command: Callable[[list[str]], int]) -> int:
    """Run as the leader or as a worker.

    Raises:
        LoadgenError: an input file cannot be read, or the leader cannot be reached.
    """
    from loadgen.event_loop import new_runner
    from loadgen.processing_job.cluster import ClusterHosts, read_job_config

    hosts, job_config = ClusterHosts.read(options.resource_config), read_job_config(options.job_config)
    if hosts.is_leader:
        instance_argv = ["--job-files", str(options.resource_config), str(options.job_config)]
        instance_argv += ["--run-id", job_config["run_id"], "--out", str(options.out), "--quiet"]
        return run_command([*job_config["argv"], *instance_argv])

    def ignore_sigterm() -> None:
        # A stopped job sends it to every instance. The leader stops the load, and ends this instance after that.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    with new_runner() as runner:
        runner.run(hosts.dask_cluster(options.job_config, job_config).run_worker(ignore_sigterm))
    return ExitStatus.OK
