"""The instances of one Processing job as workers. The first instance is the leader: coordinator and worker.

The leader listens on the job's network and writes its address to S3, the only storage that the instances share. A
connection must send the run's secret before its messages are read. Workers send their samples to the leader, whose
output directory is the job's.
"""

import asyncio
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadgen.aws.s3 import S3Location, download, upload
from loadgen.aws.session import AwsConnectionConfig, open_clients
from loadgen.distributed.coordinator import open_coordinator
from loadgen.distributed.local_processes import start_process
from loadgen.distributed.stream import StreamConnection, run_stream_worker
from loadgen.distributed.worker_handle import check_supports_workers
from loadgen.errors import InputError, UnavailableError
from loadgen.execution.executor import WorkerPool
from loadgen.interfaces import Target
from loadgen.workload.request import Request

_JOIN_TIMEOUT = 1200.0  # seconds; the instances of one job start within minutes of each other
_POLL_INTERVAL = 1.0
_AUTHENTICATION_TIMEOUT = 10.0  # seconds from the connection to its secret
_HOST_NAME_BYTES = 64


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


@dataclass(frozen=True, slots=True)
class ProcessingJobExecutor:
    """Execute a run on all instances of this job; used by the leader.

    Args:
        hosts: the instances.
        rendezvous: S3 object with the address of the leader.
        secret: 32 bytes that the instances share.
    """

    hosts: ClusterHosts
    rendezvous: S3Location
    secret: bytes

    @asynccontextmanager
    async def start(
        self, target: Target, requests: Sequence[Request], log: Callable[[str], None]
    ) -> AsyncIterator[WorkerPool]:
        """Wait for the other instances and open the worker pool.

        Raises:
            ConfigError: the target does not support workers, or an instance runs another version.
            UnavailableError: not all instances connected in time.
        """
        check_supports_workers(target)
        connected: asyncio.Queue[StreamConnection] = asyncio.Queue()

        async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = await self._authenticate(reader, writer)
            if connection is None:
                writer.close()
            else:
                connected.put_nowait(connection)

        async with AsyncExitStack() as stack:
            address = _listen_address(self.hosts.current_host)
            server = await asyncio.start_server(on_connect, address, 0)
            stack.callback(server.close)
            address_info = {"host": address, "port": server.sockets[0].getsockname()[1]}
            async with open_clients(AwsConnectionConfig()) as clients, clients.s3() as s3:
                await upload(s3, self.rendezvous, json.dumps(address_info).encode())
            log(f"waiting for {len(self.hosts.hosts) - 1} other instances")
            local_worker = await stack.enter_async_context(start_process(1))
            local_worker.name = self.hosts.current_host
            connections: list[Any] = [local_worker, *await self._await_workers(connected)]
            for connection in connections[1:]:
                stack.callback(connection.abort)
            yield await stack.enter_async_context(open_coordinator(connections, requests, log))

    async def _await_workers(self, connected: "asyncio.Queue[StreamConnection]") -> list[StreamConnection]:
        connections: dict[str, StreamConnection] = {}
        try:
            async with asyncio.timeout(_JOIN_TIMEOUT):
                while len(connections) < len(self.hosts.hosts) - 1:
                    connection = await connected.get()
                    connections[connection.name] = connection
        except TimeoutError as error:
            missing = sorted(set(self.hosts.hosts[1:]) - set(connections))
            raise UnavailableError(f"no connection from {', '.join(missing)} within {_JOIN_TIMEOUT:g} s") from error
        return [connections[name] for name in sorted(connections)]

    async def _authenticate(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> StreamConnection | None:
        """Return the connection of an instance of this job; None for another peer."""
        with suppress(TimeoutError, asyncio.IncompleteReadError, ConnectionError, UnicodeDecodeError):
            async with asyncio.timeout(_AUTHENTICATION_TIMEOUT):
                received_secret = await reader.readexactly(len(self.secret))
                name = (await reader.readexactly(_HOST_NAME_BYTES)).rstrip(b"\0").decode("ascii")
            if hmac.compare_digest(received_secret, self.secret) and name in self.hosts.hosts[1:]:
                return StreamConnection(name, reader, writer, is_local=False)
        return None


async def join_cluster(hosts: ClusterHosts, rendezvous: S3Location, secret: bytes) -> None:
    """Run a worker of the leader until it is shut down.

    Args:
        hosts: the instances of this job; this one is not the leader.
        rendezvous: S3 object with the address of the leader.
        secret: 32 bytes that the instances share.

    Raises:
        UnavailableError: the leader did not publish its address in time.
    """
    address_info = await _leader_address(rendezvous)
    reader, writer = await asyncio.open_connection(address_info["host"], int(address_info["port"]))
    try:
        writer.write(secret + hosts.current_host.encode("ascii").ljust(_HOST_NAME_BYTES, b"\0"))
        await run_stream_worker(reader, writer)
    finally:
        writer.close()


async def _leader_address(rendezvous: S3Location) -> dict[str, str]:
    deadline = time.monotonic() + _JOIN_TIMEOUT
    async with open_clients(AwsConnectionConfig()) as clients, clients.s3() as s3:
        while time.monotonic() < deadline:
            if content := await download(s3, rendezvous):
                document: dict[str, str] = json.loads(content)
                return document
            await asyncio.sleep(_POLL_INTERVAL)
    raise UnavailableError(f"the leader published no address within {_JOIN_TIMEOUT:g} s", hint=rendezvous.uri)


def _listen_address(host: str) -> str:
    """Return this instance's IPv4 address; the loopback address when its name cannot be resolved."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return "127.0.0.1"


def cluster_executor(resource_config: Path, job_config: Path) -> "ProcessingJobExecutor | None":
    """Return the executor of a job's leader; None when the job has one instance.

    Raises:
        InputError: a file cannot be read.
    """
    hosts, config = ClusterHosts.read(resource_config), read_job_config(job_config)
    if len(hosts.hosts) == 1:
        return None
    return ProcessingJobExecutor(hosts, S3Location.parse(config["rendezvous"]), bytes.fromhex(config["secret"]))


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
