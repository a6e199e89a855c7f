"""Faults: failures that tests inject into the emulator, each for a number of calls."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from loadgen.emulator.protocol.errors import ServiceError


class FaultKind(StrEnum):
    """How a call fails."""

    ERROR_BEFORE = "error_before"  # an error; the operation has no effect
    ERROR_AFTER = "error_after"  # an error after the operation took effect
    DELAY = "delay"  # the operation runs later
    THROTTLE = "throttle"  # ThrottlingException
    DROP_CONNECTION = "cut"  # the operation runs; the connection is closed instead of a response
    FAIL_DEPLOY = "fail_deploy"  # the endpoint that is created or updated becomes Failed
    STATUS_STUCK = "status_stuck"  # the deployment or deletion never ends


_DEPLOYMENT_KINDS = frozenset({FaultKind.FAIL_DEPLOY, FaultKind.STATUS_STUCK})


@dataclass(frozen=True, slots=True)
class Fault:
    """One injected failure.

    Args:
        operation: operation that fails, such as `CreateEndpoint`; empty for any.
        kind: how it fails.
        times: number of calls that fail; 0 for all until it is cleared.
        status: HTTP status of the error.
        code: error code.
        message: error message, or an endpoint's FailureReason; None is sent as null.
        seconds: duration of a delay.
        endpoint_contains: text that the name of the endpoint (or model, or configuration) of a call must contain.
        original_status: the container's status in a ModelError.
    """

    operation: str
    kind: FaultKind
    times: int = 1
    status: int = 500
    code: str = "InternalFailure"
    message: str | None = "injected by the emulator"
    seconds: float = 0.0
    endpoint_contains: str = ""
    original_status: int = 500

    def error(self) -> ServiceError:
        """Return the error of this fault."""
        if self.code == "ModelError":
            extra = {
                "OriginalStatusCode": self.original_status,
                "OriginalMessage": self.message or "",
                "LogStreamArn": "",
            }
            return ServiceError(self.code, self.message, self.status, extra)
        return ServiceError(self.code, self.message, self.status)


MAX_FAULTS = 1000


class Faults:
    """The active faults, in the order in which they were added."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, description: object) -> None:
        """Add a fault described as a JSON object.

        Raises:
            ServiceError: BadFault: a member is unknown, or has an invalid value.
        """
        if len(self._faults) >= MAX_FAULTS:
            raise ServiceError("BadFault", f"{MAX_FAULTS} faults are active; clear them with DELETE")
        self._faults.append(_parse_fault(description))

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def consume(self, operation: str, name: str) -> Fault | None:
        """Return the fault that applies to this call, and count the call; None if there is none."""
        return self._consume(operation, name, is_deployment=False) if self._faults else None

    def consume_for_deployment(self, operation: str, name: str) -> Fault | None:
        """Return the fault that applies to a deployment or deletion that this call starts, and count the call."""
        return self._consume(operation, name, is_deployment=True) if self._faults else None

    def _consume(self, operation: str, name: str, *, is_deployment: bool) -> Fault | None:
        for index, fault in enumerate(self._faults):
            if (
                (fault.kind in _DEPLOYMENT_KINDS) == is_deployment
                and fault.operation in ("", operation)
                and fault.endpoint_contains in name
            ):
                if fault.times == 1:
                    del self._faults[index]
                elif fault.times > 1:
                    self._faults[index] = replace(fault, times=fault.times - 1)
                return fault
        return None

    def to_list(self) -> list[dict[str, Any]]:
        """Return the active faults as JSON values."""
        return [{"operation": f.operation, "kind": f.kind.value, "times": f.times} for f in self._faults]


_MEMBER_TYPES: Mapping[str, tuple[type, ...]] = {
    "operation": (str,),
    "kind": (str,),
    "times": (int,),
    "status": (int,),
    "code": (str,),
    "message": (str, type(None)),
    "seconds": (int, float),
    "endpoint_contains": (str,),
    "original_status": (int,),
}


def _parse_fault(description: object) -> Fault:
    if not isinstance(description, dict):
        raise ServiceError("BadFault", "a fault is a JSON object")
    for key, value in description.items():
        if key not in _MEMBER_TYPES:
            raise ServiceError("BadFault", f"no member {key!r}; known: {', '.join(_MEMBER_TYPES)}")
        if not isinstance(value, _MEMBER_TYPES[key]) or isinstance(value, bool):
            raise ServiceError("BadFault", f"{value!r} is not a valid {key}")
    try:
        kind = FaultKind(description.get("kind", ""))
    except ValueError as error:
        raise ServiceError("BadFault", f"kind is one of: {', '.join(FaultKind)}") from error
    fault = Fault(**{"operation": "", **description, "kind": kind})
    if fault.times < 0 or not 0 <= fault.seconds < 3600 or not 200 <= fault.status < 600:
        given = f"times {fault.times}, seconds {fault.seconds:g}, status {fault.status}"
        raise ServiceError("BadFault", f"out of range: {given}; times >= 0, seconds 0 to 3600, status 200 to 599")
    if not fault.code.isascii() or not fault.code.isprintable():
        raise ServiceError("BadFault", "code must be printable ASCII: it is sent in a header")
    return fault
