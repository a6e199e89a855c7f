"""Dask: the workers of a crew as tasks on a Dask cluster, one for each of its workers. The only file that knows Dask.

Dask may run a task again: after a worker was lost, and even when it had finished (distributed#7870), whatever `retries`
says (#6078). So a task costs nothing by itself: it opens a desk under (run, unit, attempt) and waits there for orders,
which go to the first attempt of each unit only. Any other attempt is told to go home, and reported.

Orders and answers do not travel as tasks but by `Client.run`, through the scheduler, so that it works wherever a client
does; both ways are numbered, so that a call that is repeated delivers nothing twice.
"""

import asyncio
import inspect
import pickle
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from loadgen.distributed.coordinator import open_coordinator
from loadgen.distributed.protocol import Ping, Pong, Shutdown
from loadgen.distributed.worker import Worker
from loadgen.distributed.worker_handle import check_supports_workers
from loadgen.errors import ConfigError, UnavailableError, UsageError
from loadgen.event_loop import new_runner
from loadgen.execution.executor import WorkerPool
from loadgen.interfaces import Target
from loadgen.workload.request import Request

_POLL_INTERVAL = 0.2  # seconds between two visits to a desk: how old the live view may be
_MEMBERSHIP_INTERVAL = 0.5  # seconds between two looks at who is in the cluster
_ORPHAN_TIMEOUT = 60.0  # seconds after which a desk that nobody visits is closed: the director is gone
_POLL_FAILURE_TIMEOUT = 20.0  # seconds of visits that fail until a worker in the cluster is taken for lost
_FIRST_WORKER_TIMEOUT = 60.0  # seconds until the cluster has a worker


@dataclass(frozen=True, slots=True)
class DaskExecutor:
    """Every worker of a Dask cluster, each with a loop of its own.

    Args:
        client: a `distributed.Client`, synchronous or not; it stays open. None connects to `address`.
        address: of a scheduler, such as `tcp://10.0.0.5:8786`.
        workers: how many to use at most; None for all.

    Raises:
        ConfigError: Dask is not installed.
        UsageError: neither a client nor an address, or a number of workers that cannot be meant.

    Example:
        crew = DaskExecutor(Client("tcp://10.0.0.5:8786"))
        await run_scenario(loaded, out, command="...", progress=progress, stop=stop, crew=crew)
    """

    client: Any = None
    address: str = ""
    workers: int | None = None

    def __post_init__(self) -> None:
        _import_distributed()
        if self.client is None and not self.address:
            raise UsageError("a Dask crew without a cluster", hint="give a distributed.Client or a scheduler's address")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"{self.workers} Dask workers", hint="at least 1")

    @asynccontextmanager
    async def start(
        self, target: Target, requests: Sequence[Request], log: Callable[[str], None]
    ) -> AsyncIterator[WorkerPool]:
        """Put a task on every worker of the cluster, and end them on the way out.

        Raises:
            ConfigError: the target cannot be called by another process, or a worker runs another version.
            UnavailableError: the cluster cannot be reached, or has no worker.
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
            # A visit to a lost worker may hang in its thread for as long as Dask tries: nobody waits for it.
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
    """A Dask cluster as seen from our loop, whether its client is synchronous or not."""

    def __init__(self, client: Any, threads: ThreadPoolExecutor) -> None:
        self.client = client
        self._threads = threads

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client without standing still."""
        bound_call = partial(getattr(self.client, method), *args, **kwargs)
        if self.client.asynchronous:
            answer = bound_call()
            return await answer if inspect.isawaitable(answer) else answer
        return await asyncio.get_running_loop().run_in_executor(self._threads, bound_call)

    async def list_workers(self, timeout: float = 0.0) -> list[str]:
        """Return the addresses of the workers that are there, waiting for the first of them.

        Raises:
            UnavailableError: there is none in time.
        """
        deadline = time.perf_counter() + timeout
        while True:
            addresses = sorted(await self.call("nthreads"))
            if addresses or time.perf_counter() > deadline:
                break
            await asyncio.sleep(_MEMBERSHIP_INTERVAL)
        if not addresses and timeout:
            raise UnavailableError("the Dask cluster has no workers", hint="start some, or wait until they are up")
        return addresses


async def _watch_membership(cluster: _ClusterClient, connections: "Sequence[_DaskConnection]") -> None:
    """Look who is in the cluster, so that a lost worker is noticed before a visit to it times out."""
    while True:
        await asyncio.sleep(_MEMBERSHIP_INTERVAL)
        # A scheduler that does not answer is noticed by the visits.
        with suppress(OSError, TimeoutError):
            addresses = await cluster.list_workers()
            for connection in connections:
                if connection.address not in addresses:
                    connection.mark_lost("left the Dask cluster")


# --- the director's side


@asynccontextmanager
async def _start_worker_task(
    cluster: _ClusterClient, run_key: str, worker_index: int, address: str
) -> "AsyncIterator[_DaskConnection]":
    future = await cluster.call(
        "submit",
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
        # What has been said last, the dismissal above all, is still delivered.
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await connection.flush()
        poll_task.cancel()
        await cluster.call("cancel", [future], force=True)


class _DaskConnection:
    """The way to the task on one Dask worker. A `WorkerConnection`."""

    shares_filesystem = False
    shares_clock = False

    def __init__(self, cluster: _ClusterClient, run_key: str, worker_index: int, address: str) -> None:
        self.name = address
        self.address = address
        self.duplicate_starts = 0
        self._cluster = cluster
        self._run_key = run_key
        self._worker_index = worker_index
        self._attempt = ""  # the first that we met; no other is ever given an order
        self._duplicate_attempts: set[str] = set()
        self._outgoing: list[bytes] = []
        self._delivered_count = 0
        self._received_count = 0
        self._incoming: asyncio.Queue[Any] = asyncio.Queue()
        self._poll_now = asyncio.Event()
        self._changed = asyncio.Event()
        self._exit_reason = ""

    def send(self, message: Any) -> None:
        """Send a message with the next visit, which is made at once."""
        self._outgoing.append(pickle.dumps(message))
        self._poll_now.set()

    async def messages(self) -> AsyncIterator[Any]:
        """Yield what the worker says, until it is gone."""
        while (message := await self._incoming.get()) is not None:
            yield message

    async def exit_reason(self) -> str:
        """Say why it is gone."""
        return self._exit_reason

    def abort(self) -> None:
        """Visit it no more: it ends by itself when nobody comes."""
        self.mark_lost("was given up")

    def mark_lost(self, reason: str) -> None:
        """Take it for gone; the first reason is the one that is told."""
        if not self._exit_reason:
            self._exit_reason = reason
            self._changed.set()
            self._incoming.put_nowait(None)

    async def flush(self) -> None:
        """Wait until everything that was sent has arrived, or the worker is gone."""
        while self._delivered_count < len(self._outgoing) and not self._exit_reason:
            self._changed.clear()
            await self._changed.wait()

    async def poll_loop(self) -> None:
        """Go to the desk and back until the worker is gone."""
        failing_since = 0.0
        while not self._exit_reason:
            self._poll_now.clear()
            poll = _Poll(
                self._attempt,
                self._delivered_count,
                tuple(self._outgoing[self._delivered_count :]),
                self._received_count,
            )
            try:
                reply = self._cluster.call(
                    "run", poll_mailbox, self._run_key, self._worker_index, poll, workers=[self.address]
                )
                answers = (await reply).get(self.address, {})
            except Exception as error:  # noqa: BLE001 - whatever comms raise: what counts is whether it lasts
                now = time.perf_counter()
                failing_since = failing_since or now
                if now - failing_since > _POLL_FAILURE_TIMEOUT:
                    self.mark_lost(f"could not be reached: {type(error).__name__}: {error}"[:200])
            else:
                failing_since = 0.0
                self._on_poll_reply(answers, poll)
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_INTERVAL):
                    await self._poll_now.wait()

    def _on_poll_reply(self, messages_by_attempt: "dict[str, tuple[bytes, ...]]", poll: "_Poll") -> None:
        if not self._attempt and messages_by_attempt:
            self._attempt = min(messages_by_attempt)
            self._poll_now.set()
        duplicates = set(messages_by_attempt) - {self._attempt} - self._duplicate_attempts
        self._duplicate_attempts |= duplicates
        self.duplicate_starts += len(duplicates)
        if poll.attempt and poll.attempt not in messages_by_attempt:
            self.mark_lost("was begun anew by Dask, or ended")
            return
        if poll.attempt:
            self._delivered_count += len(poll.messages)
            self._changed.set()
            for content in messages_by_attempt[poll.attempt]:
                self._received_count += 1
                # From a worker of our own cluster, to which Dask gives the same trust.
                self._incoming.put_nowait(pickle.loads(content))  # noqa: S301


# --- the worker's side


@dataclass(frozen=True, slots=True)
class _Poll:
    """What a visit brings: messages from number `first_sequence` on, and how many answers have arrived so far."""

    attempt: str
    first_sequence: int
    messages: tuple[bytes, ...]
    received_count: int


_MAILBOXES: "dict[tuple[str, int, str], _Mailbox]" = {}  # what runs in this Dask worker's process


class _Mailbox:
    """Where a task waits for its orders; its loop is in a thread of its own, visitors come in Dask's."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        self._lock = threading.Lock()
        self._received_count = 0
        self._outgoing: list[bytes] = []
        self._acknowledged = 0  # answers that have arrived, and are kept no more
        self._last_polled = time.perf_counter()

    def send(self, message: Any) -> None:
        content = pickle.dumps(message)
        with self._lock:
            self._outgoing.append(content)

    def poll(self, request: _Poll) -> tuple[bytes, ...]:
        """Take what is new, and hand out what has not arrived yet."""
        self._last_polled = time.perf_counter()
        for content in request.messages[max(0, self._received_count - request.first_sequence) :]:
            self._received_count += 1
            message = pickle.loads(content)  # noqa: S301 - from the client of this worker's own cluster
            if isinstance(message, Ping):
                self.send(Pong(message.sequence, time.perf_counter()))
            else:
                self._loop.call_soon_threadsafe(self._inbox.put_nowait, message)
        with self._lock:
            del self._outgoing[: request.received_count - self._acknowledged]
            self._acknowledged = request.received_count
            return tuple(self._outgoing)

    def shut_down(self) -> None:
        self._loop.call_soon_threadsafe(self._inbox.put_nowait, Shutdown())

    async def messages(self) -> AsyncIterator[Any]:
        while time.perf_counter() - self._last_polled < _ORPHAN_TIMEOUT:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ORPHAN_TIMEOUT / 10):
                    yield await self._inbox.get()


def poll_mailbox(run_key: str, worker_index: int, poll: _Poll) -> dict[str, tuple[bytes, ...]]:
    """Visit the desks of a unit in this process: the one that the mail is for, and whatever other attempts there are.

    Called by `Client.run` on a Dask worker, in its event loop: returns at once.
    """
    answers: dict[str, tuple[bytes, ...]] = {}
    for (of, number, attempt), mailbox in list(_MAILBOXES.items()):
        if (of, number) != (run_key, worker_index):
            continue
        answers[attempt] = mailbox.poll(poll) if attempt == poll.attempt else ()
        if poll.attempt and attempt != poll.attempt:
            mailbox.shut_down()
    return answers


def run_worker_task(run_key: str, worker_index: int) -> tuple[str, int, str]:
    """Be a worker until dismissed, in a thread of a Dask worker; the task of a unit."""
    key = (run_key, worker_index, f"{time.time():.6f}-{secrets.token_hex(4)}")

    async def serve() -> None:
        desk = _MAILBOXES[key] = _Mailbox()
        try:
            await Worker(desk.send).run(desk.messages())
        finally:
            del _MAILBOXES[key]

    with new_runner() as loop:
        loop.run(serve())
    return key
