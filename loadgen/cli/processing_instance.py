"""The hidden command `_processing-instance`: one instance of a Processing job, started by its bootstrap program.

The leader runs the submitted command line; every other instance is a worker of the leader.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadgen.cli.options import AddParser
from loadgen.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from loadgen.execution.executor import Executor


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
    from loadgen.processing_job.cluster import ClusterHosts, join_cluster

    hosts, job_config = ClusterHosts.read(options.resource_config), _read_job_config(options.job_config)
    if hosts.is_leader:
        instance_argv = ["--job-files", str(options.resource_config), str(options.job_config)]
        instance_argv += ["--run-id", job_config["run_id"], "--out", str(options.out), "--quiet"]
        return run_command([*job_config["argv"], *instance_argv])
    with new_runner() as runner:
        runner.run(join_cluster(hosts, S3Location.parse(job_config["rendezvous"]), bytes.fromhex(job_config["secret"])))
    return ExitStatus.OK


def cluster_executor(resource_config: Path, job_config: Path) -> "Executor | None":
    """Return the executor of a job's leader; None when the job has one instance.

    Raises:
        InputError: a file cannot be read.
    """
    from loadgen.aws.s3 import S3Location
    from loadgen.processing_job.cluster import ClusterHosts, ProcessingJobExecutor

    hosts, config = ClusterHosts.read(resource_config), _read_job_config(job_config)
    if len(hosts.hosts) == 1:
        return None
    return ProcessingJobExecutor(hosts, S3Location.parse(config["rendezvous"]), bytes.fromhex(config["secret"]))


def _read_job_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the job configuration {path}: {error}") from error
    return config
