"""Dask workers as workers: one task on each Dask worker of a cluster. The only file that imports Dask.

Messages travel by `Client.run` through the scheduler, so that they work wherever a client does: the coordinator polls
the mailbox of each task. It sends messages to the first attempt of a task only; see dask_mailbox.py.
"""

import asyncio
import inspect
import pickle
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from loadgen.distributed.coordinator import open_coordinator
from loadgen.distributed.dask_mailbox import Poll, poll_mailbox, run_worker_task
from loadgen.distributed.worker_handle import check_supports_workers
from loadgen.errors import ConfigError, UnavailableError, UsageError
from loadgen.execution.executor import WorkerPool
from loadgen.interfaces import Target
from loadgen.workload.request import Request

_POLL_INTERVAL = 0.2  # seconds between two polls of a mailbox: the age of the live view
_MEMBERSHIP_INTERVAL = 0.5  # seconds between two reads of the list of Dask workers
_POLL_FAILURE_TIMEOUT = 20.0  # seconds of failing polls after which a worker in the cluster counts as lost
_FIRST_WORKER_TIMEOUT = 60.0  # seconds for the cluster to have a worker


@dataclass(frozen=True, slots=True)
class DaskExecutor:
    """Sends requests from the workers of a Dask cluster, each with its own event loop.

    Args:
        client: a `distributed.Client`, synchronous or asynchronous; it is not closed. None to connect to `address`.
        address: address of a scheduler, such as `tcp://10.0.0.5:8786`.
        workers: number of Dask workers at most; None for all.

    Raises:
        ConfigError: Dask is not installed.
        UsageError: neither a client nor an address is given, or `workers` is below 1.

    Example:
        executor = DaskExecutor(Client("tcp://10.0.0.5:8786"))
        await run_scenario(loaded, out, command="...", progress=progress, stop=stop, executor=executor)
    """

    client: Any = None
    address: str = ""
    workers: int | None = None

    def __post_init__(self) -> None:
        _import_distributed()
        if self.client is None and not self.address:
            raise UsageError(
                "DaskExecutor needs a cluster", hint="give a distributed.Client or the address of a scheduler"
            )
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers must be at least 1, got {self.workers}")

    @asynccontextmanager
    async def start(
        self, target: Target, requests: Sequence[Request], log: Callable[[str], None]
    ) -> AsyncIterator[WorkerPool]:
        """Start a task on every Dask worker, and end the tasks when the context exits.

        Raises:
            ConfigError: the target does not support workers, or a worker runs another version.
            UnavailableError: the scheduler cannot be reached, or the cluster has no worker.
        """
        check_supports_workers(target)
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(self._open_cluster())
            addresses = (await cluster.list_workers(_FIRST_WORKER_TIMEOUT))[: self.workers]
            run_key = secrets.token_hex(6)
            connections = []
            for worker_index, address in enumerate(addresses):
                connections.append(
                    await stack.enter_async_context(_start_worker_task(cluster, run_key, worker_index, address))
                )
            membership_task = asyncio.create_task(_watch_membership(cluster, connections))
            stack.callback(membership_task.cancel)
            yield await stack.enter_async_context(open_coordinator(connections, requests, log))

    @asynccontextmanager
    async def _open_cluster(self) -> "AsyncIterator[_ClusterClient]":
        with ThreadPoolExecutor(thread_name_prefix="loadgen-dask") as client_threads:
            client = self.client
            if client is None:
                loop = asyncio.get_running_loop()
                try:
                    client = await loop.run_in_executor(
                        client_threads, partial(_import_distributed().Client, self.address, timeout=20)
                    )
                except (OSError, ValueError) as error:
                    raise UnavailableError(f"no Dask scheduler at {self.address}: {error}") from error
            # A call to a lost worker may block its thread for as long as Dask retries; the exit does not wait for it.
            threads = ThreadPoolExecutor(256, thread_name_prefix="loadgen-dask")
            try:
                yield _ClusterClient(client, threads)
            finally:
                if self.client is None:
                    await asyncio.get_running_loop().run_in_executor(client_threads, client.close)
                threads.shutdown(wait=False, cancel_futures=True)


def _import_distributed() -> Any:
    try:
        import distributed  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("Dask is not installed", hint="pip install 'loadgen[dask]'") from error
    return distributed


class _ClusterClient:
    """Calls a Dask client, synchronous or asynchronous, from the running event loop."""

    def __init__(self, client: Any, threads: ThreadPoolExecutor) -> None:
        self.client = client
        self._threads = threads

    async def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client without blocking the event loop."""
        bound_call = partial(method, *args, **kwargs)
        if self.client.asynchronous:
            result = bound_call()
            return await result if inspect.isawaitable(result) else result
        return await asyncio.get_running_loop().run_in_executor(self._threads, bound_call)

    async def list_workers(self, timeout: float = 0.0) -> list[str]:
        """Return the addresses of the Dask workers.

        Args:
            timeout: seconds to wait for the first worker; 0 to return at once, even without any.

        Raises:
            UnavailableError: the cluster had no worker within `timeout` seconds.
        """
        deadline = time.perf_counter() + timeout
        while True:
            addresses = sorted(await self.call(self.client.nthreads))
            if addresses or time.perf_counter() > deadline:
                break
            await asyncio.sleep(_MEMBERSHIP_INTERVAL)
        if not addresses and timeout:
            raise UnavailableError(f"the Dask cluster had no worker for {timeout:g} s", hint="start Dask workers first")
        return addresses


async def _watch_membership(cluster: _ClusterClient, connections: "Sequence[_DaskConnection]") -> None:
    """Mark workers as lost when they leave the cluster, which is earlier than a poll of their mailbox times out."""
    while True:
        await asyncio.sleep(_MEMBERSHIP_INTERVAL)
        # The polls detect a scheduler that does not respond.
        with suppress(OSError, TimeoutError):
            addresses = await cluster.list_workers()
            for connection in connections:
                if connection.address not in addresses:
                    connection.mark_lost("left the Dask cluster")


@asynccontextmanager
async def _start_worker_task(
    cluster: _ClusterClient, run_key: str, worker_index: int, address: str
) -> "AsyncIterator[_DaskConnection]":
    future = await cluster.call(
        cluster.client.submit,
        run_worker_task,
        run_key,
        worker_index,
        key=f"loadgen-{run_key}-{worker_index}",
        workers=[address],
        allow_other_workers=False,
        retries=0,
        pure=False,
    )
    connection = _DaskConnection(cluster, run_key, worker_index, address)
    poll_task = asyncio.create_task(connection.poll_loop())
    try:
        yield connection
    finally:
        # Deliver the last messages, above all Shutdown.
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await connection.flush()
        poll_task.cancel()
        await cluster.call(cluster.client.cancel, [future], force=True)


class _DaskConnection:
    """A `WorkerConnection` to the task on one Dask worker."""

    shares_filesystem = False
    shares_clock = False

    def __init__(self, cluster: _ClusterClient, run_key: str, worker_index: int, address: str) -> None:
        self.name = address
        self.address = address
        self.duplicate_starts = 0
        self._cluster = cluster
        self._run_key = run_key
        self._worker_index = worker_index
        self._attempt = ""  # the first attempt that a poll found; messages go to no other
        self._duplicate_attempts: set[str] = set()
        self._outgoing: list[bytes] = []
        self._delivered_count = 0
        self._received_count = 0
        self._incoming: asyncio.Queue[Any] = asyncio.Queue()
        self._poll_now = asyncio.Event()
        self._changed = asyncio.Event()
        self._exit_reason = ""

    def send(self, message: Any) -> None:
        """Send a message with the next poll, which follows at once."""
        self._outgoing.append(pickle.dumps(message))
        self._poll_now.set()

    async def messages(self) -> AsyncIterator[Any]:
        """Yield the worker's messages until it is gone."""
        while (message := await self._incoming.get()) is not None:
            yield message

    async def exit_reason(self) -> str:
        """Return why the worker is gone."""
        return self._exit_reason

    def abort(self) -> None:
        """Stop polling the worker; its task ends when polls cease."""
        self.mark_lost("was aborted")

    def mark_lost(self, reason: str) -> None:
        """Treat the worker as gone; only the first reason is recorded."""
        if not self._exit_reason:
            self._exit_reason = reason
            self._changed.set()
            self._incoming.put_nowait(None)

    async def flush(self) -> None:
        """Wait until every message sent was delivered, or the worker is gone."""
        while self._delivered_count < len(self._outgoing) and not self._exit_reason:
            self._changed.clear()
            await self._changed.wait()

    async def poll_loop(self) -> None:
        """Poll the mailbox until the worker is gone."""
        failing_since = 0.0
        while not self._exit_reason:
            self._poll_now.clear()
            poll = Poll(
                self._attempt,
                self._delivered_count,
                tuple(self._outgoing[self._delivered_count :]),
                self._received_count,
            )
            try:
                reply = self._cluster.call(
                    self._cluster.client.run,
                    poll_mailbox,
                    self._run_key,
                    self._worker_index,
                    poll,
                    workers=[self.address],
                )
                messages_by_attempt = (await reply).get(self.address, {})
            except Exception as error:  # noqa: BLE001 - comms raise many types; what matters is how long it lasts
                now = time.perf_counter()
                failing_since = failing_since or now
                if now - failing_since > _POLL_FAILURE_TIMEOUT:
                    self.mark_lost(f"could not be reached: {type(error).__name__}: {error}"[:200])
            else:
                failing_since = 0.0
                self._on_poll_reply(messages_by_attempt, poll)
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_INTERVAL):
                    await self._poll_now.wait()

    def _on_poll_reply(self, messages_by_attempt: "dict[str, tuple[bytes, ...]]", poll: Poll) -> None:
        if not self._attempt and messages_by_attempt:
            self._attempt = min(messages_by_attempt)
            self._poll_now.set()
        duplicates = set(messages_by_attempt) - {self._attempt} - self._duplicate_attempts
        self._duplicate_attempts |= duplicates
        self.duplicate_starts += len(duplicates)
        if poll.attempt and poll.attempt not in messages_by_attempt:
            self.mark_lost("was restarted by Dask, or ended")
            return
        if poll.attempt:
            self._delivered_count += len(poll.messages)
            self._changed.set()
            for content in messages_by_attempt[poll.attempt]:
                self._received_count += 1
                # Dask itself unpickles what the workers of a cluster send.
                self._incoming.put_nowait(pickle.loads(content))  # noqa: S301
