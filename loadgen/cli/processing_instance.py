"""The hidden command `_processing-instance`: one instance of a Processing job, started by its bootstrap program.

The leader runs the submitted command line; every other instance is a worker of the leader.
"""

import argparse
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
        LoadgenError: an input file cannot be read, or the leader cannot be found.
    """
    from loadgen.aws.s3 import S3Location
    from loadgen.event_loop import new_runner
    from loadgen.processing_job.cluster import ClusterHosts, join_cluster, read_job_config

    hosts, job_config = ClusterHosts.read(options.resource_config), read_job_config(options.job_config)
    if hosts.is_leader:
        instance_argv = ["--job-files", str(options.resource_config), str(options.job_config)]
        instance_argv += ["--run-id", job_config["run_id"], "--out", str(options.out), "--quiet"]
        return run_command([*job_config["argv"], *instance_argv])
    with new_runner() as runner:
        runner.run(join_cluster(hosts, S3Location.parse(job_config["rendezvous"]), bytes.fromhex(job_config["secret"])))
    return ExitStatus.OK
