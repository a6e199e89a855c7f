"""Scenario: a target, requests and a plan of steps. Values only: constructing one validates it and sends nothing."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from loadgen.analysis.failure_share import DEFAULT_FAILURE_SHARE_LIMIT, is_share
from loadgen.analysis.recommendation import OBJECTIVES
from loadgen.analysis.slo import Slo
from loadgen.errors import ConfigError, UsageError
from loadgen.interfaces import Target
from loadgen.measurement.run import Run
from loadgen.validation import to_int, to_tuple
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step

DEFAULT_TIMEOUT = 300.0  # seconds; a cold start of a large model takes minutes
DEFAULT_OBJECTIVE = "balanced"

Plan = Generator[Sequence[Step], Sequence[Run], None]


class ScenarioProtocol(Protocol):
    """The interface of a scenario file's `scenario`; a frozen dataclass supports `--set`."""

    @property
    def target(self) -> Target:
        """Where the endpoints are: Emulated, SageMaker, Existing."""
        ...

    @property
    def requests(self) -> Sequence[Request]:
        """The payloads."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the payload sequence."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds that one request may take, cold start included."""
        ...

    @property
    def together(self) -> bool:
        """True to measure the endpoints of a batch at the same time: faster, but they may disturb each other."""
        ...

    @property
    def objective(self) -> str:
        """What the recommendation optimises: `cost`, `speed` or `balanced`."""
        ...

    @property
    def instance(self) -> str | None:
        """The real-time instance type to compare with; None for a comparable one of each size."""
        ...

    @property
    def slos(self) -> Sequence[Slo]:
        """The SLOs; a violated one makes the exit status 99."""
        ...

    def plan(self) -> Plan:
        """Yield batches of steps, and receive the runs of each batch."""
        ...

    def configs(self) -> Sequence[ServerlessConfig | None]:
        """Return every configuration that the plan may yield; the account's quotas are checked against them."""
        ...

    def possible_steps(self) -> Sequence[Step]:
        """Return every step that the plan may yield, at its highest cost; the forecast is their sum."""
        ...


def validate_scenario(scenario: ScenarioProtocol) -> None:
    """Check the fields that every scenario has; sequences become tuples, and the seed an int.

    Raises:
        UsageError: a field has an invalid value.
    """
    for name in ("requests", "slos"):  # a generator can be read only once
        _replace(scenario, name, to_tuple(getattr(scenario, name), name))
    _validate_requests(scenario.requests)
    if not hasattr(scenario.target, "account"):
        raise UsageError(
            f"target must be a Target, got {type(scenario.target).__name__}",
            hint="give Emulated, SageMaker or Existing",
        )
    if not isinstance(scenario.timeout, (int, float)) or not 0 < scenario.timeout < math.inf:
        raise UsageError(f"timeout must be finite and above 0 seconds, got {scenario.timeout!r}")
    if scenario.objective not in OBJECTIVES:
        raise UsageError(f"objective must be one of {', '.join(OBJECTIVES)}, got {scenario.objective!r}")
    limit = getattr(scenario, "failure_share_limit", DEFAULT_FAILURE_SHARE_LIMIT)  # not every scenario has the field
    if not is_share(limit):
        raise UsageError(f"failure_share_limit is {limit!r:.80}", hint="must be a share from 0 to 1, such as 0.01")
    if not all(isinstance(slo, Slo) for slo in scenario.slos):
        raise UsageError("slos must contain Slo values", hint='give Slo("response_p99", at_most=0.8)')
    _replace(scenario, "seed", to_int(scenario.seed, "seed", 0))


def _replace(scenario: ScenarioProtocol, name: str, value: object) -> None:
    """Set a field to its normal form; a property, which has no setter, must return that itself."""
    given = getattr(scenario, name)
    if type(given) is type(value):
        return
    try:
        object.__setattr__(scenario, name, value)
    except AttributeError as error:
        raise UsageError(
            f"{name} is a {type(given).__name__} without a setter", hint=f"return a {type(value).__name__}"
        ) from error


_REQUIRED = ("target", "requests", "seed", "timeout", "together", "objective", "instance", "slos")
_REQUIRED_METHODS = ("plan", "configs", "possible_steps")


def check_scenario(scenario: ScenarioProtocol) -> None:
    """Check a scenario before it is run; a class of the user's own may not have called `validate_scenario`.

    Raises:
        ConfigError: an attribute or a method is missing.
        UsageError: a field has an invalid value.
    """
    missing = [name for name in _REQUIRED if not hasattr(scenario, name)]
    missing += [f"{name}()" for name in _REQUIRED_METHODS if not callable(getattr(scenario, name, None))]
    if missing:
        raise ConfigError(
            f"the scenario, a {type(scenario).__name__}, has no {', '.join(missing)}",
            hint="derive its fields from those of Scenario (guide 07), or use Scenario",
        )
    validate_scenario(scenario)


def _validate_requests(requests: Sequence[Request]) -> None:
    if not requests:
        raise UsageError("requests must not be empty", hint="give requests=read_requests(...) or [Request(b'...')]")
    for request in requests:
        if not isinstance(request, Request):
            raise UsageError(f"requests must contain Request values, got {type(request).__name__}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fixed sequence of steps: configurations under loads, with SLOs to check.

    Args:
        target: where the endpoints are: Emulated, SageMaker, Existing.
        requests: the payloads.
        steps: executed in order; steps with the same configuration share an endpoint.
        slos: SLOs; a violated one makes the exit status 99.
        seed: seed of the payload sequence.
        timeout: seconds that one request may take, cold start included.
        together: True to measure all endpoints at the same time: faster, but they may disturb each other.
        objective: what the recommendation optimises: `cost`, `speed` or `balanced`.
        instance: the real-time instance type to compare with; None for a comparable one of each size.
        failure_share_limit: share of failed calls of a step, from 0 to 1, above which the report says so first and the
            exit status is 99.

    Raises:
        UsageError: a value is of another type, or out of its range.
    """

    target: Target
    requests: Sequence[Request]
    steps: Sequence[Step]
    slos: Sequence[Slo] = ()
    seed: int = 0
    timeout: float = DEFAULT_TIMEOUT
    together: bool = False
    objective: str = DEFAULT_OBJECTIVE
    instance: str | None = None
    failure_share_limit: float = DEFAULT_FAILURE_SHARE_LIMIT

    def __post_init__(self) -> None:
        validate_scenario(self)
        object.__setattr__(self, "steps", to_tuple(self.steps, "steps"))
        if not self.steps or not all(isinstance(step, Step) for step in self.steps):
            raise UsageError("steps must be Step values, at least one", hint="give steps=[Step(...)]")

    def plan(self) -> Plan:
        """Yield all steps as one batch."""
        yield self.steps

    def configs(self) -> Sequence[ServerlessConfig | None]:
        """Return the configurations of the steps."""
        return [step.config for step in self.steps]

    def possible_steps(self) -> Sequence[Step]:
        """Return the steps."""
        return self.steps
