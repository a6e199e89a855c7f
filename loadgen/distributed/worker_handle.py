"""Crew: who carries a step out once its endpoint is open. One process alone, or several workers with a shard each.

This is the one place where the two differ: deploying, collecting and removing is always the process that directs.
How workers are started and reached is processes.py's, dask.py's and instances.py's; what a worker does is hand.py's.
"""

import asyncio
import itertools
import pickle
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from loadgen.distributed.protocol import Badge, Dismissed, Hired, Introduced, Ping, Pong
from loadgen.engine import engine
from loadgen.errors import ConfigError, ResourceError, UnavailableError
from loadgen.interfaces import Target
from loadgen.workload.request import Request

_INTRODUCTION = 120.0  # seconds until every worker has answered: an interpreter on a busy machine, or a far one
_PINGS = 9  # the fastest of them bounds a clock best


class Link(Protocol):
    """The way to one worker.

    `name` says which it is; `shares_disk` and `shares_clock` whether it runs on this machine.
    """

    name: str
    shares_disk: bool
    shares_clock: bool
    repeats: int

    def send(self, message: Any) -> None:
        """Send a message; to a worker that is gone it is lost. Returns at once."""
        ...

    def messages(self) -> AsyncIterator[Any]:
        """Yield what the worker says, until it is gone."""
        ...

    async def fate(self) -> str:
        """Say in a few words why it is gone, once its messages have ended."""
        ...

    def cut(self) -> None:
        """End a worker that is silent."""
        ...


@dataclass(slots=True)
class Mate:
    """One worker as the director knows it.

    Args:
        link: the way to it.
        offset: what its clock shows when ours shows 0.
        clock_bound: seconds by which `offset` may be wrong.
        lost: why it is gone; empty while it is not.
        inboxes: takes its messages, by the number of an order.
        heard: when it said anything last, on our clock.
    """

    link: Link
    offset: float = 0.0
    clock_bound: float = 0.0
    lost: str = ""
    inboxes: dict[int, Callable[["Mate", Any], None]] = field(default_factory=dict)
    heard: float = 0.0
    badge: Badge | None = None
    marks: Iterator[int] = field(default_factory=itertools.count)
    pongs: dict[int, float] = field(default_factory=dict)
    waking: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        """Pass its messages on until it is gone; then tell every order that still counts on it."""
        async for message in self.link.messages():
            self.heard = time.perf_counter()
            if isinstance(message, Introduced):
                self.badge = message.badge
                self.waking.set()
            elif isinstance(message, Pong):
                self.pongs[message.mark] = message.now
                self.waking.set()
            elif message.number in self.inboxes:
                self.inboxes[message.number](self, message)
        self.lost = self.lost or await self.link.fate()
        self.waking.set()
        for take in list(self.inboxes.values()):
            take(self, None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it has said what makes the condition true, or is gone."""
        while not condition() and not self.lost:
            self.waking.clear()
            await self.waking.wait()

    async def align(self) -> None:
        """Measure its clock against ours: the answer to a ping was read between its sending and its arrival.

        Measured again and again, so that a clock that runs at another rate shows: the bound covers all of them.
        """
        if self.link.shares_clock:
            return
        best = (float("inf"), 0.0)
        for mark in itertools.islice(self.marks, _PINGS):
            asked = time.perf_counter()
            self.link.send(Ping(mark))
            await self.until(lambda mark=mark: mark in self.pongs)  # type: ignore[misc]  # mypy has no type for it
            if self.lost:
                return
            heard = time.perf_counter()
            best = min(best, ((heard - asked) / 2, self.pongs.pop(mark) - (asked + heard) / 2))
        bound, offset = best
        drift = abs(offset - self.offset) if self.clock_bound else 0.0
        self.offset, self.clock_bound = offset, max(self.clock_bound, bound, drift)


@asynccontextmanager
async def introduced(
    links: Sequence[Link], requests: Sequence[Request], say: Callable[[str], None]
) -> AsyncIterator[Sequence[Mate]]:
    """Give workers their requests, see that they are what we are, and dismiss them on the way out.

    Raises:
        ConfigError: one runs another version.
        ResourceError: one did not start.
    """
    mates = [Mate(link) for link in links]
    try:
        async with asyncio.TaskGroup() as group:
            listening = [group.create_task(mate.listen()) for mate in mates]
            try:
                for mate in mates:
                    mate.link.send(Hired(Badge.own(), tuple(requests)))
                await _welcome(mates)
                say(f"{len(mates)} workers: {', '.join(mate.link.name for mate in mates)}")
                yield mates
            finally:
                for mate in mates:
                    mate.link.send(Dismissed())
                for task in listening:
                    task.cancel()
    except BaseExceptionGroup as group_error:
        raise engine.cause(group_error) from group_error


async def _welcome(mates: Sequence[Mate]) -> None:
    try:
        async with asyncio.timeout(_INTRODUCTION):
            for mate in mates:
                await mate.until(lambda mate=mate: mate.badge is not None)  # type: ignore[misc]  # as above
                await mate.align()
    except TimeoutError as error:
        silent = [mate.link.name for mate in mates if mate.badge is None]
        raise UnavailableError(f"no answer from {', '.join(silent)} for {_INTRODUCTION:g} s") from error
    for mate in mates:
        if mate.lost:
            raise ResourceError(f"{mate.link.name} {mate.lost} before it began", hint="ask for fewer workers")
        if mate.badge != Badge.own():
            raise ConfigError(
                f"{mate.link.name} has {mate.badge}; this process has {Badge.own()}",
                hint="install the same versions on both: what they record cannot be joined otherwise",
            )


def check_portable(target: Target) -> None:
    """Refuse a target whose endpoints only this process can call.

    Raises:
        ConfigError: it cannot be described for another process, or not be sent there.
    """
    if not callable(getattr(target, "elsewhere", None)):
        raise ConfigError(
            f"{type(target).__name__} can be called by one process only",
            hint="leave --workers out, or give the target a method elsewhere(account, endpoint)",
        )
    try:
        pickle.dumps(target)
    except Exception as error:  # whatever pickle's hooks of foreign types raise
        raise ConfigError(
            f"{type(target).__name__} cannot be sent to another process: {error}",
            hint="define it in a module of its own, beside the scenario file",
        ) from error
