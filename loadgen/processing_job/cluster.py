"""The instances of one Processing job as a Dask cluster. The first instance is the leader: coordinator and scheduler.

Each instance runs a Dask worker. The samples travel to the leader, whose output directory is the job's.
"""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen.distributed.dask import DaskExecutor
from loadgen.distributed.dask_cluster import DaskCluster
from loadgen.distributed.local_processes import ProcessExecutor, free_cores
from loadgen.errors import InputError
from loadgen.execution.executor import Executor, WorkerPool
from loadgen.interfaces import Target
from loadgen.processing_job.job_spec import CERTIFICATE_FILE
from loadgen.workload.request import Request


@dataclass(frozen=True, slots=True)
class ClusterHosts:
    """The instances of a job, from resourceconfig.json.

    Args:
        current_host: name of this instance.
        hosts: names of all instances, sorted.

    Source: SageMaker developer guide, "How Amazon SageMaker Processing Configures Your Processing Container".
    """

    current_host: str
    hosts: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "ClusterHosts":
        """Read resourceconfig.json.

        Raises:
            InputError: the file is missing or invalid.
        """
        try:
            document = json.loads(path.read_text("utf-8"))
            return cls(document["current_host"], tuple(sorted(document["hosts"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"cannot read the job's instances from {path}: {error}") from error

    @property
    def is_leader(self) -> bool:
        """True on the first instance."""
        return self.current_host == self.hosts[0]

    def dask_cluster(self, job_config_path: Path, job_config: dict[str, Any]) -> DaskCluster:
        """Return the cluster of the instances; the certificate lies in the job's input, as the configuration does."""
        certificate = job_config_path.parents[1] / CERTIFICATE_FILE
        return DaskCluster(self.hosts, self.current_host, job_config["scheduler_port"], certificate)


@dataclass(frozen=True, slots=True)
class ProcessingJobExecutor:
    """Execute a run on all instances of this job; used by the leader.

    Args:
        cluster: the instances.
        workers_per_node: number of processes on each instance; None for one per core less one.
    """

    cluster: DaskCluster
    workers_per_node: int | None = None

    @asynccontextmanager
    async def start(
        self, target: Target, requests: Sequence[Request], log: Callable[[str], None]
    ) -> AsyncIterator[WorkerPool]:
        """Wait for the other instances and start processes on all of them.

        Raises:
            ConfigError: the target does not support workers, or an instance runs another version.
            UnavailableError: not all instances joined in time.
        """
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self.cluster.open_client(log))
            executor = DaskExecutor(client, workers_per_node=self.workers_per_node)
            yield await stack.enter_async_context(executor.start(target, requests, log))


def job_executor(resource_config: Path, job_config: Path, workers_per_node: int | None) -> Executor | None:
    """Return the executor of a job's leader; None to send all requests from this process.

    Raises:
        InputError: a file cannot be read.
    """
    hosts, config = ClusterHosts.read(resource_config), read_job_config(job_config)
    if len(hosts.hosts) > 1:
        return ProcessingJobExecutor(hosts.dask_cluster(job_config, config), workers_per_node)
    processes = workers_per_node or free_cores()
    return ProcessExecutor(processes) if processes > 1 else None


def read_job_config(path: Path) -> dict[str, Any]:
    """Read the job configuration that the bootstrap program downloaded.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the job configuration {path}: {error}") from error
    return config
