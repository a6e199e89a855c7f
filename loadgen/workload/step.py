"""Step: one endpoint configuration under one load."""

import math
from dataclasses import dataclass

from loadgen.errors import UsageError
from loadgen.validation import to_int
from loadgen.workload.load import ClosedLoop, Load, OpenLoop
from loadgen.workload.serverless_config import ServerlessConfig


@dataclass(frozen=True, slots=True)
class ErrorLimit:
    """When to stop a step early. Throttled and failed requests count as errors.

    Args:
        count: stop at this number of errors; None for no limit.
        share: stop when errors exceed this share of the completed requests; None for no limit.
        at_least: number of completed requests from which on `share` applies.

    Raises:
        UsageError: `count` or `at_least` is not an integer, or is below 1 or 0, or `share` is not in [0, 1).
    """

    count: int | None = None
    share: float | None = None
    at_least: int = 20

    def __post_init__(self) -> None:
        if self.count is not None:
            object.__setattr__(self, "count", to_int(self.count, "error limit", 1))
        object.__setattr__(self, "at_least", to_int(self.at_least, "at_least", 0))
        if self.share is not None and not 0 <= self.share < 1:
            raise UsageError(f"error share is {self.share!r}", hint="must be at least 0 and below 1")

    def is_reached(self, errors: int, completed: int) -> bool:
        """Return whether the step must stop.

        Args:
            errors: number of throttled and failed requests.
            completed: number of completed requests, errors included.

        Example:
            >>> ErrorLimit(count=3).is_reached(3, 3)
            True
            >>> ErrorLimit(share=0.5).is_reached(10, 19)
            False
        """
        if self.count is not None and errors >= self.count:
            return True
        return self.share is not None and completed >= self.at_least and errors > self.share * completed


@dataclass(frozen=True, slots=True)
class Step:
    """One endpoint configuration under one load.

    Args:
        config: the configuration to deploy; None for an existing endpoint.
        load: the load to send.
        name: shown in tables and used for the run's directory; if empty, `label` describes the step instead.
        phase: the benchmark that the step belongs to: `stability`, `concurrency`, `comparison`, or empty.
        warmup: seconds at the start of the load whose requests are recorded but not counted.
        warmup_calls: number of requests at the start of the load that are recorded but not counted.
        error_limit: when to stop the step early; None for never.
        delay: seconds to wait before the load once the endpoint is in service, so that its instances go cold.
        variant: which of several targets is called, by its name; empty for a scenario with one target.

    Raises:
        UsageError: a value is of the wrong type or negative.
    """

    config: ServerlessConfig | None
    load: Load
    name: str = ""
    phase: str = ""
    warmup: float = 0.0
    warmup_calls: int = 0
    error_limit: ErrorLimit | None = None
    delay: float = 0.0
    variant: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.load, (OpenLoop, ClosedLoop)):
            raise UsageError(f"load is of type {type(self.load).__name__}", hint="must be an OpenLoop or a ClosedLoop")
        if not (self.config is None or isinstance(self.config, ServerlessConfig)):
            raise UsageError(
                f"config is of type {type(self.config).__name__}", hint="must be a ServerlessConfig or None"
            )
        for name, seconds in (("warmup", self.warmup), ("delay", self.delay)):
            if not 0 <= seconds < math.inf:
                raise UsageError(f"{name} is {seconds!r} seconds", hint="must be finite and at least 0")
        object.__setattr__(self, "warmup_calls", to_int(self.warmup_calls, "warmup_calls", 0))

    @property
    def label(self) -> str:
        """The name, or a description of configuration and load if it is empty.

        Example:
            >>> Step(ServerlessConfig(2048, 4), ClosedLoop(6, count=100)).label
            '2048 MB, MaxConcurrency 4, 6 clients'
        """
        if self.name:
            return self.name
        config, load = self.config, self.load
        endpoint = "existing endpoint"
        if config is not None:
            endpoint = f"{config.memory_mb} MB, MaxConcurrency {config.max_concurrency}"
        if isinstance(load, OpenLoop):
            return f"{endpoint}, open loop"
        return f"{endpoint}, {load.clients} client{'' if load.clients == 1 else 's'}"
