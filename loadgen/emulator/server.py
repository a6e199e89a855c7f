"""The emulator's server: one loopback port on which the account's services answer real AWS clients.

It dispatches requests to the services, applies faults and writes responses. It uses aiohttp's low-level server without
routing and writes responses as bytes: a fraction of the cost of aiohttp's Application, on a machine that the emulator
shares with the load generator.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import web

from loadgen.emulator.access import TOKEN_HEADER, AccessPolicy, access_policy, denial, url_host
from loadgen.emulator.behaviour.ledger import Ledger
from loadgen.emulator.clock import EpochClock
from loadgen.emulator.faults import FaultKind, Faults
from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.http_server import (
    AlreadySentResponse,
    BodyMemoryExceeded,
    BodyReader,
    HttpServer,
    RejectedRequest,
    ServerConnection,
    gunzip,
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
from loadgen.errors import InternalError, ResourceError

__all__ = ["Emulator", "Settings", "serve"]
EMULATOR_HEADER = "x-loadgen-emulator"
VERSION = "1"
_EMULATOR_HEADER_LINE = f"{EMULATOR_HEADER}: {VERSION}"
_INVOCATIONS_SUFFIX = "/invocations"
_QUERY_NAMESPACES = {"monitoring": CLOUDWATCH_NAMESPACE, "sts": STS_NAMESPACE}
_QUERY_VERSIONS = {"2010-08-01": "monitoring", "2011-06-15": "sts"}


class Emulator:
    """A running emulator.

    Args:
        settings: settings of its account.
        clock: epoch seconds.
        access: which requests it accepts; None for the default, loopback names without a token.

    `url` is its URL once it listens. `control`, `ledger`, `metrics`, `faults`, `storage` and `processing` are for tests
    in the same process.
    """

    def __init__(self, settings: Settings, clock: EpochClock, access: AccessPolicy | None = None) -> None:
        self.settings = settings
        self._access = access = access or AccessPolicy()
        self.url = ""
        self.clock = clock
        self.ledger = Ledger()
        self.faults = Faults()
        self.metrics = MetricStore()
        self.control = ControlPlane(settings, self.faults, self.ledger, clock())
        self.storage = S3Storage()
        self._s3 = S3Service(self.storage, settings.region)
        self.processing = ProcessingJobs(settings, self.storage, clock, token=access.token)
        self._cloudwatch = CloudWatch(self.metrics, lag=settings.metric_lag)
        self._runtime = Runtime(settings, self.control, self.ledger, self.metrics, self.faults, clock)
        self._request_ids = request_ids(settings.seed)
        self._max_body_bytes = 2 * settings.payload_limit
        self._bodies = BodyReader(max_held_bytes=settings.body_memory, timeout=settings.head_timeout)
        self._sent_keep_alive, self._sent_close = (
            AlreadySentResponse(keep_alive=True),
            AlreadySentResponse(keep_alive=False),
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

    @property
    def token(self) -> str:
        """The token that clients send as their session token; empty if no request needs one."""
        return self._access.token

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond to one HTTP request."""
        connection = request.protocol
        if not isinstance(connection, ServerConnection):
            raise InternalError("a request arrived on a connection that this server did not create")
        request_id = next(self._request_ids)
        connection.is_handling, connection.head_started = True, 0.0
        try:
            response = connection.refusal or await self._route(request, request_id)
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
        head = response.encode_head(request_id, _EMULATOR_HEADER_LINE, connection_header=connection_header)
        body = b"" if request.method == "HEAD" else response.body
        await connection.send(head, body, timeout=self.settings.head_timeout)
        return self._sent_keep_alive if is_kept else self._sent_close

    async def _route(self, request: web.BaseRequest, request_id: str) -> HttpResponse:
        headers = request.headers
        local_address = request.get_extra_info("sockname", ("",))[0]
        if not self._access.is_own_host(headers.getall("Host", ()), headers.getall("Origin", ()), local_address):
            raise RejectedRequest(403, "This emulator serves its own host names only, and no other web origin")
        service, target = _signing_service(headers.get("Authorization", "")), headers.get("X-Amz-Target")
        # Before the body is read: a client without the token gets no memory.
        if (denied := self._denied(request, service, request_id)) is not None:
            return replace(denied, close_connection=True)
        path = request.raw_path.partition("?")[0]
        if service != "s3" and target is None and _is_invocation(request.method, path):
            return await self._handle_invoke(request, path, request_id)
        max_bytes = MAX_BODY_BYTES if service == "s3" else self._max_body_bytes
        try:
            async with self._bodies.read(request, max_bytes=max_bytes) as body:
                return await self._handle(request, service, body, request_id)
        except BodyMemoryExceeded:
            code, text = (
                ("SlowDown", "Please reduce your request rate.") if service == "s3" else ("ServiceUnavailable", "")
            )
            held = f"The bodies of all requests exceed {self.settings.body_memory >> 20} MiB."
            error = ServiceError(code, f"{text} {held}".strip(), 503)
            return replace(self._encode_error(request, service, error, request_id), close_connection=True)

    async def _handle(self, request: web.BaseRequest, service: str, body: bytes, request_id: str) -> HttpResponse:
        headers, target, path = request.headers, request.headers.get("X-Amz-Target"), request.raw_path.partition("?")[0]
        if service == "s3":
            named = {name.lower(): value for name, value in headers.items()}
            query = request.raw_path.partition("?")[2]
            return self._s3.handle(S3Request(request.method, path, query, named, body, self.clock()), request_id)
        if target is not None:
            return await self._handle_json(target, headers, self._decompress(headers, body))
        if path == "/ledger":
            return self._handle_ledger(request.method)
        if path == "/faults":
            return self._handle_faults(request.method, body)
        # Not GET, which the protocol allows as well: a web page can make a browser send one without an Origin.
        if path == "/" and request.method == "POST":
            return await self._handle_query(self._decompress(headers, body), service, request_id)
        return rest_error(ServiceError("UnknownOperationException", None, 404))

    def _denied(self, request: web.BaseRequest, service: str, request_id: str) -> HttpResponse | None:
        """Return the response to a request that needs the token and does not have it; None for any other."""
        if not self._access.token:
            return None
        target, path = request.headers.get("X-Amz-Target"), request.raw_path.partition("?")[0]
        name = "" if target is None else target.partition(".")[2]
        is_protected = service == "s3" or name in self.processing.operations
        if self._access.is_permitted(request.headers.get(TOKEN_HEADER, ""), is_protected=is_protected):
            return None
        code = "AccessDeniedException"
        if service == "s3":
            action, code = "s3:*", "AccessDenied"
        elif target is not None:
            action = f"sagemaker:{name}"
        elif path == "/":
            action, code = f"{service or 'cloudwatch'}:*", "AccessDenied"
        else:
            action = "sagemaker:InvokeEndpoint" if _is_invocation(request.method, path) else path
        error = denial(action, code=code, account_id=self.settings.account_id)
        return self._encode_error(request, service, error, request_id)

    def _encode_error(
        self, request: web.BaseRequest, service: str, error: ServiceError, request_id: str
    ) -> HttpResponse:
        """Encode an error in the protocol of a request that is not dispatched."""
        target, path = request.headers.get("X-Amz-Target"), request.raw_path.partition("?")[0]
        if service == "s3":
            return s3_error(error, path, request_id)
        if target is not None:
            return json_error(error, self._targets.get(target.partition(".")[0], ({}, JSON_11))[1])
        if path == "/":
            namespace = _QUERY_NAMESPACES.get(service, CLOUDWATCH_NAMESPACE)
            return xml_error(error, namespace=namespace, request_id=request_id)
        return rest_error(error)

    def _decompress(self, headers: Mapping[str, str], body: bytes) -> bytes:
        encoding = headers.get("Content-Encoding", "").lower()
        return gunzip(body, max_bytes=self._max_body_bytes) if encoding == "gzip" else body

    async def _handle_invoke(self, request: web.BaseRequest, path: str, request_id: str) -> HttpResponse:
        # The container's answer is fixed: of the body only the size matters.
        body_bytes = await self._bodies.count(request, max_bytes=self._max_body_bytes)
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


def _is_invocation(method: str, path: str) -> bool:
    return method == "POST" and path.startswith("/endpoints/") and path.endswith(_INVOCATIONS_SUFFIX)


def _signing_service(authorization: str) -> str:
    # AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, SignedHeaders=...
    _, found, rest = authorization.partition("Credential=")
    scope = rest.partition(",")[0].split("/")
    return scope[-2] if found and len(scope) >= 5 else ""


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
        settings: settings of the account. If jobs are run and there is no token, a random one is made.
        host: address to listen on.
        port: port to listen on; 0 selects a free one.

    Raises:
        UsageError: the host is no address, or one off loopback without a token.
        ResourceError: the port is unavailable.

    Example:
        async with serve(Settings(time_scale=60)) as emulator:
            ...  # clients use emulator.url as endpoint_url
    """
    emulator = Emulator(settings, EpochClock(), access_policy(settings, host))
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
            emulator.url = f"http://{url_host(host)}:{listener.sockets[0].getsockname()[1]}"
            emulator.processing.url, emulator.processing.task_group = emulator.url, tasks
            yield emulator
        finally:
            reaper.cancel()
            emulator.processing.close()
            listener.close()
            # Requests that are still held are dropped.
            await server.shutdown(0.05)
