"""Scenario: a target, requests and a plan of steps; and loading the Python file that defines one.

A scenario file defines a module-level `scenario`. Its values validate themselves, and nothing is sent while it loads.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from loadgen.analysis.recommendation import OBJECTIVES
from loadgen.analysis.slo import Slo
from loadgen.errors import UsageError
from loadgen.interfaces import Target
from loadgen.measurement.run import Run
from loadgen.validation import validate_int
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step

Plan = Generator[Sequence[Step], Sequence[Run], None]


class ScenarioProtocol(Protocol):
    """What a scenario file's `scenario` must offer; a frozen dataclass, so that `--set` can change a field."""

    @property
    def target(self) -> Target:
        """The place to measure."""
        ...

    @property
    def requests(self) -> Sequence[Request]:
        """What to send."""
        ...

    @property
    def seed(self) -> int:
        """Of the choice of payloads."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds that one request may take, cold start included."""
        ...

    @property
    def together(self) -> bool:
        """True to measure the endpoints of a batch at once: faster, and they may disturb each other."""
        ...

    @property
    def objective(self) -> str:
        """What the recommended memory size is best at: `cost`, `speed` or `balanced`."""
        ...

    @property
    def instance(self) -> str | None:
        """The real-time instance to compare with; None for the usual one of each size."""
        ...

    @property
    def slos(self) -> Sequence[Slo]:
        """The promises that decide the exit status."""
        ...

    def plan(self) -> Plan:
        """Yield batches of steps and be sent their runs."""
        ...

    def configs(self) -> Sequence[ServerlessConfig | None]:
        """Return every configuration that the plan may ask for, so that quotas are checked before anything is made."""
        ...

    def possible_steps(self) -> Sequence[Step]:
        """Return every step that the plan may yield, at its dearest, so that the cost is bounded before."""
        ...


def validate_scenario(scenario: ScenarioProtocol) -> None:
    """Refuse what no scenario can mean, whatever its plan: before anything is deployed.

    Raises:
        UsageError: with what to do.
    """
    _validate_requests(scenario.requests)
    if not hasattr(scenario.target, "account"):
        raise UsageError(
            f"a target of type {type(scenario.target).__name__}", hint="give Emulated, SageMaker or Existing"
        )
    if not 0 < scenario.timeout < math.inf:
        raise UsageError(f"a timeout of {scenario.timeout!r} seconds", hint="finite and above 0")
    if scenario.objective not in OBJECTIVES:
        raise UsageError(f"objective {scenario.objective!r}", hint=f"one of {', '.join(OBJECTIVES)}")
    if not all(isinstance(slo, Slo) for slo in scenario.slos):
        raise UsageError("a promise that is no Slo", hint='give Slo("response_p99", at_most=0.8)')
    validate_int(scenario.seed, 0, "seed")


def _validate_requests(requests: Sequence[Request]) -> None:
    if not requests:
        raise UsageError("a scenario without requests", hint="give requests=read_requests(...) or [Request(b'...')]")
    for request in requests:
        if not isinstance(request, Request):
            raise UsageError(f"a request of type {type(request).__name__}", hint="give Request values")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps of your own: configurations under loads, with promises to keep.

    Args:
        target: the place to measure: Emulated, SageMaker, Existing.
        requests: what to send.
        steps: executed in order; steps with the same configuration share an endpoint.
        slos: promises; a broken one makes the exit status 99.
        seed: of the choice of payloads.
        timeout: seconds that one request may take, cold start included.
        together: True to measure all endpoints at once.
        objective: what the recommended memory size is best at: `cost`, `speed` or `balanced`.
        instance: the real-time instance to compare with; None for the usual one of each size.

    Raises:
        UsageError: a value of another type, or out of its range.
    """

    target: Target
    requests: Sequence[Request]
    steps: Sequence[Step]
    slos: Sequence[Slo] = ()
    seed: int = 0
    timeout: float = 300.0
    together: bool = False
    objective: str = "balanced"
    instance: str | None = None

    def __post_init__(self) -> None:
        validate_scenario(self)
        if not self.steps or not all(isinstance(step, Step) for step in self.steps):
            raise UsageError("a scenario without steps", hint="give steps=[Step(...)]")

    def plan(self) -> Plan:
        """Yield all steps as one batch."""
        yield self.steps

    def configs(self) -> Sequence[ServerlessConfig | None]:
        """Return the configurations of the steps."""
        return [step.config for step in self.steps]

    def possible_steps(self) -> Sequence[Step]:
        """Return the steps."""
        return self.steps
