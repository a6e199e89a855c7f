"""The emulator's server: one loopback port on which the account's services answer real AWS clients.

It dispatches requests to the services, applies faults and writes responses. It uses aiohttp's low-level server without
routing and writes responses as bytes: a fraction of the cost of aiohttp's Application, on a machine that the emulator
shares with the load generator.
"""

import asyncio
import ipaddress
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import web

from loadgen.emulator.behaviour.ledger import Ledger
from loadgen.emulator.clock import EpochClock
from loadgen.emulator.faults import FaultKind, Faults
from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.http_server import (
    HttpServer,
    RejectedRequest,
    ServerConnection,
    gunzip,
    joined_headers,
    read_body,
)
from loadgen.emulator.protocol.input_validation import Operation
from loadgen.emulator.protocol.query import decode_query, parse_query
from loadgen.emulator.protocol.responses import (
    CLOUDWATCH_NAMESPACE,
    JSON_10,
    JSON_11,
    STS_NAMESPACE,
    DropConnection,
    HttpResponse,
    json_error,
    json_response,
    request_ids,
    rest_error,
    xml_error,
    xml_response,
)
from loadgen.emulator.protocol.service_models import input_shape
from loadgen.emulator.protocol.signatures import SignedRequest, signing_name, signing_service, verify_signature
from loadgen.emulator.services.cloudwatch import CloudWatch
from loadgen.emulator.services.control_plane import ControlPlane
from loadgen.emulator.services.metric_store import MetricStore
from loadgen.emulator.services.processing_jobs import ProcessingJobs
from loadgen.emulator.services.runtime import Call, Runtime
from loadgen.emulator.services.s3 import MAX_BODY_BYTES, S3Request, S3Service, s3_error
from loadgen.emulator.services.s3_storage import S3Storage
from loadgen.emulator.services.service_quotas import ServiceQuotas
from loadgen.emulator.services.sts import SecurityTokenService
from loadgen.emulator.settings import Settings
from loadgen.errors import InternalError, ResourceError, UsageError

__all__ = ["Emulator", "Settings", "serve"]
EMULATOR_HEADER = "x-loadgen-emulator"
VERSION = "1"
_EMULATOR_HEADER_LINE = f"{EMULATOR_HEADER}: {VERSION}"
_INVOCATIONS_SUFFIX = "/invocations"
_LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
_QUERY_NAMESPACES = {"monitoring": CLOUDWATCH_NAMESPACE, "sts": STS_NAMESPACE}
_QUERY_VERSIONS = {"2010-08-01": "monitoring", "2011-06-15": "sts"}


class _AlreadySentResponse(web.StreamResponse):
    # Tells aiohttp that the response is already written; aiohttp only has to know whether the connection is kept.
    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        return self._keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing."""


class Emulator:
    """A running emulator.

    Args:
        settings: settings of its account.
        clock: epoch seconds.

    `url` is its URL once it listens. `control`, `ledger`, `metrics`, `faults`, `storage` and `processing` are for tests
    in the same process.
    """

    def __init__(self, settings: Settings, clock: EpochClock) -> None:
        self.settings = settings
        self.url = ""
        self.clock = clock
        self.ledger = Ledger()
        self.faults = Faults()
        self.metrics = MetricStore()
        self.control = ControlPlane(settings, self.faults, self.ledger, clock())
        self.storage = S3Storage()
        self._s3 = S3Service(self.storage, settings.region)
        self.processing = ProcessingJobs(settings, self.storage, clock, self.control.tags)
        self._cloudwatch = CloudWatch(self.metrics, lag=settings.metric_lag)
        self._runtime = Runtime(settings, self.control, self.ledger, self.metrics, self.faults, clock)
        self._request_ids = request_ids(settings.seed)
        self._max_body_bytes = 2 * settings.payload_limit
        self._sent_keep_alive, self._sent_close = (
            _AlreadySentResponse(keep_alive=True),
            _AlreadySentResponse(keep_alive=False),
        )
        self._targets: Mapping[str, tuple[Mapping[str, Operation], str]] = {
            "SageMaker": ({**self.control.operations, **self.processing.operations}, JSON_11),
            "GraniteServiceVersion20100801": (self._cloudwatch.operations, JSON_10),
            "ServiceQuotasV20190624": (ServiceQuotas(settings).operations, JSON_11),
        }
        self._query_services: Mapping[str, tuple[str, Mapping[str, Operation]]] = {
            "monitoring": ("cloudwatch", self._cloudwatch.operations),
            "sts": ("sts", SecurityTokenService(settings).operations),
        }

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond to one HTTP request."""
        connection = request.protocol
        if not isinstance(connection, ServerConnection):
            raise InternalError("a request arrived on a connection that this server did not create")
        request_id = next(self._request_ids)
        connection.is_handling, connection.head_started = True, 0.0
        try:
            response = await self._route(request, request_id)
        except RejectedRequest as rejected:
            response = rejected.response
        except DropConnection:
            if request.transport is not None:
                request.transport.abort()
            return self._sent_close
        finally:
            connection.is_handling, connection.received = False, time.perf_counter()
        is_kept = request.keep_alive and not response.close_connection
        transport = request.transport
        if transport is None:
            return self._sent_close
        connection_header = "" if is_kept and request.version >= (1, 1) else ("keep-alive" if is_kept else "close")
        encoded = response.encode(request_id, _EMULATOR_HEADER_LINE, connection_header=connection_header)
        if request.method == "HEAD":
            encoded = encoded[: encoded.index(b"\r\n\r\n") + 4]
        transport.write(encoded)
        return self._sent_keep_alive if is_kept else self._sent_close

    async def _route(self, request: web.BaseRequest, request_id: str) -> HttpResponse:
        headers = request.headers
        if not _is_local_request(headers.getall("Host", ()), headers.getall("Origin", ())):
            raise RejectedRequest(403, "This emulator serves loopback host names only")
        service = signing_service(headers.get("Authorization", ""), request.raw_path.partition("?")[2])
        if service == "s3":
            return await self._handle_s3(request, request_id)
        body = await read_body(request, max_bytes=self._max_body_bytes, timeout=self.settings.head_timeout)
        target = headers.get("X-Amz-Target")
        if self.settings.signing_keys and (refusal := self._signature_refusal(request, body, service, request_id)):
            return refusal
        if target is not None:
            return await self._handle_json(target, headers, self._decompress(headers, body))
        path = request.raw_path.partition("?")[0]
        if request.method == "POST" and path.startswith("/endpoints/") and path.endswith(_INVOCATIONS_SUFFIX):
            return await self._handle_invoke(request, path, len(body), request_id)
        if path == "/ledger":
            return self._handle_ledger(request.method)
        if path == "/faults":
            return self._handle_faults(request.method, body)
        # Not GET, which the protocol allows as well: a web page can make a browser send one without an Origin.
        if path == "/" and request.method == "POST":
            return await self._handle_query(self._decompress(headers, body), service, request_id)
        return rest_error(ServiceError("UnknownOperationException", None, 404))

    async def _handle_s3(self, request: web.BaseRequest, request_id: str) -> HttpResponse:
        body = await read_body(request, max_bytes=MAX_BODY_BYTES, timeout=self.settings.head_timeout)
        path, _, query = request.raw_path.partition("?")
        named = joined_headers(request)
        s3_request = S3Request(request.method, path, query, named, body, self.clock())
        if self.settings.signing_keys:
            try:
                self._verify(SignedRequest(request.method, path, query, named, body), "s3")
            except ServiceError as error:
                return s3_error(error, s3_request, request_id)
        return self._s3.handle(s3_request, request_id)

    def _verify(self, signed: SignedRequest, service: str) -> None:
        settings = self.settings
        verify_signature(signed, keys=settings.signing_keys, region=settings.region, service=service, now=self.clock())

    def _signature_refusal(
        self, request: web.BaseRequest, body: bytes, scope: str, request_id: str
    ) -> HttpResponse | None:
        """Return the response to a request without a valid signature; None if it has one, or needs none."""
        path, _, query = request.raw_path.partition("?")
        service, protocol = signing_name(request.headers.get("X-Amz-Target"), path, scope)
        if not service:
            return None
        try:
            self._verify(SignedRequest(request.method, path, query, joined_headers(request), body), service)
        except ServiceError as error:
            if protocol == "json":
                return json_error(error, JSON_11)
            if protocol == "rest":
                return rest_error(error)
            return xml_error(error, namespace=_QUERY_NAMESPACES[service], request_id=request_id)
        return None

    def _decompress(self, headers: Mapping[str, str], body: bytes) -> bytes:
        encoding = headers.get("Content-Encoding", "").lower()
        return gunzip(body, max_bytes=self._max_body_bytes) if encoding == "gzip" else body

    async def _handle_invoke(
        self, request: web.BaseRequest, path: str, body_bytes: int, request_id: str
    ) -> HttpResponse:
        connection = request.protocol
        received = (
            self.clock.to_epoch(connection.received) if isinstance(connection, ServerConnection) else self.clock()
        )
        name = path[len("/endpoints/") : -len(_INVOCATIONS_SUFFIX)]
        if "%" in name:
            name = unquote(name)

        def is_connected() -> bool:
            return request.transport is not None and not request.transport.is_closing()

        return await self._runtime.invoke(Call(name, request.headers, body_bytes, received, request_id, is_connected))

    async def _handle_json(self, target: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        service, _, name = target.partition(".")
        operations, content_type = self._targets.get(service, ({}, JSON_11))
        try:
            result = await self._call_json_operation(name, operations.get(name), body)
        except ServiceError as error:
            is_query_mode = headers.get("x-amzn-query-mode", "").lower() == "true"
            return json_error(error, content_type, is_query_mode=is_query_mode)
        return json_response(result, content_type)

    async def _call_json_operation(self, name: str, operation: Operation | None, body: bytes) -> dict[str, Any] | None:
        if operation is None:
            raise ServiceError("UnknownOperationException", None, 404)
        return await self._call_with_faults(name, operation, _json_object(body))

    async def _handle_query(self, body: bytes, service: str, request_id: str) -> HttpResponse:
        namespace = _QUERY_NAMESPACES.get(service, CLOUDWATCH_NAMESPACE)
        try:
            tree = parse_query(body)
            service = service or _QUERY_VERSIONS.get(str(tree.get("Version")), "")
            namespace = _QUERY_NAMESPACES.get(service, namespace)
            if "Action" not in tree and service not in _QUERY_NAMESPACES:
                return rest_error(ServiceError("UnknownOperationException", None, 404))
            name, operation, parameters = self._query_operation(service, tree)
            result = await self._call_with_faults(name, operation, parameters)
        except ServiceError as error:
            return xml_error(error, namespace=namespace, request_id=request_id)
        return xml_response(name, result or {}, namespace=namespace, request_id=request_id)

    def _query_operation(self, service: str, tree: Mapping[str, Any]) -> tuple[str, Operation, dict[str, Any]]:
        """Return the operation that a query names, with its name and its typed parameters."""
        name, version = tree.get("Action"), str(tree.get("Version", ""))
        if not isinstance(name, str):
            raise ServiceError("MissingAction", "The request is missing an action or a required parameter.")
        model, operations = self._query_services.get(service, ("", {}))
        if name not in operations:
            raise ServiceError("InvalidAction", f"Could not find operation {name[:80]} for version {version[:20]}")
        return name, operations[name], decode_query(input_shape(model, name), tree)

    async def _call_with_faults(
        self, name: str, operation: Operation, payload: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        fault = self.faults.consume(name, _resource_name(payload))
        if fault is None:
            return operation(payload, self.clock())
        if fault.kind is FaultKind.DELAY:
            await asyncio.sleep(fault.seconds)
        if fault.kind is FaultKind.THROTTLE:
            raise ServiceError("ThrottlingException", "Rate exceeded")
        if fault.kind is FaultKind.ERROR_BEFORE:
            raise fault.error()
        result = operation(payload, self.clock())
        if fault.kind is FaultKind.ERROR_AFTER:
            raise fault.error()
        if fault.kind is FaultKind.DROP_CONNECTION:
            raise DropConnection
        return result

    def _handle_ledger(self, method: str) -> HttpResponse:
        if method != "GET":
            return rest_error(ServiceError("MethodNotAllowed", "/ledger supports GET only", 405))
        settings = self.settings
        shown = {
            "emulator": VERSION,
            "profile": settings.profile,
            "seed": settings.seed,
            "time_scale": settings.time_scale,
        }
        return json_response(shown | self.ledger.to_dict(), "application/json")

    def _handle_faults(self, method: str, body: bytes) -> HttpResponse:
        if method not in ("GET", "POST", "DELETE"):
            return rest_error(ServiceError("MethodNotAllowed", "/faults supports GET, POST and DELETE only", 405))
        try:
            if method == "POST":
                self.faults.add(_json_object(body))
        except ServiceError as error:
            return rest_error(error)
        if method == "DELETE":
            self.faults.clear()
        return json_response({"faults": self.faults.to_list()}, "application/json")


def _is_local_request(hosts: Sequence[str], origins: Sequence[str]) -> bool:
    # DNS rebinding: a web page whose name resolves to this machine sends its own name as Host or Origin. Another port
    # of this machine is another origin: what a page of some other local server may not do to the emulator.
    if len(hosts) != 1 or not _LOCAL_HOST.fullmatch(hosts[0]):
        return False
    return not origins or [origin.lower() for origin in origins] == [f"http://{hosts[0].lower()}"]


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise ServiceError("SerializationException", "The body is not JSON") from error
    if not isinstance(value, dict):
        raise ServiceError("SerializationException", "The body is not a JSON object")
    return value


def _resource_name(payload: Mapping[str, Any]) -> str:
    for member in ("EndpointName", "EndpointConfigName", "ModelName"):
        if isinstance(payload.get(member), str):
            return str(payload[member])
    return ""


@asynccontextmanager
async def serve(settings: Settings, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Emulator]:
    """Run an emulator on this event loop until the context ends.

    Args:
        settings: settings of the account.
        host: loopback address to listen on.
        port: port to listen on; 0 selects a free one.

    Raises:
        UsageError: the address is not a loopback address.
        ResourceError: the port is unavailable.

    Example:
        async with serve(Settings(time_scale=60)) as emulator:
            ...  # clients use emulator.url as endpoint_url
    """
    if not _is_loopback(host):
        raise UsageError(f"address {host!r}", hint="the emulator listens on loopback only: 127.0.0.1 or ::1")
    emulator = Emulator(settings, EpochClock())
    server = HttpServer(emulator.respond, settings)
    try:
        listener = await asyncio.get_running_loop().create_server(server, host, port, backlog=1024)
    except OSError as error:
        raise ResourceError(
            f"cannot listen on {host} port {port}: {error}", hint="port 0 selects a free one"
        ) from error
    async with asyncio.TaskGroup() as tasks:
        reaper = tasks.create_task(server.close_slow_connections())
        try:
            literal = f"[{host}]" if ":" in host else host
            emulator.url = f"http://{literal}:{listener.sockets[0].getsockname()[1]}"
            emulator.processing.url, emulator.processing.task_group = emulator.url, tasks
            yield emulator
        finally:
            reaper.cancel()
            emulator.processing.close()
            listener.close()
            # Requests that are still held are dropped.
            await server.shutdown(0.05)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
