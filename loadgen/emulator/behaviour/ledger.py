"""The ledger: the server-side counts of each endpoint's requests."""

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class InvocationResult(IntEnum):
    """How an admitted request ends."""

    SUCCEEDED = 0
    OUT_OF_MEMORY = 1
    TIMED_OUT = 2


@dataclass(slots=True)
class EndpointCounters:
    """The counts of one endpoint name. At any instant, arrivals = ok + throttled + failed + disconnected + in_flight.

    `cold` counts the requests that were held for a new instance, whatever their result; `hidden_retries` those whose
    `amz-sdk-request` header has an attempt above 1; `bytes_in` and `bytes_out` are sizes of bodies.
    """

    arrivals: int = 0
    ok: int = 0
    throttled: int = 0
    disconnected: int = 0
    cold: int = 0
    hidden_retries: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def count_failure(self, code: str) -> None:
        """Count a failure by its code; codes above the limit are counted as `other`."""
        self.failed[code if code in self.failed or len(self.failed) < _MAX_CODES else "other"] += 1

    @property
    def in_flight(self) -> int:
        """Number of requests that have arrived and not ended."""
        return self.arrivals - self.ok - self.throttled - self.disconnected - self.failed.total()

    def to_dict(self) -> dict[str, Any]:
        """Return all counts as JSON values; `failed` is the sum over `failed_by_code`."""
        return {
            "arrivals": self.arrivals,
            "ok": self.ok,
            "throttled": self.throttled,
            "failed": self.failed.total(),
            "failed_by_code": dict(self.failed),
            "disconnected": self.disconnected,
            "in_flight": self.in_flight,
            "cold": self.cold,
            "hidden_retries": self.hidden_retries,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        }


MAX_ENDPOINTS = 10_000  # whose counts are kept; the oldest without requests in flight are dropped
_MAX_CODES = 100  # counted one by one for an endpoint; faults can name any


class Ledger:
    """Counts by endpoint name; they are kept when the endpoint is deleted."""

    def __init__(self) -> None:
        self.by_endpoint: dict[str, EndpointCounters] = {}
        self.unknown_endpoint_requests = 0  # requests for endpoints that were never created

    def counters_for(self, endpoint: str) -> EndpointCounters:
        """Return the counters of an endpoint name, created at its first use."""
        counters = self.by_endpoint.get(endpoint)
        if counters is None:
            if len(self.by_endpoint) >= MAX_ENDPOINTS:
                idle = next((name for name, old in self.by_endpoint.items() if not old.in_flight), None)
                if idle is not None:
                    del self.by_endpoint[idle]
            counters = self.by_endpoint[endpoint] = EndpointCounters()
        return counters

    def to_dict(self) -> dict[str, Any]:
        """Return all counts as JSON values."""
        endpoints = {name: counters.to_dict() for name, counters in self.by_endpoint.items()}
        return {"endpoints": endpoints, "unknown_endpoint": self.unknown_endpoint_requests}
