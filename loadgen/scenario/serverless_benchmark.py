"""ServerlessBenchmark: the plan that finds the memory size, the MaxConcurrency and the cost of a model.

The stability benchmark measures each memory size with one client. The concurrency benchmark measures the recommended
size with MaxConcurrency x multiplier clients. Pure: the plan yields steps and receives their runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.analysis import CONCURRENCY, STABILITY, analyze
from loadgen.analysis.failure_share import DEFAULT_FAILURE_SHARE_LIMIT
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.slo import Slo
from loadgen.errors import UsageError
from loadgen.interfaces import Target
from loadgen.measurement.run import Run
from loadgen.scenario.benchmark_parameters import DEFAULTS
from loadgen.scenario.scenario import DEFAULT_OBJECTIVE, DEFAULT_TIMEOUT, Plan, validate_scenario
from loadgen.validation import is_number, to_bool, to_int, to_seconds, to_tuple
from loadgen.workload.load import ClosedLoop, Pause
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import ErrorLimit, Step

_MAX_MULTIPLIER = 1000  # of MaxConcurrency, which is at most 200: one machine has no more clients


@dataclass(frozen=True, slots=True)
class ServerlessBenchmark:
    """Benchmark a model over memory sizes and MaxConcurrency settings.

    Args:
        target: where the endpoints are: Emulated or SageMaker.
        requests: the payloads.
        memory_sizes: sizes of the stability benchmark, MB.
        invocations: calls for each memory size, one after the other.
        error_limit: how many errors stop one memory size; the other sizes are still measured.
        cold_start_delay: seconds to wait before the first call, so that a cold start is likely.
        include_concurrency: False to skip the concurrency benchmark.
        max_concurrency: MaxConcurrency settings of the concurrency benchmark.
        multipliers: client counts for each MaxConcurrency: MaxConcurrency x multiplier, rounded up.
        concurrency_invocations: calls for each MaxConcurrency and client count.
        memory_size: size of the concurrency benchmark, MB; None for the recommended one.
        think: seconds a client pauses after each response.
        backoff: seconds a client pauses after a throttled or failed call.
        objective: what the recommendation optimises: `cost`, `speed` or `balanced` (equal weights of normalised cost
            and latency).
        instance: the real-time instance type to compare with; None for a comparable one of each size.
        slos: SLOs; a violated one makes the exit status 99.
        seed: seed of the payload sequence.
        timeout: seconds that one request may take, cold start included.
        together: True to measure all endpoints of a benchmark at the same time: faster, but they may disturb each
            other.
        failure_share_limit: share of failed calls of a step, from 0 to 1, above which the report says so first and the
            exit status is 99.

    Raises:
        UsageError: a value is out of its range.
    """

    target: Target
    requests: Sequence[Request]
    memory_sizes: Sequence[int] = DEFAULTS["memory_sizes"]
    invocations: int = DEFAULTS["invocations"]
    error_limit: int = DEFAULTS["error_limit"]
    cold_start_delay: float = DEFAULTS["cold_start_delay"]
    include_concurrency: bool = DEFAULTS["include_concurrency"]
    max_concurrency: Sequence[int] = DEFAULTS["max_concurrency"]
    multipliers: Sequence[float] = DEFAULTS["multipliers"]
    concurrency_invocations: int = DEFAULTS["concurrency_invocations"]
    memory_size: int | None = None
    think: Pause = 0.0
    backoff: Pause = 0.1
    objective: str = DEFAULT_OBJECTIVE
    instance: str | None = None
    slos: Sequence[Slo] = ()
    seed: int = 0
    timeout: float = DEFAULT_TIMEOUT
    together: bool = False
    failure_share_limit: float = DEFAULT_FAILURE_SHARE_LIMIT

    def __post_init__(self) -> None:
        validate_scenario(self)
        for name in ("memory_sizes", "max_concurrency", "multipliers"):
            object.__setattr__(self, name, to_tuple(getattr(self, name), name))
        for name in ("memory_sizes", "max_concurrency"):
            object.__setattr__(self, name, tuple(to_int(item, name, 1) for item in getattr(self, name)))
        for name in ("invocations", "error_limit", "concurrency_invocations"):
            object.__setattr__(self, name, to_int(getattr(self, name), name, 1))
        if self.memory_size is not None:
            object.__setattr__(self, "memory_size", to_int(self.memory_size, "memory_size", 1))
        object.__setattr__(self, "include_concurrency", to_bool(self.include_concurrency, "include_concurrency"))
        object.__setattr__(self, "cold_start_delay", to_seconds(self.cold_start_delay, "cold_start_delay"))
        if not self.memory_sizes:
            raise UsageError("memory_sizes must not be empty")
        if self.include_concurrency and not (self.max_concurrency and self.multipliers):
            raise UsageError(
                "max_concurrency and multipliers must not be empty", hint="or give include_concurrency=False"
            )
        if not all(is_number(m) and 0 < m <= _MAX_MULTIPLIER for m in self.multipliers):
            raise UsageError(
                f"multipliers must be numbers above 0, at most {_MAX_MULTIPLIER}, got {list(self.multipliers)!r:.80}"
            )
        # Building the steps validates every other value.
        self.stability_steps()
        self.concurrency_steps(self.memory_sizes[0] if self.memory_size is None else self.memory_size)

    def stability_steps(self) -> list[Step]:
        """Return a step for each memory size: MaxConcurrency 1, one client."""
        return [
            Step(
                ServerlessConfig(memory_mb, 1),
                ClosedLoop(1, count=self.invocations, think=self.think, backoff=self.backoff, seed=self.seed),
                name=f"{memory_mb} MB",
                phase=STABILITY,
                error_limit=ErrorLimit(count=self.error_limit),
                delay=self.cold_start_delay,
            )
            for memory_mb in dict.fromkeys(self.memory_sizes)
        ]

    def concurrency_steps(self, memory_mb: int) -> list[Step]:
        """Return a step for each MaxConcurrency and client count; equal client counts are run once."""
        cells = dict.fromkeys(
            (max_concurrency, _client_count(max_concurrency, multiplier))
            for max_concurrency in self.max_concurrency
            for multiplier in sorted(self.multipliers)
        )
        return [
            Step(
                ServerlessConfig(memory_mb, max_concurrency),
                ClosedLoop(
                    clients,
                    count=self.concurrency_invocations,
                    think=self.think,
                    backoff=self.backoff,
                    seed=self.seed,
                ),
                name=f"MaxConcurrency {max_concurrency}, {clients} client{'s' if clients != 1 else ''}",
                phase=CONCURRENCY,
            )
            for max_concurrency, clients in cells
        ]

    def plan(self) -> Plan:
        """Yield the stability steps, choose a memory size from their runs, and yield its concurrency steps."""
        runs = yield self.stability_steps()
        if not self.include_concurrency:
            return
        chosen = self.memory_size or self.recommended_memory_mb(runs)
        if chosen is not None:
            yield self.concurrency_steps(chosen)

    def configs(self) -> Sequence[ServerlessConfig]:
        """Return every configuration that the plan may yield."""
        return [step.config for step in self.possible_steps() if step.config is not None]

    def possible_steps(self) -> Sequence[Step]:
        """Return every step that the plan may yield; the concurrency benchmark costs most at the largest size."""
        steps = self.stability_steps()
        if self.include_concurrency:
            steps += self.concurrency_steps(self.memory_size or max(self.memory_sizes))
        return steps

    def recommended_memory_mb(self, runs: Sequence[Run]) -> int | None:
        """Return the memory size that the stability runs recommend; None when no size was stable."""
        # The prices of any region rank the sizes alike, since serverless prices are linear in memory in every region.
        analysis = analyze(
            runs, region="us-east-1", prices=PriceBook.builtin(), objective=self.objective, slos=self.slos
        )
        return analysis.recommendation.memory_mb if analysis.recommendation else None


def _client_count(max_concurrency: int, multiplier: float) -> int:
    """Round the product up as in decimal arithmetic: 10 x 1.1 is 11, not the 12 of 11.000000000000002."""
    return math.ceil(round(max_concurrency * multiplier, 9))
