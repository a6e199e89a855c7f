"""The Dask worker's side: the task that runs a worker, and the mailbox through which the coordinator reaches it.

Dask may run a task again after a worker was lost, even if the task had finished (distributed#7870), and regardless of
`retries` (#6078). A task is therefore harmless by itself: it opens a mailbox under (run, worker index, attempt) and
waits for messages. The coordinator sends messages to the first attempt only; further attempts are shut down and counted
as duplicate starts.

Messages are numbered in both directions, so that a repeated poll delivers no message twice.
"""

import asyncio
import pickle
import secrets
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from loadgen.distributed.protocol import Ping, Pong, Shutdown
from loadgen.distributed.worker import Worker
from loadgen.event_loop import new_runner

_ORPHAN_TIMEOUT = 60.0  # seconds without a poll after which a task ends: the coordinator is gone


@dataclass(frozen=True, slots=True)
class Poll:
    """The argument of one poll.

    Args:
        attempt: the attempt that the messages are for; empty to find out which attempts there are.
        first_sequence: sequence number of the first of `messages`.
        messages: pickled messages to the worker.
        received_count: how many of the worker's messages the coordinator has received.
    """

    attempt: str
    first_sequence: int
    messages: tuple[bytes, ...]
    received_count: int


# The tasks in this Dask worker's process, by run key, worker index and attempt.
_MAILBOXES: "dict[tuple[str, int, str], Mailbox]" = {}


class Mailbox:
    """The messages to and from one task, whose event loop runs in its own thread; polls run in Dask's thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        self._lock = threading.Lock()
        self._received_count = 0
        self._outgoing: list[bytes] = []
        self._acknowledged = 0  # messages that the coordinator has received; they are dropped
        self._last_polled = time.perf_counter()

    def send(self, message: Any) -> None:
        """Keep a message for the coordinator's next poll."""
        content = pickle.dumps(message)
        with self._lock:
            self._outgoing.append(content)

    def poll(self, request: Poll) -> tuple[bytes, ...]:
        """Deliver the new messages of a poll, and return the messages that the coordinator has not received."""
        self._last_polled = time.perf_counter()
        for content in request.messages[max(0, self._received_count - request.first_sequence) :]:
            self._received_count += 1
            message = pickle.loads(content)  # noqa: S301 - from a client of this worker's cluster
            if isinstance(message, Ping):
                self.send(Pong(message.sequence, time.perf_counter()))
            else:
                self._loop.call_soon_threadsafe(self._inbox.put_nowait, message)
        with self._lock:
            del self._outgoing[: request.received_count - self._acknowledged]
            self._acknowledged = request.received_count
            return tuple(self._outgoing)

    def shut_down(self) -> None:
        """End the task, from any thread."""
        self._loop.call_soon_threadsafe(self._inbox.put_nowait, Shutdown())

    async def messages(self) -> AsyncIterator[Any]:
        """Yield the coordinator's messages; ends when polls cease."""
        while time.perf_counter() - self._last_polled < _ORPHAN_TIMEOUT:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ORPHAN_TIMEOUT / 10):
                    yield await self._inbox.get()


def poll_mailbox(run_key: str, worker_index: int, poll: Poll) -> dict[str, tuple[bytes, ...]]:
    """Poll the mailbox of one attempt, and shut down every other attempt of the same worker index.

    `Client.run` calls it on a Dask worker, in the worker's event loop; it returns at once.

    Returns:
        The worker's messages by attempt; those of other attempts are empty.
    """
    messages: dict[str, tuple[bytes, ...]] = {}
    for (key, index, attempt), mailbox in list(_MAILBOXES.items()):
        if (key, index) != (run_key, worker_index):
            continue
        messages[attempt] = mailbox.poll(poll) if attempt == poll.attempt else ()
        if poll.attempt and attempt != poll.attempt:
            mailbox.shut_down()
    return messages


def run_worker_task(run_key: str, worker_index: int) -> tuple[str, int, str]:
    """Run a worker until `Shutdown`, or until polls cease. The task on a Dask worker, in one of its threads."""
    key = (run_key, worker_index, f"{time.time():.6f}-{secrets.token_hex(4)}")

    async def serve() -> None:
        mailbox = _MAILBOXES[key] = Mailbox()
        try:
            await Worker(mailbox.send).run(mailbox.messages())
        finally:
            del _MAILBOXES[key]

    with new_runner() as runner:
        runner.run(serve())
    return key
