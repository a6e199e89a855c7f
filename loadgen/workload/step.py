"""Step: one endpoint configuration under one load."""

import math
from dataclasses import dataclass

from loadgen.errors import UsageError
from loadgen.validation import validate_int
from loadgen.workload.load import ClosedLoop, Load, OpenLoop
from loadgen.workload.serverless_config import ServerlessConfig


@dataclass(frozen=True, slots=True)
class ErrorLimit:
    """When to give a step up: refusals and failures both count as errors.

    Args:
        count: stop at this many errors; None for no such bound.
        share: stop when more than this share of the answers are errors; None for no such bound.
        at_least: answers before the share is looked at.
    """

    count: int | None = None
    share: float | None = None
    at_least: int = 20

    def __post_init__(self) -> None:
        if self.count is not None:
            validate_int(self.count, 1, "error limit")
        if self.share is not None and not 0 <= self.share < 1:
            raise UsageError(f"an error share of {self.share!r}", hint="0 or more, below 1")

    def is_reached(self, errors: int, completed: int) -> bool:
        """Tell whether the step must stop.

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
        config: what to deploy; None for a place that stands as it is.
        load: what to send.
        name: shown in tables and used for the run's directory; if empty, `label` describes the step instead.
        phase: which benchmark it belongs to: `stability`, `concurrency`, or empty.
        warmup: the first seconds of the load, recorded and shown but not counted.
        warmup_calls: the first calls of the load, likewise.
        error_limit: when to give the step up; None for never.
        delay: seconds to wait after the endpoint is in service, so that it may go cold.

    Raises:
        UsageError: a value of another type, or below 0.
    """

    config: ServerlessConfig | None
    load: Load
    name: str = ""
    phase: str = ""
    warmup: float = 0.0
    warmup_calls: int = 0
    error_limit: ErrorLimit | None = None
    delay: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.load, (OpenLoop, ClosedLoop)):
            raise UsageError(f"a load of type {type(self.load).__name__}", hint="give an OpenLoop or a ClosedLoop")
        if not (self.config is None or isinstance(self.config, ServerlessConfig)):
            raise UsageError(f"a configuration of type {type(self.config).__name__}", hint="give a ServerlessConfig")
        for what, seconds in (("warmup", self.warmup), ("delay", self.delay)):
            if not 0 <= seconds < math.inf:
                raise UsageError(f"{what} {seconds!r}", hint="seconds, 0 or more")
        validate_int(self.warmup_calls, 0, "warmup_calls")

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
