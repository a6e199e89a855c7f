"""Connector: resolves a host, tries its addresses in order, and opens connections.

Rule: every failure is a ConnectError with an Outcome, never a bare OSError; a socket that was opened is returned or
closed. A name is resolved again when the last lookup is older than `_DNS_CACHE_TTL`.
"""

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

from loadgen.measurement.outcome import Outcome
from loadgen.transport.os_errors import LOCAL_OUTCOMES, errno_outcome
from loadgen.transport.wire.connection import BufferedConnection, Connection, ConnectionOwner
from loadgen.transport.wire.prepared_request import Origin
from loadgen.transport.wire.tls import Tls, TlsError

_DNS_CACHE_TTL = 5.0  # seconds: connections opened together share one lookup, and a changed address is soon used
Address = tuple[int, Any]  # family and connect() argument
# Host and port -> the result of `socket.getaddrinfo`.
Lookup = Callable[[str, int], Awaitable[Sequence[tuple[Any, ...]]]]


class ConnectError(Exception):
    """A connection could not be opened.

    Args:
        outcome: of the request that needed it.
        detail: human-readable cause.
    """

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(f"{outcome.label}: {detail}")
        self.outcome = outcome
        self.detail = detail


class Connector:
    """Connect sockets to one host and port.

    Args:
        host: name or address.
        port: of the server.
        lookup: resolves the name; None for the event loop's getaddrinfo, which runs in a thread.
    """

    def __init__(self, host: str, port: int, *, lookup: Lookup | None = None) -> None:
        self._host = host
        self._port = port
        self._getaddrinfo = lookup or _getaddrinfo
        self._addresses: list[Address] = []
        self._looked_up = 0.0

    async def connect(self, timeout: float) -> socket.socket:
        """Return a connected, non-blocking socket.

        Args:
            timeout: seconds for the lookup and all addresses together; each address gets an equal part of the rest, so
                an unreachable IPv6 address leaves time for IPv4.

        Raises:
            ConnectError: the name is unknown, or no address accepts; it carries the last address's error.
        """
        deadline = perf_counter() + timeout
        addresses = await self._lookup(timeout)
        failure = ConnectError(Outcome.DNS, "the name has no address")
        for n, address in enumerate(addresses):
            left = max(deadline - perf_counter(), 0.0) / (len(addresses) - n)
            try:
                sock = await _connect_to_address(address, left)
            except ConnectError as error:
                failure = error
                if error.outcome in LOCAL_OUTCOMES:
                    break
                continue
            if n:  # the next connection tries the working address first
                self._addresses = [address, *(other for other in addresses if other != address)]
            return sock
        self._looked_up = 0.0
        raise failure

    async def _lookup(self, timeout: float) -> list[Address]:
        if self._addresses and perf_counter() - self._looked_up < _DNS_CACHE_TTL:
            return self._addresses
        self._addresses = _literal_address(self._host, self._port) or await self._resolve(timeout)
        self._looked_up = perf_counter()
        return self._addresses

    async def _resolve(self, timeout: float) -> list[Address]:
        try:
            async with asyncio.timeout(timeout):
                found = await self._getaddrinfo(self._host, self._port)
        except TimeoutError as error:
            raise ConnectError(Outcome.DNS, f"no answer within {timeout:g} s") from error
        except socket.gaierror as error:
            raise ConnectError(Outcome.DNS, error.strerror or "look-up failed") from error
        except OSError as error:
            raise _to_connect_error(error) from error
        except UnicodeError as error:
            raise ConnectError(Outcome.DNS, "not a host name") from error
        return list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))


async def _getaddrinfo(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _literal_address(host: str, port: int) -> list[Address]:
    """Return the address if the host is an IP literal."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return []
    return [(socket.AF_INET, (host, port))] if version == 4 else [(socket.AF_INET6, (host, port, 0, 0))]


async def _connect_to_address(address: Address, timeout: float) -> socket.socket:
    """Connect to one address.

    Not with `loop.sock_connect`: if that is cancelled, asyncio removes its writer one iteration later, when another
    socket may already have the same descriptor.
    """
    family, where = address
    try:
        sock = _new_socket(family)
    except OSError as error:
        raise _to_connect_error(error) from error
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        status = sock.connect_ex(where)
        if status == errno.EINPROGRESS:
            status = await _wait_until_connected(sock, timeout)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise _to_connect_error(error) from error
        raise
    if status:
        sock.close()
        raise _to_connect_error(OSError(status, os.strerror(status)))
    return sock


def _new_socket(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM)


async def _wait_until_connected(sock: socket.socket, timeout: float) -> int:
    """Wait until connect() has completed; return its errno."""
    loop = asyncio.get_running_loop()
    decided: asyncio.Future[None] = loop.create_future()
    fd = sock.fileno()
    loop.add_writer(fd, _set_writable, decided)
    try:
        async with asyncio.timeout(timeout):
            await decided
    except TimeoutError:
        return errno.ETIMEDOUT
    finally:
        loop.remove_writer(fd)
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _set_writable(writable: "asyncio.Future[None]") -> None:
    if not writable.done():
        writable.set_result(None)


def _to_connect_error(error: OSError) -> ConnectError:
    outcome = errno_outcome(error.errno, is_connected=False)
    return ConnectError(Outcome.RESET if outcome is None else outcome, error.strerror or type(error).__name__)


class ConnectionFactory:
    """Open connections to one origin.

    Args:
        origin: scheme, host and port.
        context: for https, else None.
        owner: of each connection.
        body_limit: maximum bytes of a response body.

    The next connection resumes `tls_session`, once `remember_session` has stored one.
    """

    def __init__(
        self, origin: Origin, context: ssl.SSLContext | None, owner: ConnectionOwner, *, body_limit: int
    ) -> None:
        self._host = origin.host
        self._context = context
        self._owner = owner
        self._body_limit = body_limit
        self._connector = Connector(origin.host, origin.port)
        self.tls_session: ssl.SSLSession | None = None

    async def open(self, *, is_on_demand: bool) -> Connection:
        """Return an open connection, with its TLS handshake done.

        Args:
            is_on_demand: True if a request waits for it.

        Raises:
            ConnectError: with outcome and cause.
        """
        timeout = self._owner.timeouts.connect
        deadline = perf_counter() + timeout
        sock = await self._connector.connect(timeout)
        connection: Connection | None = None
        try:
            tls = None if self._context is None else Tls(self._context, self._host, self.tls_session)
            loop = asyncio.get_running_loop()
            kind = BufferedConnection if isinstance(loop, asyncio.SelectorEventLoop) else Connection
            connection = kind(self._owner, sock, tls, body_limit=self._body_limit, is_on_demand=is_on_demand)
            opened = connection
            await loop.create_connection(lambda: opened, sock=sock)
            if tls is not None:
                await _do_handshake(connection, tls, deadline - perf_counter(), timeout)
        except TlsError as error:
            _close_socket(sock, connection)
            raise ConnectError(Outcome.TLS, str(error)) from error
        except OSError as error:
            _close_socket(sock, connection)
            raise ConnectError(Outcome.RESET, error.strerror or type(error).__name__) from error
        except BaseException:
            _close_socket(sock, connection)
            raise
        if not connection.is_open:
            raise ConnectError(Outcome.RESET, "the peer closed the connection at once")
        return connection

    def remember_session(self, connection: Connection) -> None:
        """Store the TLS session of a connection that has received a response, for later ones to resume."""
        if self._context is not None and connection.request_count and connection.is_open:
            self.tls_session = connection.tls_session


async def _do_handshake(connection: Connection, tls: Tls, remaining: float, timeout: float) -> None:
    try:
        async with asyncio.timeout(max(remaining, 0.0)):
            trouble = await connection.begin_handshake(tls)
    except TimeoutError as error:
        raise ConnectError(Outcome.TLS, f"no handshake within {timeout:g} s") from error
    if trouble:
        raise ConnectError(Outcome.TLS, trouble)


def _close_socket(sock: socket.socket, connection: Connection | None) -> None:
    if connection is not None and connection.transport is not None:
        connection.close()
    else:
        sock.close()
