"""Faults: what a test asks the emulator to get wrong, for how many calls."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from loadgen.emulator.protocol.errors import ServiceError


class FaultKind(StrEnum):
    """How a call goes wrong."""

    ERROR_BEFORE = "error_before"  # refused, and nothing happened
    ERROR_AFTER = "error_after"  # it happened, and the answer says it failed
    DELAY = "delay"  # it happens later
    THROTTLE = "throttle"  # refused as too many
    DROP_CONNECTION = "cut"  # it happens, and the connection breaks instead of an answer
    FAIL_DEPLOY = "fail_deploy"  # the endpoint that is created or updated ends Failed
    STATUS_STUCK = "status_stuck"  # what was begun never ends


_DEPLOYMENT_KINDS = frozenset({FaultKind.FAIL_DEPLOY, FaultKind.STATUS_STUCK})


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail.

    Args:
        operation: such as `CreateEndpoint`; empty for any.
        kind: how.
        times: for how many calls; 0 until it is cleared.
        status: HTTP status of an error.
        code: its code.
        message: its text, or an endpoint's FailureReason; None is sent as null.
        seconds: of a delay.
        endpoint_contains: only calls whose endpoint (or model, or configuration) has this in its name.
        original_status: of a ModelError: the container's own status.
    """

    operation: str
    kind: FaultKind
    times: int = 1
    status: int = 500
    code: str = "InternalFailure"
    message: str | None = "switched on in the emulator"
    seconds: float = 0.0
    endpoint_contains: str = ""
    original_status: int = 500

    def error(self) -> ServiceError:
        """Return the refusal it stands for."""
        if self.code == "ModelError":
            extra = {
                "OriginalStatusCode": self.original_status,
                "OriginalMessage": self.message or "",
                "LogStreamArn": "",
            }
            return ServiceError(self.code, self.message, self.status, extra)
        return ServiceError(self.code, self.message, self.status)


class Faults:
    """The faults that are switched on, in the order they were."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, description: object) -> None:
        """Switch on a fault described as JSON values.

        Raises:
            ServiceError: the description is not one.
        """
        self._faults.append(_parse_fault(description))

    def clear(self) -> None:
        """Switch all off."""
        self._faults.clear()

    def consume(self, operation: str, name: str) -> Fault | None:
        """Return the fault that this call meets, and count it as used."""
        return self._consume(operation, name, is_deployment=False) if self._faults else None

    def consume_for_deployment(self, operation: str, name: str) -> Fault | None:
        """Return the fault that a deployment or deletion begun by this call meets, and count it as used."""
        return self._consume(operation, name, is_deployment=True) if self._faults else None

    def _consume(self, operation: str, name: str, *, is_deployment: bool) -> Fault | None:
        for place, fault in enumerate(self._faults):
            if (
                (fault.kind in _DEPLOYMENT_KINDS) == is_deployment
                and fault.operation in ("", operation)
                and fault.endpoint_contains in name
            ):
                if fault.times == 1:
                    del self._faults[place]
                elif fault.times > 1:
                    self._faults[place] = replace(fault, times=fault.times - 1)
                return fault
        return None

    def to_list(self) -> list[dict[str, Any]]:
        """Return what is switched on."""
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
            raise ServiceError("BadFault", f"{key} cannot be {value!r}")
    try:
        kind = FaultKind(description.get("kind", ""))
    except ValueError as error:
        raise ServiceError("BadFault", f"kind is one of: {', '.join(FaultKind)}") from error
    fault = Fault(**{"operation": "", **description, "kind": kind})
    if fault.times < 0 or not 0 <= fault.seconds < 3600 or not 200 <= fault.status < 600:
        raise ServiceError("BadFault", "times, seconds or status is out of bounds")
    if not fault.code.isascii() or not fault.code.isprintable():
        raise ServiceError("BadFault", "code must be printable ASCII: it travels in a header")
    return fault
