"""The ledger: the server-side counts of each endpoint's requests."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

# Milliseconds above which late responses are counted. Counts, and not a percentile, so that the counts before a run can
# be subtracted.
LATENESS_STEPS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


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
    `answered_on_schedule` counts the responses that were due at an instant, `answered_late_us` the microseconds by
    which they were sent later, and `answered_late_<N>ms` those that were late by more than N milliseconds.
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
    answered_on_schedule: int = 0
    answered_late_us: int = 0
    answered_late: list[int] = field(default_factory=lambda: [0] * (len(LATENESS_STEPS_MS) + 1))

    def record_lateness(self, seconds: float) -> None:
        """Count a response that is sent `seconds` after it was due. O(1), no await."""
        self.answered_on_schedule += 1
        self.answered_late_us += round(max(0.0, seconds) * 1e6)
        self.answered_late[bisect_left(LATENESS_STEPS_MS, seconds * 1e3)] += 1

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
            "answered_on_schedule": self.answered_on_schedule,
            "answered_late_us": self.answered_late_us,
            # The first counter has the responses that were not late by more than the first step.
            **{
                f"answered_late_{step}ms": sum(self.answered_late[number:])
                for number, step in enumerate(LATENESS_STEPS_MS, start=1)
            },
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
