"""Instances: the workers of a crew as the instances of one Processing job. The first directs, and works too.

They meet over the job's own network. Where the first one listens it writes to S3, since that is all they share before;
whoever comes must show the run's secret before a single message is read. The workers' samples travel to the first,
whose outputs are the job's.
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

from loadgen.aws.s3 import Shelf, get, put
from loadgen.aws.session import Access, open_clients
from loadgen.distributed.coordinator import team
from loadgen.distributed.local_processes import started
from loadgen.distributed.stream import StreamLink, serve_stream
from loadgen.distributed.worker_handle import check_portable
from loadgen.errors import InputError, UnavailableError
from loadgen.execution.executor import Team
from loadgen.interfaces import Target
from loadgen.workload.request import Request

_GATHERING = 1200.0  # seconds: instances of one job start within minutes of each other
_POLL = 1.0
_GREETING = 10.0  # seconds until whoever connects has shown the secret
_NAME = 64


@dataclass(frozen=True, slots=True)
class Hosts:
    """The instances of a job as each of them is told.

    Source: SageMaker developer guide, "How Amazon SageMaker Processing Configures Your Processing Container".
    """

    current: str
    all: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "Hosts":
        """Read resourceconfig.json.

        Raises:
            InputError: it is not there, or something else.
        """
        try:
            plain = json.loads(path.read_text("utf-8"))
            return cls(plain["current_host"], tuple(sorted(plain["hosts"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"cannot read the job's instances from {path}: {error}") from error

    @property
    def is_first(self) -> bool:
        """True on the instance that directs."""
        return self.current == self.all[0]


@dataclass(frozen=True, slots=True)
class Instances:
    """All instances of this job, as seen by the first.

    Args:
        hosts: which they are.
        meeting: where the first writes down where it listens.
        secret: 32 bytes that the instances share.
    """

    hosts: Hosts
    meeting: Shelf
    secret: bytes

    @asynccontextmanager
    async def assembled(
        self, target: Target, requests: Sequence[Request], say: Callable[[str], None]
    ) -> AsyncIterator[Team]:
        """Wait for the other instances, and work with them.

        Raises:
            ConfigError: the target cannot be called by another process, or an instance runs another version.
            UnavailableError: not all of them came.
        """
        check_portable(target)
        arrived: asyncio.Queue[StreamLink] = asyncio.Queue()

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            link = await self._greeted(reader, writer)
            if link is None:
                writer.close()
            else:
                arrived.put_nowait(link)

        async with AsyncExitStack() as stack:
            address = _address(self.hosts.current)
            server = await asyncio.start_server(greet, address, 0)
            stack.callback(server.close)
            place = {"host": address, "port": server.sockets[0].getsockname()[1]}
            async with open_clients(Access()) as clients, clients.storage() as s3:
                await put(s3, self.meeting, json.dumps(place).encode())
            say(f"waiting for {len(self.hosts.all) - 1} more instances")
            own = await stack.enter_async_context(started(1))
            own.name = self.hosts.current
            links: list[StreamLink] = [own, *await self._gathered(arrived)]
            for link in links[1:]:
                stack.callback(link.cut)
            yield await stack.enter_async_context(team(links, requests, say))

    async def _gathered(self, arrived: "asyncio.Queue[StreamLink]") -> list[StreamLink]:
        links: dict[str, StreamLink] = {}
        try:
            async with asyncio.timeout(_GATHERING):
                while len(links) < len(self.hosts.all) - 1:
                    link = await arrived.get()
                    links[link.name] = link
        except TimeoutError as error:
            missing = sorted(set(self.hosts.all[1:]) - set(links))
            raise UnavailableError(f"no word from {', '.join(missing)} for {_GATHERING:g} s") from error
        return [links[name] for name in sorted(links)]

    async def _greeted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> StreamLink | None:
        """Return the link to an instance of this job; None for whoever else connects."""
        with suppress(TimeoutError, asyncio.IncompleteReadError, ConnectionError, UnicodeDecodeError):
            async with asyncio.timeout(_GREETING):
                shown = await reader.readexactly(len(self.secret))
                name = (await reader.readexactly(_NAME)).rstrip(b"\0").decode("ascii")
            if hmac.compare_digest(shown, self.secret) and name in self.hosts.all[1:]:
                return StreamLink(name, reader, writer, is_local=False)
        return None


async def join(hosts: Hosts, meeting: Shelf, secret: bytes) -> None:
    """Be a worker on an instance that is not the first, until dismissed.

    Raises:
        UnavailableError: the first instance was not to be found.
    """
    place = await _place(meeting)
    reader, writer = await asyncio.open_connection(place["host"], int(place["port"]))
    try:
        writer.write(secret + hosts.current.encode("ascii").ljust(_NAME, b"\0"))
        await serve_stream(reader, writer)
    finally:
        writer.close()


async def _place(meeting: Shelf) -> dict[str, str]:
    until = time.monotonic() + _GATHERING
    async with open_clients(Access()) as clients, clients.storage() as s3:
        while time.monotonic() < until:
            if content := await get(s3, meeting):
                plain: dict[str, str] = json.loads(content)
                return plain
            await asyncio.sleep(_POLL)
    raise UnavailableError(f"the first instance did not say where it is for {_GATHERING:g} s", hint=meeting.uri)


def _address(host: str) -> str:
    """Return where to listen: this instance's own address, or loopback where its name means nothing."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return "127.0.0.1"
