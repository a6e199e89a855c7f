"""WireTransport: signed InvokeEndpoint calls over its own connections, at tens of times the SDK's rate.

Rule: `invoke` sends once and reads the whole response; waiting for a connection and signing end before `sent`. One
periodic check over all connections enforces the timeouts, so a call sets no timer.

prepared_request.py builds the bytes, http1.py parses them, connection.py sends and receives them, pool.py assigns
connections, connector.py (over tls.py) opens them, error_response.py parses errors. sdk_probe.py takes credentials,
region, URL and user agent from the SDK.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter, time

from loadgen.errors import AuthError, ResourceError, UnavailableError, UsageError
from loadgen.interfaces import TransportError
from loadgen.measurement.outcome import Outcome
from loadgen.open_files import open_files_limit
from loadgen.transport.os_errors import LOCAL_OUTCOMES
from loadgen.transport.wire.connection import Connection, TimedResponse
from loadgen.transport.wire.connector import ConnectError, ConnectionFactory
from loadgen.transport.wire.error_response import parse_error_response, request_id
from loadgen.transport.wire.http1 import BODY_LIMIT
from loadgen.transport.wire.pool import Pool
from loadgen.transport.wire.prepared_request import InvokeRequestTemplate, PreparedRequest, new_id_prefix, parse_url
from loadgen.transport.wire.sigv4 import Credentials, Signer
from loadgen.transport.wire.timeouts import Timeouts
from loadgen.transport.wire.tls import make_context
from loadgen.workload.request import Reply, Request

# Prepared requests are kept while their Request lives, at most this many: about 2 KB each.
_MAX_PREPARED = 16_384
# Seconds between two requests to the credentials provider. It returns them from memory until 15 minutes before they
# expire (botocore/credentials.py, _advisory_refresh_timeout).
_CREDENTIALS_INTERVAL = 1.0
# Connections opened concurrently before the load: enough to hide a round trip, too few to overflow a listen queue.
_MAX_CONCURRENT_OPENS = 64
# Connections opened on entering. A load that needs more asks for them (`open_connections`) when its turn comes, so that
# endpoints that wait for their turn do not hold connections that no request uses.
_INITIAL_CONNECTIONS = 10


class CredentialsError(Exception):
    """The provider has no credentials; the message contains the reason and no secret."""


CredentialsProvider = Callable[[], Awaitable[Credentials]]


@dataclass(frozen=True, slots=True)
class WireSettings:
    """Everything about a call except its payload.

    Args:
        url: of the runtime service, such as `https://runtime.sagemaker.us-east-1.amazonaws.com`.
        region: in the signature's scope.
        credentials: called at the start and every second; must cache, and refresh before they expire. Raises
            CredentialsError when there are none.
        user_agent: the value of the User-Agent header.
        service: the signing name.
        sdk_request: the value of the amz-sdk-request header.
        ssl_context: for https; None trusts the system's certificates.
    """

    url: str
    region: str
    credentials: CredentialsProvider = field(repr=False)
    user_agent: str = "loadgen"
    service: str = "sagemaker"
    sdk_request: str = "attempt=1"
    ssl_context: ssl.SSLContext | None = None


class WireTransport:
    """Send signed requests to one endpoint. Made by `open_wire`; implements `loadgen.interfaces.Transport`.

    Safe for any number of concurrent calls in the event loop that opened it. Calls beyond the number of connections
    wait in order; the wait is `Reply.pool_wait`. `opened_count` includes connections opened before the load.
    """

    def __init__(
        self,
        settings: WireSettings,
        endpoint_name: str,
        *,
        connections: int,
        timeouts: Timeouts,
        body_limit: int,
        wall_clock: Callable[[], float],
    ) -> None:
        if connections < 1:
            raise UsageError(f"{connections} connections", hint="at least 1 is needed")
        origin = parse_url(settings.url)
        self._origin = origin
        self._settings = settings
        self._template = InvokeRequestTemplate(
            origin, endpoint_name, settings.region, settings.service, settings.user_agent, settings.sdk_request
        )
        context = (settings.ssl_context or make_context()) if origin.scheme == "https" else None
        self._pool = Pool(connections, timeouts)
        self._connection_factory = ConnectionFactory(origin, context, self._pool, body_limit=body_limit)
        self._wall_clock = wall_clock
        self._signer: Signer | None = None
        self._credentials_error = "no credentials yet"
        self._prepared: dict[int, PreparedRequest] = {}
        self._id_prefix = new_id_prefix()
        self._call_count = 0
        self._timer: asyncio.TimerHandle | None = None
        self.opened_count = 0

    def __repr__(self) -> str:
        counts = f"{self._call_count} calls, {self.opened_count} opened"
        return f"<WireTransport {self._origin.host_header}, {counts}, {self._pool!r}>"

    @property
    def desync_count(self) -> int:
        """Number of responses followed by bytes of no response; each one closed its connection."""
        return self._pool.desync_count

    # --- a call ------------------------------------------------------------------------------------------------------

    async def invoke(self, request: Request) -> Reply:
        """Send the request once, without retries, and read the whole response.

        `sent` is taken before the first byte is passed to the kernel, so uploading a large body counts as service time.
        `done` is when the last byte of the response was received.

        Raises:
            TransportError: no complete response was received; it carries the Outcome.
        """
        connection = self._pool.acquire_idle()
        pool_wait = 0.0
        if connection is None:
            requested = perf_counter()
            connection = await self._acquire_connection(requested)
            pool_wait = perf_counter() - requested
        prepared = self._prepared.get(id(request))
        if prepared is None or prepared.request_ref() is not request or prepared.signer is not self._signer:
            prepared = self._prepare(request, connection, pool_wait)
        second = int(self._wall_clock())
        if prepared.second != second:
            prepared.sign(second)
        self._call_count = calls = self._call_count + 1
        waiter = connection.send_request(
            b"%b%012x%b" % (prepared.bytes_before_id, calls, prepared.bytes_after_id), prepared.body, pool_wait
        )
        new_connection = connection.is_on_demand and connection.request_count == 1
        try:
            result = await waiter
        except BaseException:
            # If this request is still in flight, its response must not reach another one. If it is not, the connection
            # may already serve another request.
            if connection.waiter is waiter:
                connection.close()
            raise
        if not isinstance(result, TimedResponse):
            raise result
        return _to_reply(result, pool_wait, new_connection)

    def _prepare(self, request: Request, connection: Connection, pool_wait: float) -> PreparedRequest:
        signer = self._signer
        if signer is None:
            self._pool.release(connection)
            now = perf_counter()
            raise TransportError(Outcome.AUTH, self._credentials_error, sent=now, done=now, pool_wait=pool_wait)
        if len(self._prepared) >= _MAX_PREPARED:
            self._prepared.pop(next(iter(self._prepared)))
        kept, key = self._prepared, id(request)

        def forget(_: object) -> None:
            kept.pop(key, None)

        kept[key] = prepared = PreparedRequest(
            request, self._template, signer, id_prefix=self._id_prefix, on_finalize=forget
        )
        return prepared

    async def _acquire_connection(self, requested: float) -> Connection:
        """Open a connection if the pool is below its limit, else wait for one."""
        pool = self._pool
        while True:
            if not pool.try_reserve():
                connection = await self._wait_for_connection(requested)
                if connection is not None:
                    if connection.is_open and connection.has_no_pending_data():
                        return connection
                    continue
            try:
                return await self._open_connection(is_on_demand=True)
            except ConnectError as error:
                raise _not_sent_error(error.outcome, error.detail, requested) from error

    async def _wait_for_connection(self, requested: float) -> Connection | None:
        """Wait for a connection, or (None) for a reservation to open one."""
        total = self._pool.timeouts.total
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._pool.waiters.append(waiter)
        try:
            async with asyncio.timeout(max(total - (perf_counter() - requested), 0.0)):
                return await waiter
        except TimeoutError as error:
            self._pool.cancel_wait(waiter)
            detail = f"total: {total:g} s, waiting for a free connection"
            raise _not_sent_error(Outcome.TIMEOUT_TOTAL, detail, requested) from error
        except BaseException:
            self._pool.cancel_wait(waiter)
            raise

    async def _open_connection(self, *, is_on_demand: bool) -> Connection:
        """Open a connection under a reservation; on failure the reservation goes to the next waiter."""
        try:
            self._pool.check_open()
            connection = await self._connection_factory.open(is_on_demand=is_on_demand)
        except BaseException:
            self._pool.cancel_reservation()
            raise
        self._pool.add(connection)
        self.opened_count += 1
        try:
            self._pool.check_open()
        except ConnectError:
            connection.close()
            raise
        return connection

    # --- lifecycle ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Get credentials, open the first connections and start the timeout check.

        Raises:
            AuthError: there are no credentials.
            UnavailableError: the server cannot be reached.
            ResourceError: this machine has no descriptors or ports left.
        """
        await self.refresh_credentials()
        if self._signer is None:
            raise AuthError(
                f"no credentials to sign with: {self._credentials_error}", hint="log in, or set AWS_PROFILE"
            )
        self._schedule_check()
        await self.open_connections(_INITIAL_CONNECTIONS)

    async def open_connections(self, count: int) -> None:
        """Open connections until `count` are open, at most the number of requests in flight.

        A server that refuses further connections is part of what is measured: those that it accepted are used, and each
        request that needs another one records why it got none.

        Raises:
            UnavailableError: the server cannot be reached.
            ResourceError: this machine has no descriptors or ports left.
        """
        count = min(count, self._pool.limit)
        failure = await self._open_until(count)
        if failure is None:
            return
        where, opened = f"{self._origin.host} port {self._origin.port}", len(self._pool.connections)
        if failure.outcome in LOCAL_OUTCOMES:
            raise ResourceError(
                f"{opened} of {count} connections to {where} opened: {failure.detail}",
                hint=f"raise `ulimit -n` (now {open_files_limit():,}), or use fewer clients",
            ) from failure
        if not opened:
            raise UnavailableError(
                f"cannot reach {where}: {failure}", hint="check the URL and the network"
            ) from failure

    async def _open_until(self, count: int) -> ConnectError | None:
        """Open connections until `count` are open or being opened; return the first failure."""
        pool = self._pool
        failures: list[ConnectError] = []

        async def fill(count: int) -> None:
            while not failures and len(pool.connections) + pool.reserved < count and pool.try_reserve():
                try:
                    pool.release(await self._open_connection(is_on_demand=False))
                except ConnectError as error:
                    failures.append(error)

        if not pool.connections:
            # The first one alone: an error here would be the same for all.
            await fill(1)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_MAX_CONCURRENT_OPENS, count - len(pool.connections))):
                group.create_task(fill(count))
        return failures[0] if failures else None

    async def refresh_credentials(self) -> None:
        """Get credentials from the provider; sign with them from now on if they changed."""
        try:
            credentials = await self._settings.credentials()
        except CredentialsError as error:
            self._signer = None
            self._credentials_error = str(error)
            return
        if self._signer is None or credentials != self._signer.credentials:
            self._signer = Signer(credentials, self._settings.region, self._settings.service)

    async def refresh_loop(self) -> None:
        """Refresh credentials every second until cancelled, so that no call waits for them."""
        while True:
            await asyncio.sleep(_CREDENTIALS_INTERVAL)
            await self.refresh_credentials()

    def check_timeouts(self, now: float) -> None:
        """Fail requests past their deadline, close idle connections, remember a TLS session.

        Args:
            now: `time.perf_counter()` seconds.
        """
        self._pool.check_timeouts(now)
        if self._pool.idle:
            self._connection_factory.remember_session(self._pool.idle[-1])

    def _schedule_check(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._pool.timeouts.check_interval, self._schedule_check)
        self.check_timeouts(perf_counter())

    async def aclose(self) -> None:
        """Close every connection; requests in flight end as `cancelled_in_flight`. Returns when all are closed."""
        if self._timer is not None:
            self._timer.cancel()
        await self._pool.close()
        self._prepared.clear()


@asynccontextmanager
async def open_wire(
    settings: WireSettings,
    endpoint_name: str,
    *,
    connections: int,
    timeouts: Timeouts | None = None,
    body_limit: int = BODY_LIMIT,
    wall_clock: Callable[[], float] = time,
) -> AsyncIterator[WireTransport]:
    """Open a wire transport with its first connections, at most ten, and close them all on exit.

    Args:
        settings: URL, region, credentials and headers.
        endpoint_name: the endpoint to invoke.
        connections: maximum number of requests in flight.
        timeouts: None for the defaults.
        body_limit: maximum bytes of a response body; a longer one is OVERSIZE.
        wall_clock: seconds since the epoch, for the signature's date.

    Raises:
        AuthError, UnavailableError, ResourceError: as `WireTransport.start`.
        ConfigError: the URL cannot be used.
    """
    transport = WireTransport(
        settings,
        endpoint_name,
        connections=connections,
        timeouts=timeouts or Timeouts(),
        body_limit=body_limit,
        wall_clock=wall_clock,
    )
    try:
        await transport.start()
        renewing = asyncio.create_task(transport.refresh_loop())
        try:
            yield transport
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})
            if not renewing.cancelled():
                renewing.result()  # it returns only by an error, which is raised here
    finally:
        await transport.aclose()


def _to_reply(timed_response: TimedResponse, pool_wait: float, new_connection: bool) -> Reply:  # noqa: FBT001 - fields of the reply
    answer, sent, first_byte, done = timed_response
    status, head, lowered, body = answer[:4]
    name, size = request_id(head, lowered), len(body)
    if 200 <= status < 300:
        return Reply(status, sent, first_byte, done, size, "", "", body, None, pool_wait, new_connection, name)
    code, message, original = parse_error_response(status, head, body)
    return Reply(status, sent, first_byte, done, size, code, message, b"", original, pool_wait, new_connection, name)


def _not_sent_error(outcome: Outcome, detail: str, requested: float) -> TransportError:
    now = perf_counter()
    return TransportError(outcome, detail, sent=now, done=now, pool_wait=now - requested)
