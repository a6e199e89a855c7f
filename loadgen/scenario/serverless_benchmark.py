"""ServerlessBenchmark: the plan that answers which memory size, which MaxConcurrency, and at what cost.

First each memory size on its own with one client (stability), then the best of them under MaxConcurrency x multiplier
clients (concurrency). Pure: steps out, runs in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.analysis import analyze
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.slo import Slo
from loadgen.errors import UsageError
from loadgen.interfaces import Target
from loadgen.measurement.run import Run
from loadgen.scenario.scenario import Plan, validate_scenario
from loadgen.workload.load import ClosedLoop, Pause
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import MEMORY_SIZES_MB, ServerlessConfig
from loadgen.workload.step import ErrorLimit, Step

STABILITY = "stability"
CONCURRENCY = "concurrency"


@dataclass(frozen=True, slots=True)
class ServerlessBenchmark:
    """Benchmark a model over memory sizes and MaxConcurrency settings.

    Args:
        target: the place to measure: Emulated or SageMaker.
        requests: what to send.
        memory_sizes: sizes of the stability benchmark, in MB.
        invocations: calls for each memory size, one after the other.
        error_limit: errors that stop one memory size; the sweep goes on.
        cold_start_delay: seconds to wait before the first call, so that it is likely to be cold.
        include_concurrency: False ends with the stability benchmark.
        max_concurrency: settings of the concurrency benchmark, at the recommended memory size.
        multipliers: clients for each MaxConcurrency: MaxConcurrency x multiplier, rounded up.
        concurrency_invocations: calls for each pair of them.
        memory_size: run the concurrency benchmark at this size, whatever is recommended.
        think: seconds a client pauses after each answer.
        backoff: seconds a client pauses after a refusal or a failure.
        objective: `cost`, `speed` or `balanced` (equal weights of normalised cost and latency).
        instance: the real-time instance to compare with; None for the usual one of each size.
        slos: promises; a broken one makes the exit status 99.
        seed: of the choice of payloads.
        timeout: seconds that one request may take, cold start included.
        together: True to measure all endpoints of a benchmark at once: faster, and they may disturb each other.

    Raises:
        UsageError: a value is out of its range.
    """

    target: Target
    requests: Sequence[Request]
    memory_sizes: Sequence[int] = MEMORY_SIZES_MB
    invocations: int = 1000
    error_limit: int = 3
    cold_start_delay: float = 0.0
    include_concurrency: bool = True
    max_concurrency: Sequence[int] = (2, 4, 8)
    multipliers: Sequence[float] = (1, 1.5, 1.75, 2)
    concurrency_invocations: int = 1000
    memory_size: int | None = None
    think: Pause = 0.0
    backoff: Pause = 0.1
    objective: str = "balanced"
    instance: str | None = None
    slos: Sequence[Slo] = ()
    seed: int = 0
    timeout: float = 300.0
    together: bool = False

    def __post_init__(self) -> None:
        validate_scenario(self)
        if not self.memory_sizes:
            raise UsageError("no memory sizes", hint="give at least one")
        if self.include_concurrency and not (self.max_concurrency and self.multipliers):
            raise UsageError("no MaxConcurrency or no multipliers", hint="or include_concurrency=False")
        if any(not (math.isfinite(m) and m > 0) for m in self.multipliers):
            raise UsageError(f"multipliers {list(self.multipliers)}", hint="finite and above 0")
        # Building the steps checks every other value, before anything is deployed.
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
        """Return a step for each MaxConcurrency and client count; what rounds up to the same is run once."""
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
        """Yield the stability steps; choose the memory size from their runs; yield the concurrency steps there."""
        runs = yield self.stability_steps()
        if not self.include_concurrency:
            return
        chosen = self.memory_size or self.recommended_memory_mb(runs)
        if chosen is not None:
            yield self.concurrency_steps(chosen)

    def configs(self) -> Sequence[ServerlessConfig]:
        """Return every configuration that the plan may ask for."""
        return [step.config for step in self.possible_steps() if step.config is not None]

    def possible_steps(self) -> Sequence[Step]:
        """Return every step that the plan may yield; the concurrency benchmark is dearest at the largest size."""
        steps = self.stability_steps()
        if self.include_concurrency:
            steps += self.concurrency_steps(self.memory_size or max(self.memory_sizes))
        return steps

    def recommended_memory_mb(self, runs: Sequence[Run]) -> int | None:
        """Return the memory size that the stability runs recommend, or None when none was stable."""
        # Prices of any region rank the sizes alike: serverless prices are linear in memory everywhere they are known.
        analysis = analyze(
            runs, region="us-east-1", prices=PriceBook.builtin(), objective=self.objective, slos=self.slos
        )
        return analysis.recommendation.memory_mb if analysis.recommendation else None


def _client_count(max_concurrency: int, multiplier: float) -> int:
    """Round up the number that was written: 10 x 1.1 is 11, not the 12 of 11.000000000000002."""
    return math.ceil(round(max_concurrency * multiplier, 9))
