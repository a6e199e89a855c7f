"""Failpoints: what goes wrong at which AWS call of a run, injected by the emulator.

A case names an AWS call, counted over the run, and what happens there: an error before or after the effect, five
throttles, or a signal to the run before or after the effect. See sandbox.py for the account and failpoint_matrix.py for
the cases of a whole run.
"""

import signal
from dataclasses import dataclass

from loadgen.emulator.faults import Fault, FaultKind, Faults
from tests.support.fork_server import Child

FAULTS = ("error_before", "error_after", "throttle")
SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL before", "SIGKILL after")
THROTTLED_CALLS = 5


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that goes wrong.

    Args:
        call: number of the AWS call of the run, from 1; 0 for none.
        fault: one of FAULTS or SIGNALS.
        variant: what `cleanup` has to do without: "" for nothing, `no journal`, or `no tags`.
    """

    call: int
    fault: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.fault} at call {self.call}{f', {self.variant}' if self.variant else ''}"


class Failpoints(Faults):
    """The emulator's faults, chosen by the number of the call. Calls are counted only while `child` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.case = Case(0, "")
        self.child: Child | None = None
        self.calls: list[str] = []
        self.is_denying_tags = False

    def __bool__(self) -> bool:
        return True

    def consume(self, operation: str, name: str) -> Fault | None:
        """Return the fault for this call; send the run its signal if the case has one."""
        if operation == "ListTags" and self.is_denying_tags:
            return Fault("", FaultKind.ERROR_BEFORE, status=400, code="AccessDeniedException", message="not authorized")
        if operation == "InvokeEndpoint" or self.child is None:
            return super().consume(operation, name)
        self.calls.append(operation)
        at, case = len(self.calls), self.case
        if case.fault == "throttle" and case.call <= at < case.call + THROTTLED_CALLS:
            return Fault("", FaultKind.THROTTLE)
        if at != case.call:
            return super().consume(operation, name)
        if case.fault in SIGNALS:
            self.child.signal(getattr(signal, case.fault.partition(" ")[0]))
            # The call of a killed run takes effect or not; its connection is gone in both cases.
            return Fault("", FaultKind.ERROR_BEFORE) if case.fault == "SIGKILL before" else None
        return Fault("", FaultKind(case.fault))
