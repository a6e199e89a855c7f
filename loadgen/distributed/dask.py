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

from loadgen.distributed.coordinator import team
from loadgen.distributed.protocol import Dismissed, Ping, Pong
from loadgen.distributed.worker import Hand
from loadgen.distributed.worker_handle import check_portable
from loadgen.errors import ConfigError, UnavailableError, UsageError
from loadgen.event_loop import runner
from loadgen.execution.executor import Team
from loadgen.interfaces import Target
from loadgen.workload.request import Request

_POLL = 0.2  # seconds between two visits to a desk: how old the live view may be
_ROLL = 0.5  # seconds between two looks at who is in the cluster
_UNVISITED = 60.0  # seconds after which a desk that nobody visits is closed: the director is gone
_REFUSALS = 20.0  # seconds of visits that fail until a worker in the cluster is taken for lost
_ARRIVAL = 60.0  # seconds until the cluster has a worker


@dataclass(frozen=True, slots=True)
class DaskCrew:
    """Every worker of a Dask cluster, each with a loop of its own.

    Args:
        client: a `distributed.Client`, synchronous or not; it stays open. None connects to `address`.
        address: of a scheduler, such as `tcp://10.0.0.5:8786`.
        workers: how many to use at most; None for all.

    Raises:
        ConfigError: Dask is not installed.
        UsageError: neither a client nor an address, or a number of workers that cannot be meant.

    Example:
        crew = DaskCrew(Client("tcp://10.0.0.5:8786"))
        await run_scenario(loaded, out, command="...", progress=progress, stop=stop, crew=crew)
    """

    client: Any = None
    address: str = ""
    workers: int | None = None

    def __post_init__(self) -> None:
        _distributed()
        if self.client is None and not self.address:
            raise UsageError("a Dask crew without a cluster", hint="give a distributed.Client or a scheduler's address")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"{self.workers} Dask workers", hint="at least 1")

    @asynccontextmanager
    async def assembled(
        self, target: Target, requests: Sequence[Request], say: Callable[[str], None]
    ) -> AsyncIterator[Team]:
        """Put a task on every worker of the cluster, and end them on the way out.

        Raises:
            ConfigError: the target cannot be called by another process, or a worker runs another version.
            UnavailableError: the cluster cannot be reached, or has no worker.
        """
        check_portable(target)
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(self._cluster())
            addresses = (await cluster.roll(_ARRIVAL))[: self.workers]
            run = secrets.token_hex(6)
            links = []
            for unit, address in enumerate(addresses):
                links.append(await stack.enter_async_context(_stationed(cluster, run, unit, address)))
            roll = asyncio.create_task(_watch_roll(cluster, links))
            stack.callback(roll.cancel)
            yield await stack.enter_async_context(team(links, requests, say))

    @asynccontextmanager
    async def _cluster(self) -> "AsyncIterator[_Cluster]":
        with ThreadPoolExecutor(thread_name_prefix="loadgen-dask") as few:
            client = self.client
            if client is None:
                loop = asyncio.get_running_loop()
                try:
                    client = await loop.run_in_executor(few, partial(_distributed().Client, self.address, timeout=20))
                except (OSError, ValueError) as error:
                    raise UnavailableError(f"no Dask scheduler at {self.address}: {error}") from error
            # A visit to a lost worker may hang in its thread for as long as Dask tries: nobody waits for it.
            pool = ThreadPoolExecutor(256, thread_name_prefix="loadgen-dask")
            try:
                yield _Cluster(client, pool)
            finally:
                if self.client is None:
                    await asyncio.get_running_loop().run_in_executor(few, client.close)
                pool.shutdown(wait=False, cancel_futures=True)


def _distributed() -> Any:
    try:
        import distributed  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("Dask is not installed", hint="pip install 'loadgen[dask]'") from error
    return distributed


class _Cluster:
    """A Dask cluster as seen from our loop, whether its client is synchronous or not."""

    def __init__(self, client: Any, pool: ThreadPoolExecutor) -> None:
        self.client = client
        self._pool = pool

    async def call(self, method: str, *args: Any, **named: Any) -> Any:
        """Call a method of the client without standing still."""
        bound = partial(getattr(self.client, method), *args, **named)
        if self.client.asynchronous:
            answer = bound()
            return await answer if inspect.isawaitable(answer) else answer
        return await asyncio.get_running_loop().run_in_executor(self._pool, bound)

    async def roll(self, within: float = 0.0) -> list[str]:
        """Return the addresses of the workers that are there, waiting for the first of them.

        Raises:
            UnavailableError: there is none in time.
        """
        until = time.perf_counter() + within
        while True:
            found = sorted(await self.call("nthreads"))
            if found or time.perf_counter() > until:
                break
            await asyncio.sleep(_ROLL)
        if not found and within:
            raise UnavailableError("the Dask cluster has no workers", hint="start some, or wait until they are up")
        return found


async def _watch_roll(cluster: _Cluster, links: "Sequence[_DaskLink]") -> None:
    """Look who is in the cluster, so that a lost worker is noticed before a visit to it times out."""
    while True:
        await asyncio.sleep(_ROLL)
        # A scheduler that does not answer is noticed by the visits.
        with suppress(OSError, TimeoutError):
            present = await cluster.roll()
            for link in links:
                if link.address not in present:
                    link.leave("left the Dask cluster")


# --- the director's side


@asynccontextmanager
async def _stationed(cluster: _Cluster, run: str, unit: int, address: str) -> "AsyncIterator[_DaskLink]":
    future = await cluster.call(
        "submit",
        station,
        run,
        unit,
        key=f"loadgen-{run}-{unit}",
        workers=[address],
        allow_other_workers=False,
        retries=0,
        pure=False,
    )
    link = _DaskLink(cluster, run, unit, address)
    visiting = asyncio.create_task(link.visit())
    try:
        yield link
    finally:
        # What has been said last, the dismissal above all, is still delivered.
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await link.delivered()
        visiting.cancel()
        await cluster.call("cancel", [future], force=True)


class _DaskLink:
    """The way to the task on one Dask worker. A `Link`."""

    shares_disk = False
    shares_clock = False

    def __init__(self, cluster: _Cluster, run: str, unit: int, address: str) -> None:
        self.name = address
        self.address = address
        self.repeats = 0
        self._cluster = cluster
        self._run = run
        self._unit = unit
        self._attempt = ""  # the first that we met; no other is ever given an order
        self._others: set[str] = set()
        self._outgoing: list[bytes] = []
        self._delivered = 0
        self._taken = 0
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._fate = ""

    def send(self, message: Any) -> None:
        """Send a message with the next visit, which is made at once."""
        self._outgoing.append(pickle.dumps(message))
        self._wake.set()

    async def messages(self) -> AsyncIterator[Any]:
        """Yield what the worker says, until it is gone."""
        while (message := await self._arrived.get()) is not None:
            yield message

    async def fate(self) -> str:
        """Say why it is gone."""
        return self._fate

    def cut(self) -> None:
        """Visit it no more: it ends by itself when nobody comes."""
        self.leave("was given up")

    def leave(self, why: str) -> None:
        """Take it for gone; the first reason is the one that is told."""
        if not self._fate:
            self._fate = why
            self._moved.set()
            self._arrived.put_nowait(None)

    async def delivered(self) -> None:
        """Wait until everything that was sent has arrived, or the worker is gone."""
        while self._delivered < len(self._outgoing) and not self._fate:
            self._moved.clear()
            await self._moved.wait()

    async def visit(self) -> None:
        """Go to the desk and back until the worker is gone."""
        refused_since = 0.0
        while not self._fate:
            self._wake.clear()
            mail = _Mail(self._attempt, self._delivered, tuple(self._outgoing[self._delivered :]), self._taken)
            try:
                visited = self._cluster.call("run", exchange, self._run, self._unit, mail, workers=[self.address])
                answers = (await visited).get(self.address, {})
            except Exception as error:  # noqa: BLE001 - whatever comms raise: what counts is whether it lasts
                now = time.perf_counter()
                refused_since = refused_since or now
                if now - refused_since > _REFUSALS:
                    self.leave(f"could not be reached: {type(error).__name__}: {error}"[:200])
            else:
                refused_since = 0.0
                self._take(answers, mail)
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await self._wake.wait()

    def _take(self, answers: "dict[str, tuple[bytes, ...]]", mail: "_Mail") -> None:
        if not self._attempt and answers:
            self._attempt = min(answers)
            self._wake.set()
        others = set(answers) - {self._attempt} - self._others
        self._others |= others
        self.repeats += len(others)
        if mail.attempt and mail.attempt not in answers:
            self.leave("was begun anew by Dask, or ended")
            return
        if mail.attempt:
            self._delivered += len(mail.messages)
            self._moved.set()
            for content in answers[mail.attempt]:
                self._taken += 1
                # From a worker of our own cluster, to which Dask gives the same trust.
                self._arrived.put_nowait(pickle.loads(content))  # noqa: S301


# --- the worker's side


@dataclass(frozen=True, slots=True)
class _Mail:
    """What a visit brings: messages from number `first` on, and how many answers have arrived so far."""

    attempt: str
    first: int
    messages: tuple[bytes, ...]
    taken: int


_DESKS: "dict[tuple[str, int, str], _Desk]" = {}  # what runs in this Dask worker's process


class _Desk:
    """Where a task waits for its orders; its loop is in a thread of its own, visitors come in Dask's."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        self._lock = threading.Lock()
        self._received = 0
        self._answers: list[bytes] = []
        self._gone = 0  # answers that have arrived, and are kept no more
        self._visited = time.perf_counter()

    def emit(self, message: Any) -> None:
        content = pickle.dumps(message)
        with self._lock:
            self._answers.append(content)

    def visit(self, mail: _Mail) -> tuple[bytes, ...]:
        """Take what is new, and hand out what has not arrived yet."""
        self._visited = time.perf_counter()
        for content in mail.messages[max(0, self._received - mail.first) :]:
            self._received += 1
            message = pickle.loads(content)  # noqa: S301 - from the client of this worker's own cluster
            if isinstance(message, Ping):
                self.emit(Pong(message.mark, time.perf_counter()))
            else:
                self._loop.call_soon_threadsafe(self._inbox.put_nowait, message)
        with self._lock:
            del self._answers[: mail.taken - self._gone]
            self._gone = mail.taken
            return tuple(self._answers)

    def dismiss(self) -> None:
        self._loop.call_soon_threadsafe(self._inbox.put_nowait, Dismissed())

    async def messages(self) -> AsyncIterator[Any]:
        while time.perf_counter() - self._visited < _UNVISITED:
            with suppress(TimeoutError):
                async with asyncio.timeout(_UNVISITED / 10):
                    yield await self._inbox.get()


def exchange(run: str, unit: int, mail: _Mail) -> dict[str, tuple[bytes, ...]]:
    """Visit the desks of a unit in this process: the one that the mail is for, and whatever other attempts there are.

    Called by `Client.run` on a Dask worker, in its event loop: returns at once.
    """
    answers: dict[str, tuple[bytes, ...]] = {}
    for (of, number, attempt), desk in list(_DESKS.items()):
        if (of, number) != (run, unit):
            continue
        answers[attempt] = desk.visit(mail) if attempt == mail.attempt else ()
        if mail.attempt and attempt != mail.attempt:
            desk.dismiss()
    return answers


def station(run: str, unit: int) -> tuple[str, int, str]:
    """Be a worker until dismissed, in a thread of a Dask worker; the task of a unit."""
    key = (run, unit, f"{time.time():.6f}-{secrets.token_hex(4)}")

    async def serve() -> None:
        desk = _DESKS[key] = _Desk()
        try:
            await Hand(desk.emit).serve(desk.messages())
        finally:
            del _DESKS[key]

    with runner() as loop:
        loop.run(serve())
    return key
