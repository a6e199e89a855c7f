"""InvokeEndpoint: the endpoint's fleet admits, holds or throttles a request; the response is sent when it is due.

The ledger and the metrics count a request before its response is sent, so that a client that has the response finds the
request counted.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from loadgen.emulator.behaviour.fleet import Admission, Fleet
from loadgen.emulator.behaviour.ledger import EndpointCounters, InvocationResult, Ledger
from loadgen.emulator.clock import EpochClock, PreciseSleeper
from loadgen.emulator.faults import Fault, FaultKind, Faults
from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.input_validation import HeaderValidator
from loadgen.emulator.protocol.responses import DropConnection, HttpResponse, rest_error
from loadgen.emulator.services.control_plane import ControlPlane
from loadgen.emulator.services.metric_store import EndpointMetrics, MetricStore
from loadgen.emulator.settings import Settings

_MAX_METERS = 1000  # of endpoints, also deleted ones; a dropped one that is used is made again
OPERATION = "InvokeEndpoint"
_PREFIX, _SUFFIX = "/endpoints/", "/invocations"
# Status 400 with a null message (AWS clients print "None"). Source: opensearch ml-commons #2429.
_THROTTLED = ServiceError("ThrottlingException", None)
_THROTTLED_RESPONSE = rest_error(_THROTTLED)


def is_invocation(method: str, path: str) -> bool:
    """Return whether a request is one of InvokeEndpoint."""
    return method == "POST" and path.startswith(_PREFIX) and path.endswith(_SUFFIX)


def invoked_endpoint(path: str) -> str:
    """Return the name of the endpoint in the path of an invocation.

    Example:
        >>> invoked_endpoint("/endpoints/a%2Db/invocations")
        'a-b'
    """
    name = path[len(_PREFIX) : -len(_SUFFIX)]
    return unquote(name) if "%" in name else name


class Call(NamedTuple):
    """One InvokeEndpoint request.

    `received` is the instant (epoch seconds) at which its last byte arrived; `is_connected` returns whether the client
    is still connected.
    """

    endpoint: str
    headers: Mapping[str, str]
    body_bytes: int
    received: float
    request_id: str
    is_connected: Callable[[], bool]


class Runtime:
    """The data plane of the account."""

    def __init__(
        self,
        settings: Settings,
        control: ControlPlane,
        ledger: Ledger,
        metrics: MetricStore,
        faults: Faults,
        clock: EpochClock,
    ) -> None:
        self._settings = settings
        self._control = control
        self._ledger = ledger
        self._metrics = metrics
        self._faults = faults
        self._clock = clock
        self._sleeper = PreciseSleeper(clock)
        self._header_validator = HeaderValidator("sagemaker-runtime", OPERATION)
        self._endpoint_metrics: dict[tuple[str, str], EndpointMetrics] = {}
        self._throttle_metrics = [("ServerlessConcurrentExecutionsUtilization", 1.0)]
        if settings.throttles_are_invocations:
            self._throttle_metrics.append(("Invocations", 1.0))
        if settings.throttles_are_4xx:
            self._throttle_metrics.append(("Invocation4XXErrors", 1.0))

    async def invoke(self, call: Call) -> HttpResponse:
        """Serve one request.

        Raises:
            DropConnection: the client has disconnected, or a fault drops the connection.
        """
        counters = self._ledger.by_endpoint.get(call.endpoint)
        if counters is None:
            self._ledger.unknown_endpoint_requests += 1
            return rest_error(self._not_found(call.endpoint))
        counters.arrivals += 1
        counters.bytes_in += call.body_bytes
        if _attempt_number(call.headers.get("amz-sdk-request", "")) > 1:
            counters.hidden_retries += 1
        fault = self._faults.consume(OPERATION, call.endpoint)
        if fault is None:
            return await self._serve(call, call.received, counters)
        return await self._serve_with_fault(call, counters, fault)

    async def _serve_with_fault(self, call: Call, counters: EndpointCounters, fault: Fault) -> HttpResponse:
        now = call.received
        if fault.kind is FaultKind.THROTTLE:
            counters.throttled += 1
            return _THROTTLED_RESPONSE
        if fault.kind is FaultKind.ERROR_BEFORE:
            return self._error_response(counters, fault.error())
        if fault.kind is FaultKind.DELAY:
            now += fault.seconds
            await self._sleeper.sleep_until(now)
            return await self._serve(call, now, counters)
        return await self._serve(call, now, counters, fault)

    async def _serve(
        self, call: Call, now: float, counters: EndpointCounters, fault: Fault | None = None
    ) -> HttpResponse:
        endpoint = self._control.find_serving(call.endpoint, now)
        if endpoint is None or endpoint.fleet is None:
            return self._error_response(counters, self._not_found(call.endpoint))
        if call.body_bytes > self._settings.payload_limit:
            return self._error_response(
                counters, ServiceError("ValidationError", f"Request {call.request_id} has oversize body.")
            )
        invalid = self._header_validator.error(call.headers)
        if invalid is not None:
            return self._error_response(counters, invalid)
        variant = call.headers.get("X-Amzn-SageMaker-Target-Variant", endpoint.config.variant)
        if variant != endpoint.config.variant:
            return self._error_response(
                counters, ServiceError("ValidationError", f"Variant {variant} of endpoint {call.endpoint} not found.")
            )
        # An update may replace the endpoint's fleet while this request is in flight.
        fleet = endpoint.fleet
        meter = self._metrics_of(call.endpoint, variant)
        admission = fleet.admit(now)
        if admission is None:
            counters.throttled += 1
            meter.observe(now, self._throttle_metrics)
            return _THROTTLED_RESPONSE
        meter.observe(now, _load_metrics(fleet, admission))
        counters.cold += admission.is_cold
        try:
            if admission.completes_at > now:
                await self._sleeper.sleep_until(admission.completes_at)
        finally:
            # Freed before the response is written: a client with its response may send the next request at once.
            done = self._clock()
            fleet.release(admission, done)
            counters.record_lateness(done - max(now, admission.completes_at))
        is_cut = fault is not None and fault.kind is FaultKind.DROP_CONNECTION
        error = self._model_error(call.endpoint, admission) if fault is None or is_cut else fault.error()
        meter.observe(done, _result_metrics(admission, error, done - now))
        if is_cut:
            counters.count_failure("cut")
            raise DropConnection
        if not call.is_connected():
            counters.disconnected += 1
            raise DropConnection
        if error is not None:
            return self._error_response(counters, error)
        profile = fleet.profile
        counters.ok += 1
        counters.bytes_out += len(profile.body)
        return HttpResponse(200, profile.body, profile.content_type, (("x-Amzn-Invoked-Production-Variant", variant),))

    def _error_response(self, counters: EndpointCounters, error: ServiceError) -> HttpResponse:
        response = rest_error(error)
        counters.count_failure(error.code)
        counters.bytes_out += len(response.body)
        return response

    def _metrics_of(self, endpoint: str, variant: str) -> EndpointMetrics:
        key = (endpoint, variant)
        meter = self._endpoint_metrics.get(key)
        if meter is None:
            if len(self._endpoint_metrics) >= _MAX_METERS:
                del self._endpoint_metrics[next(iter(self._endpoint_metrics))]
            meter = self._endpoint_metrics[key] = EndpointMetrics(self._metrics, endpoint, variant)
        return meter

    def _not_found(self, endpoint: str) -> ServiceError:
        # Also the error of an endpoint that is being created or deleted.
        return ServiceError("ValidationError", f"Endpoint {endpoint} of account {self._settings.account_id} not found.")

    def _model_error(self, endpoint: str, admission: Admission) -> ServiceError | None:
        if admission.result is InvocationResult.SUCCEEDED:
            return None
        status = 500
        text = self._settings.out_of_memory
        if admission.result is InvocationResult.TIMED_OUT:
            status = 0
            text = (
                "Your invocation timed out while waiting for a response from container primary. Review the latency "
                "metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
            )
        region, group = self._settings.region, f"/aws/sagemaker/Endpoints/{endpoint}"
        console = (
            f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#logEventViewer:group={group}"
        )
        return ServiceError(
            "ModelError",
            f'Received server error ({status}) from primary with message "{text}". '
            f"See {console} in account {self._settings.account_id} for more information.",
            424,
            {
                "OriginalStatusCode": status,
                "OriginalMessage": text,
                "LogStreamArn": f"arn:aws:logs:{region}:{self._settings.account_id}:log-group:{group}",
            },
        )


def _attempt_number(sdk_request: str) -> int:
    # The SDKs' own header: `attempt=2; max=5`.
    first = sdk_request.partition(";")[0]
    number = first.removeprefix("attempt=")
    return int(number) if number != first and number.isdecimal() else 1


def _load_metrics(fleet: Fleet, admission: Admission) -> list[tuple[str, float]]:
    values = [("ServerlessConcurrentExecutionsUtilization", admission.utilization)]
    if fleet.provisioned:
        busy = float(fleet.busy_provisioned)
        values += [
            ("ServerlessProvisionedConcurrencyExecutions", busy),
            ("ServerlessProvisionedConcurrencyUtilization", busy / fleet.provisioned),
        ]
        is_spill = not admission.instance.is_provisioned
        name = "SpilloverInvocations" if is_spill else "Invocations"
        values.append((f"ServerlessProvisionedConcurrency{name}", 1.0))
    return values


def _result_metrics(admission: Admission, error: ServiceError | None, duration: float) -> list[tuple[str, float]]:
    # Overhead is all time that is not the model's, the server's own lateness included.
    # A ModelError is counted by the container's status.
    status = 200 if error is None else int(error.extra.get("OriginalStatusCode", error.status))
    values = [
        ("Invocations", 1.0),
        ("Invocation4XXErrors", float(400 <= status < 500)),
        ("Invocation5XXErrors", float(status == 0 or status >= 500)),
        ("ModelLatency", round(admission.model_latency * 1e6)),
        ("OverheadLatency", max(0, round((duration - admission.model_latency) * 1e6))),
        ("MemoryUtilization", admission.memory_percent),
    ]
    if admission.is_cold:
        values.append(("ModelSetupTime", round(admission.setup_time * 1e6)))
    return values
