"""InvokeEndpoint: a request is admitted, held or refused by the endpoint's fleet, and answered at its due instant.

Every ending is booked in the ledger and metered before its answer goes out, so that a client that has its answer
finds it in the books.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from loadgen.emulator.behaviour.fleet import Admission, Fleet
from loadgen.emulator.behaviour.ledger import Books, Ending, Ledger
from loadgen.emulator.clock import Clock, Pace
from loadgen.emulator.faults import Fault, Faults, Kind
from loadgen.emulator.protocol.responses import Answer, AwsError, CutConnection, rest_error
from loadgen.emulator.services.control_plane import ControlPlane
from loadgen.emulator.services.metric_store import Meter, Metrics
from loadgen.emulator.settings import Settings

OPERATION = "InvokeEndpoint"
# Seen as it is on the wire: a null message, status 400 (AWS clients print "None"). Source: opensearch ml-commons #2429.
_REFUSED = AwsError("ThrottlingException", None)
_REFUSED_ANSWER = rest_error(_REFUSED)


class Call(NamedTuple):
    """One InvokeEndpoint request.

    `received` is the instant (epoch seconds) its last byte arrived; `is_connected` tells whether its sender still is.
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
        self, settings: Settings, control: ControlPlane, ledger: Ledger, metrics: Metrics, faults: Faults, clock: Clock
    ) -> None:
        self._settings = settings
        self._control = control
        self._ledger = ledger
        self._metrics = metrics
        self._faults = faults
        self._clock = clock
        self._pace = Pace(clock)
        self._meters: dict[tuple[str, str], Meter] = {}
        self._refusal = [("ServerlessConcurrentExecutionsUtilization", 1.0)]
        if settings.throttles_are_invocations:
            self._refusal.append(("Invocations", 1.0))
        if settings.throttles_are_4xx:
            self._refusal.append(("Invocation4XXErrors", 1.0))

    async def invoke(self, call: Call) -> Answer:
        """Serve one request, in its own time.

        Raises:
            CutConnection: a fault asks that the client get no answer.
        """
        books = self._ledger.by_endpoint.get(call.endpoint)
        if books is None:
            self._ledger.strangers += 1
            return rest_error(self._not_found(call.endpoint))
        books.arrivals += 1
        books.bytes_in += call.body_bytes
        if _attempt(call.headers.get("amz-sdk-request", "")) > 1:
            books.hidden_retries += 1
        fault = self._faults.take(OPERATION, call.endpoint)
        if fault is None:
            return await self._serve(call, call.received, books)
        return await self._serve_faultily(call, books, fault)

    async def _serve_faultily(self, call: Call, books: Books, fault: Fault) -> Answer:
        now = call.received
        if fault.kind is Kind.THROTTLE:
            books.throttled += 1
            return _REFUSED_ANSWER
        if fault.kind is Kind.ERROR_BEFORE:
            return self._fail(books, fault.error())
        if fault.kind is Kind.DELAY:
            now += fault.seconds
            await self._pace.until(now)
            return await self._serve(call, now, books)
        return await self._serve(call, now, books, fault)

    async def _serve(self, call: Call, now: float, books: Books, fault: Fault | None = None) -> Answer:
        endpoint = self._control.serving(call.endpoint, now)
        if endpoint is None or endpoint.fleet is None:
            return self._fail(books, self._not_found(call.endpoint))
        if call.body_bytes > self._settings.payload_limit:
            return self._fail(books, AwsError("ValidationError", f"Request {call.request_id} has oversize body."))
        variant = call.headers.get("X-Amzn-SageMaker-Target-Variant", endpoint.config.variant)
        if variant != endpoint.config.variant:
            return self._fail(
                books, AwsError("ValidationError", f"Variant {variant} of endpoint {call.endpoint} not found.")
            )
        # An update may replace the fleet while this request is in flight: it ends where it began.
        fleet = endpoint.fleet
        meter = self._meter(call.endpoint, variant)
        admission = fleet.arrive(now)
        if admission is None:
            books.throttled += 1
            meter.observe(now, self._refusal)
            return _REFUSED_ANSWER
        meter.observe(now, _load(fleet, admission))
        books.cold += admission.is_cold
        try:
            if admission.due > now:
                await self._pace.until(admission.due)
        finally:
            # Freed before the answer is written: who has its answer may send the next one at once.
            done = self._clock()
            fleet.release(admission, done)
        is_cut = fault is not None and fault.kind is Kind.CUT
        error = self._model_error(call.endpoint, admission) if fault is None or is_cut else fault.error()
        meter.observe(done, _observed(admission, error, done - now))
        if is_cut:
            books.failed["cut"] += 1
            raise CutConnection
        if not call.is_connected():
            books.disconnected += 1
            raise CutConnection
        if error is not None:
            return self._fail(books, error)
        profile = fleet.profile
        books.ok += 1
        books.bytes_out += len(profile.body)
        return Answer(200, profile.body, profile.content_type, (("x-Amzn-Invoked-Production-Variant", variant),))

    def _fail(self, books: Books, error: AwsError) -> Answer:
        answer = rest_error(error)
        books.failed[error.code] += 1
        books.bytes_out += len(answer.body)
        return answer

    def _meter(self, endpoint: str, variant: str) -> Meter:
        key = (endpoint, variant)
        meter = self._meters.get(key)
        if meter is None:
            meter = self._meters[key] = Meter(self._metrics, endpoint, variant)
        return meter

    def _not_found(self, endpoint: str) -> AwsError:
        # Also what an endpoint answers that is being created or deleted: the router does not know it.
        return AwsError("ValidationError", f"Endpoint {endpoint} of account {self._settings.account_id} not found.")

    def _model_error(self, endpoint: str, admission: Admission) -> AwsError | None:
        if admission.ending is Ending.ANSWERED:
            return None
        status = 500
        text = self._settings.out_of_memory
        if admission.ending is Ending.TIMED_OUT:
            status = 0
            text = (
                "Your invocation timed out while waiting for a response from container primary. Review the latency "
                "metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
            )
        region, group = self._settings.region, f"/aws/sagemaker/Endpoints/{endpoint}"
        console = (
            f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#logEventViewer:group={group}"
        )
        return AwsError(
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


def _attempt(sdk_request: str) -> int:
    # The SDKs' own header: `attempt=2; max=5`.
    first = sdk_request.partition(";")[0]
    number = first.removeprefix("attempt=")
    return int(number) if number != first and number.isdecimal() else 1


def _load(fleet: Fleet, admission: Admission) -> list[tuple[str, float]]:
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


def _observed(admission: Admission, error: AwsError | None, taken: float) -> list[tuple[str, float]]:
    # What the server itself added, lateness included, is overhead: model and overhead make up the time that was taken.
    # A ModelError is counted by what the container answered.
    status = 200 if error is None else int(error.extra.get("OriginalStatusCode", error.status))
    values = [
        ("Invocations", 1.0),
        ("Invocation4XXErrors", float(400 <= status < 500)),
        ("Invocation5XXErrors", float(status == 0 or status >= 500)),
        ("ModelLatency", round(admission.model * 1e6)),
        ("OverheadLatency", max(0, round((taken - admission.model) * 1e6))),
        ("MemoryUtilization", admission.memory_percent),
    ]
    if admission.is_cold:
        values.append(("ModelSetupTime", round(admission.setup * 1e6)))
    return values
