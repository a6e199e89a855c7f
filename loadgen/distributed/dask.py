"""Dask workers as load generators: one actor on each Dask worker, which starts processes there; see dask_actor.py.

Calls of an actor travel through the scheduler, so that they work wherever a client does. Each Dask worker has one call
of `receive` under way, which returns as soon as there is a message.
"""

import asyncio
import pickle
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from loadgen.distributed.coordinator import open_coordinator
from loadgen.distributed.dask_actor import DaskNode, Outgoing, ProcessesActor, describe_node
from loadgen.distributed.protocol import Ping
from loadgen.distributed.worker_handle import check_supports_workers
from loadgen.errors import ConfigError, ResourceError, UnavailableError, UsageError
from loadgen.execution.executor import WorkerPool
from loadgen.interfaces import Target
from loadgen.workload.request import Request

_CONNECT_TIMEOUT = 20.0  # seconds to reach the scheduler
_FIRST_WORKER_TIMEOUT = 60.0  # seconds for the cluster to have a worker
_START_TIMEOUT = 60.0  # seconds for an actor to start its processes
_MEMBERSHIP_INTERVAL = 0.5  # seconds between two reads of the list of Dask workers, until there is one
_RETRY_INTERVAL = 0.2  # seconds between two attempts of a call that fails
_LOSS_CHECK_INTERVAL = 0.2  # seconds between two looks at the state of the actor's key, which Dask keeps up to date
_FAILURE_TIMEOUT = 20.0  # seconds of failing calls after which a Dask worker in the cluster counts as lost
_EXIT_TIMEOUT = 8.0  # seconds for an actor to deliver the last messages and to end its processes
# Each Dask worker keeps one connection of the client and one of the scheduler busy; both have 512 (distributed.core).
MAX_DASK_WORKERS = 400
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DaskExecutor:
    """Sends requests from processes on the workers of a Dask cluster.

    Args:
        client: a `distributed.Client`, synchronous or asynchronous; it is not closed. None to connect to `address`.
        address: address of a scheduler, such as `tcp://10.0.0.5:8786`.
        workers: number of Dask workers at most; None for all.
        workers_per_node: number of processes on each Dask worker; None for one per thread of the Dask worker less one,
            and at least one. Dask gives a worker as many threads as its machine has cores.

    Raises:
        ConfigError: Dask is not installed.
        UsageError: neither a client nor an address is given, or a number is below 1.

    Example:
        executor = DaskExecutor(Client("tcp://10.0.0.5:8786"))
        await run_scenario(loaded, out, command="...", progress=progress, stop=stop, executor=executor)
    """

    client: Any = None
    address: str = ""
    workers: int | None = None
    workers_per_node: int | None = None

    def __post_init__(self) -> None:
        import_distributed()
        if self.client is None and not self.address:
            raise UsageError(
                "DaskExecutor needs a cluster", hint="give a distributed.Client or the address of a scheduler"
            )
        for name in ("workers", "workers_per_node"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")

    @asynccontextmanager
    async def start(
        self, target: Target, requests: Sequence[Request], log: Callable[[str], None]
    ) -> AsyncIterator[WorkerPool]:
        """Start processes on the Dask workers, and end them when the context exits.

        Raises:
            ConfigError: the target does not support workers, or a Dask worker has no loadgen or another version.
            ResourceError: a Dask worker could not start its processes.
            UnavailableError: the scheduler cannot be reached, or the cluster has no worker.
        """
        check_supports_workers(target)
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(self._open_cluster())
            nodes = await cluster.describe_nodes(self.workers)
            opened = await stack.enter_async_context(_open_nodes(cluster, nodes))
            counts = [self.workers_per_node or max(1, node.threads - 1) for node in nodes.values()]
            started = await asyncio.gather(*(one.start(n) for one, n in zip(opened, counts, strict=True)))
            connections = [connection for of_node in started for connection in of_node]
            yield await stack.enter_async_context(open_coordinator(connections, requests, log))

    @asynccontextmanager
    async def _open_cluster(self) -> "AsyncIterator[_Cluster]":
        if self.client is not None:
            yield _Cluster(self.client)
            return
        client = import_distributed().Client(
            self.address, timeout=_CONNECT_TIMEOUT, asynchronous=True, set_as_default=False
        )
        try:
            await client
        except (OSError, ValueError) as error:
            await client.close()
            raise UnavailableError(f"no Dask scheduler at {self.address}: {error}") from error
        try:
            yield _Cluster(client)
        finally:
            await client.close()


def import_distributed() -> Any:
    """Return the module `distributed`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import distributed  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("Dask is not installed", hint="pip install 'loadgen[dask]'") from error
    return distributed


class _Cluster:
    """A Dask client, called from the running event loop; the client's own loop may run in another thread."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def call(self, make_awaitable: Callable[[], Awaitable[_T]]) -> _T:
        """Await a call of the client in the client's event loop, where each of its methods is asynchronous."""
        loop = self.client.loop.asyncio_loop
        if loop is asyncio.get_running_loop():
            return await make_awaitable()

        async def call_in_loop() -> _T:
            return await make_awaitable()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call_in_loop(), loop))

    async def describe_nodes(self, most: int | None) -> Mapping[str, DaskNode]:
        """Return the Dask workers by address.

        Args:
            most: number of Dask workers at most.

        Raises:
            ConfigError: a Dask worker cannot import loadgen, or there are too many of them.
            UnavailableError: the cluster had no worker in time.
        """
        deadline = time.perf_counter() + _FIRST_WORKER_TIMEOUT
        while not (addresses := sorted(await self.call(self.client.nthreads))[:most]):
            if time.perf_counter() > deadline:
                raise UnavailableError(
                    f"the Dask cluster had no worker for {_FIRST_WORKER_TIMEOUT:g} s", hint="start Dask workers first"
                )
            await asyncio.sleep(_MEMBERSHIP_INTERVAL)
        if len(addresses) > MAX_DASK_WORKERS:
            raise ConfigError(
                f"the cluster has {len(addresses)} Dask workers, loadgen uses {MAX_DASK_WORKERS} at most",
                hint=f"--workers {MAX_DASK_WORKERS} --workers-per-node N",
            )
        try:
            nodes: dict[str, DaskNode] = await self.call(lambda: self.client.run(describe_node, workers=addresses))
        except OSError as error:
            raise UnavailableError(f"a Dask worker left before it was described: {error}", hint="run again") from error
        except Exception as error:  # Dask wraps what the Dask worker raised while it imported the function
            raise ConfigError(
                f"a Dask worker cannot import this loadgen: {error}",
                hint="install the same version of loadgen on every Dask worker",
            ) from error
        # By name: which Dask worker gets which shard must not depend on the ports that were free.
        return {address: nodes[address] for address in sorted(addresses, key=lambda one: (nodes[one].name, one))}


@asynccontextmanager
async def _open_nodes(cluster: _Cluster, nodes: Mapping[str, DaskNode]) -> "AsyncIterator[Sequence[_NodeConnection]]":
    """Create an actor on each Dask worker, and end their processes when the context exits.

    Raises:
        ResourceError: a Dask worker did not create its actor in time.
    """
    client, run_key = cluster.client, secrets.token_hex(6)
    opened: list[_NodeConnection] = []
    futures = [
        client.submit(
            ProcessesActor,
            key,
            key=f"loadgen-{key}",
            actor=True,
            workers=[address],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )
        for address, key in ((address, f"{run_key}-{index}") for index, address in enumerate(nodes))
    ]
    try:
        for future, node in zip(futures, nodes.values(), strict=True):
            try:
                async with asyncio.timeout(_START_TIMEOUT):
                    actor = await cluster.call(partial(_read_actor, client, future))
            except Exception as error:  # Dask raises what the Dask worker raised, and types of its own
                raise ResourceError(f"the Dask worker {node.name} did not start: {error!r}") from error
            opened.append(_NodeConnection(cluster, future, actor, node.name))
        yield opened
    finally:
        await asyncio.gather(*(connection.close() for connection in opened))
        with suppress(OSError, TimeoutError):  # the scheduler is gone, and its actors with it
            async with asyncio.timeout(_EXIT_TIMEOUT):
                await cluster.call(lambda: client.cancel(futures, force=True))


async def _read_actor(client: Any, future: Any) -> Any:
    """Return the actor of a Dask future, bound to this client, and not to another one that is the process's default."""
    with client.as_current():
        return await future


class _NodeConnection:
    """The connections to the processes of one Dask worker."""

    def __init__(self, cluster: _Cluster, future: Any, actor: Any, name: str) -> None:
        self._cluster = cluster
        self._future = future
        self._actor = actor
        self._name = name
        self._outgoing: list[Outgoing] = []
        self._has_outgoing = asyncio.Event()
        self._connections: list[_DaskConnection] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._lost_reason = ""

    async def start(self, processes: int) -> "list[_DaskConnection]":
        """Start the processes and return a connection to each.

        Raises:
            ResourceError: a process could not be started.
        """
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                names = await self._cluster.call(lambda: self._actor.start(processes))
        except Exception as error:  # as for the constructor
            raise ResourceError(f"the Dask worker {self._name} did not start processes: {error}") from error
        for number, name in enumerate(names):
            own_name = self._name if processes == 1 else f"{self._name} {name}"
            self._connections.append(_DaskConnection(self, number, own_name))
        self._tasks = [asyncio.create_task(self._receive_loop()), asyncio.create_task(self._deliver_loop())]
        return self._connections

    def send(self, process: int, content: bytes | int | None) -> None:
        self._outgoing.append(Outgoing(process, content))
        self._has_outgoing.set()

    async def close(self) -> None:
        """Deliver the last messages, above all Shutdown, and end the processes."""
        if self._tasks and not self._lost_reason:
            with suppress(Exception):  # the Dask worker was lost in the meantime, which no longer matters
                async with asyncio.timeout(_EXIT_TIMEOUT):
                    await self._cluster.call(self._actor.stop)
        for task in self._tasks:
            task.cancel()

    async def _receive_loop(self) -> None:
        received_count = 0
        while not self._lost_reason:
            answer = await self._call("receive", received_count)
            if answer is None:
                return
            starts, messages = answer
            received_count += len(messages)
            self._connections[0].duplicate_starts = max(0, starts - 1)
            for process, content in messages:
                self._connections[process].receive(content)

    async def _deliver_loop(self) -> None:
        delivered_count = 0
        while not self._lost_reason:
            self._has_outgoing.clear()
            messages, self._outgoing = self._outgoing, []
            if not messages:
                await self._has_outgoing.wait()
                continue
            await self._call("deliver", delivered_count, messages)
            delivered_count += len(messages)

    async def _call(self, method: str, *args: Any) -> Any:
        """Call a method of the actor, again while the Dask worker may be there; return None once it is lost."""
        failing_since = 0.0
        while not self._lost_reason:
            call = asyncio.create_task(self._cluster.call(lambda: getattr(self._actor, method)(*args)))
            try:
                # Dask does not always end the call of an actor whose worker was lost (distributed/actor.py waits for
                # its key, which is never computed again).
                while not (await asyncio.wait({call}, timeout=_LOSS_CHECK_INTERVAL))[0] and not self._find_loss():
                    pass
                if call.done():
                    return call.result()
            except Exception as error:  # noqa: BLE001 - comms raise many types; what matters is how long it lasts
                await asyncio.sleep(_RETRY_INTERVAL)  # the state of the key follows
                now = time.perf_counter()
                failing_since = failing_since or now
                if now - failing_since > _FAILURE_TIMEOUT:
                    self._mark_lost(f"could not be reached: {type(error).__name__}: {error}"[:200])
            finally:
                call.cancel()
            if reason := self._find_loss():
                self._mark_lost(reason)
        return None

    def _find_loss(self) -> str:
        """Return why the actor's key is lost; empty while it exists."""
        if self._future.status == "finished":
            return ""
        if self._future.status == "cancelled":
            return "was lost with the Dask scheduler, whose connection closed"
        return "left the Dask cluster"

    def _mark_lost(self, reason: str) -> None:
        self._lost_reason = self._lost_reason or reason
        for connection in self._connections:
            connection.receive(reason)


class _DaskConnection:
    """A `WorkerConnection` to one process on a Dask worker."""

    shares_filesystem = False
    shares_clock = False

    def __init__(self, node: _NodeConnection, process: int, name: str) -> None:
        self.name = name
        self.duplicate_starts = 0
        self._node = node
        self._process = process
        self._incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._exit_reason = ""

    def send(self, message: Any) -> None:
        """Send a message; one to a process that is gone is dropped."""
        if not self._exit_reason:
            self._node.send(self._process, message.sequence if isinstance(message, Ping) else pickle.dumps(message))

    def receive(self, content: bytes | str) -> None:
        """Accept a message, or the reason why the process is gone; only the first reason is recorded."""
        if isinstance(content, bytes):
            self._incoming.put_nowait(content)
        elif not self._exit_reason:
            self._exit_reason = content
            self._incoming.put_nowait(None)

    async def messages(self) -> AsyncIterator[Any]:
        """Yield the process's messages until it is gone."""
        while (content := await self._incoming.get()) is not None:
            # Dask itself unpickles what the workers of a cluster send.
            yield pickle.loads(content)  # noqa: S301

    async def exit_reason(self) -> str:
        """Return why the process is gone."""
        return self._exit_reason

    def abort(self) -> None:
        """Kill a process that does not respond, if its Dask worker can be reached."""
        if not self._exit_reason:
            self._node.send(self._process, None)
        self.receive("was aborted")
