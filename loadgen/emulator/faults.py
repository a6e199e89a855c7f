"""Faults: what a test asks the emulator to get wrong, for how many calls."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from loadgen.emulator.protocol.responses import AwsError


class Kind(StrEnum):
    """How a call goes wrong."""

    ERROR_BEFORE = "error_before"  # refused, and nothing happened
    ERROR_AFTER = "error_after"  # it happened, and the answer says it failed
    DELAY = "delay"  # it happens later
    THROTTLE = "throttle"  # refused as too many
    CUT = "cut"  # it happens, and the connection breaks instead of an answer
    FAIL_DEPLOY = "fail_deploy"  # the endpoint that is created or updated ends Failed
    STATUS_STUCK = "status_stuck"  # what was begun never ends


_DEPLOYING = frozenset({Kind.FAIL_DEPLOY, Kind.STATUS_STUCK})


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
    kind: Kind
    times: int = 1
    status: int = 500
    code: str = "InternalFailure"
    message: str | None = "switched on in the emulator"
    seconds: float = 0.0
    endpoint_contains: str = ""
    original_status: int = 500

    def error(self) -> AwsError:
        """Return the refusal it stands for."""
        if self.code == "ModelError":
            extra = {
                "OriginalStatusCode": self.original_status,
                "OriginalMessage": self.message or "",
                "LogStreamArn": "",
            }
            return AwsError(self.code, self.message, self.status, extra)
        return AwsError(self.code, self.message, self.status)


class Faults:
    """The faults that are switched on, in the order they were."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, description: object) -> None:
        """Switch on a fault described as JSON values.

        Raises:
            AwsError: the description is not one.
        """
        self._faults.append(_read(description))

    def clear(self) -> None:
        """Switch all off."""
        self._faults.clear()

    def take(self, operation: str, name: str) -> Fault | None:
        """Return the fault that this call meets, and count it as used."""
        return self._take(operation, name, is_deploying=False) if self._faults else None

    def take_deploying(self, operation: str, name: str) -> Fault | None:
        """Return the fault that a deployment or deletion begun by this call meets, and count it as used."""
        return self._take(operation, name, is_deploying=True) if self._faults else None

    def _take(self, operation: str, name: str, *, is_deploying: bool) -> Fault | None:
        for place, fault in enumerate(self._faults):
            if (
                (fault.kind in _DEPLOYING) == is_deploying
                and fault.operation in ("", operation)
                and fault.endpoint_contains in name
            ):
                if fault.times == 1:
                    del self._faults[place]
                elif fault.times > 1:
                    self._faults[place] = replace(fault, times=fault.times - 1)
                return fault
        return None

    def figures(self) -> list[dict[str, Any]]:
        """Return what is switched on."""
        return [{"operation": f.operation, "kind": f.kind.value, "times": f.times} for f in self._faults]


_TYPES: Mapping[str, tuple[type, ...]] = {
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


def _read(description: object) -> Fault:
    if not isinstance(description, dict):
        raise AwsError("BadFault", "a fault is a JSON object")
    for key, value in description.items():
        if key not in _TYPES:
            raise AwsError("BadFault", f"no member {key!r}; known: {', '.join(_TYPES)}")
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            raise AwsError("BadFault", f"{key} cannot be {value!r}")
    try:
        kind = Kind(description.get("kind", ""))
    except ValueError as error:
        raise AwsError("BadFault", f"kind is one of: {', '.join(Kind)}") from error
    fault = Fault(**{"operation": "", **description, "kind": kind})
    if fault.times < 0 or not 0 <= fault.seconds < 3600 or not 200 <= fault.status < 600:
        raise AwsError("BadFault", "times, seconds or status is out of bounds")
    if not fault.code.isascii() or not fault.code.isprintable():
        raise AwsError("BadFault", "code must be printable ASCII: it travels in a header")
    return fault
