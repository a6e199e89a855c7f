"""ServerlessBenchmark: the plan that finds the memory size, the MaxConcurrency and the cost of a model.

The stability benchmark measures each memory size with one client, in rounds of short blocks, so that a drift of the
region falls on all sizes alike. The concurrency benchmark measures the recommended size with MaxConcurrency x
multiplier clients. Pure: the plan yields steps and receives their runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.analysis import CONCURRENCY, STABILITY, analyze
from loadgen.analysis.elimination_policy import EliminationPolicy
from loadgen.analysis.prices import PriceBook
from loadgen.analysis.size_choice import MIN_CALLS, Objective, to_objective
from loadgen.analysis.slo import Slo
from loadgen.errors import UsageError
from loadgen.interfaces import Target
from loadgen.measurement.run import Run
from loadgen.scenario.benchmark_parameters import DEFAULTS
from loadgen.scenario.rounds import Rounds
from loadgen.scenario.scenario import DEFAULT_OBJECTIVE, DEFAULT_TIMEOUT, Plan, validate_scenario
from loadgen.validation import to_int, to_tuple
from loadgen.workload.load import ClosedLoop, Pause, Uniform
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import ErrorLimit, Step

BLOCK_SIZE = 20  # calls of a size in one round: the change of endpoint costs less than a call, and drift is slower
MAX_ROUNDS = 100
# Seconds. An instance may be removed after as many seconds without a call (analysis/cold_start.py, IDLE_EXPIRY).
MAX_ROUND_DURATION = 30.0


@dataclass(frozen=True, slots=True)
class ServerlessBenchmark:
    """Benchmark a model over memory sizes and MaxConcurrency settings.

    Args:
        target: where the endpoints are: Emulated or SageMaker.
        requests: the payloads.
        memory_sizes: sizes of the stability benchmark, MB.
        invocations: calls for each memory size, one after the other.
        rounds: in how many rounds the sizes are called in turns, in an order that changes; 1 to measure each size in
            one piece, one after the other; None for blocks of about 20 calls, in 100 rounds at most. Blocks become
            shorter when a round takes longer than 30 seconds.
        error_limit: how many errors stop one memory size; the other sizes are still measured.
        cold_start_delay: seconds to wait before the first call, so that a cold start is likely.
        include_concurrency: False to skip the concurrency benchmark.
        max_concurrency: MaxConcurrency settings of the concurrency benchmark.
        multipliers: client counts for each MaxConcurrency: MaxConcurrency x multiplier, rounded up.
        concurrency_invocations: calls for each MaxConcurrency and client count.
        memory_size: size of the concurrency benchmark, MB; None for the recommended one.
        think: seconds a client pauses after each response.
        backoff: seconds a client pauses after a throttled or failed call.
        ramp_up: seconds over which the clients of the concurrency benchmark start, evenly spread; None for the mean of
            `think`, so that clients with think times do not begin with a burst; without think times all start at once.
        warmup: seconds at the start of each step of the concurrency benchmark whose calls are recorded, not counted.
        objective: what the recommendation optimises: `cost`, `speed`, `balanced` (cost x median latency), or an
            Objective with other weights or another statistic.
        instance: the real-time instance type to compare with; None for a comparable one of each size.
        slos: SLOs; a violated one makes the exit status 99.
        confidence: probability with which the sizes are told apart: sizes that cannot be recommended any more are not
            called further, and the stability benchmark ends once it is decided; None to make all `invocations`.
        seed: seed of the payload sequence.
        timeout: seconds that one request may take, cold start included.
        together: True to measure all endpoints of a benchmark at the same time: faster, but they may disturb each
            other.

    Raises:
        UsageError: a value is out of its range.
    """

    target: Target
    requests: Sequence[Request]
    memory_sizes: Sequence[int] = DEFAULTS["memory_sizes"]
    invocations: int = DEFAULTS["invocations"]
    rounds: int | None = None
    error_limit: int = DEFAULTS["error_limit"]
    cold_start_delay: float = DEFAULTS["cold_start_delay"]
    include_concurrency: bool = DEFAULTS["include_concurrency"]
    max_concurrency: Sequence[int] = DEFAULTS["max_concurrency"]
    multipliers: Sequence[float] = DEFAULTS["multipliers"]
    concurrency_invocations: int = DEFAULTS["concurrency_invocations"]
    memory_size: int | None = None
    think: Pause = 0.0
    backoff: Pause = 0.1
    ramp_up: float | None = None
    warmup: float = 0.0
    objective: Objective | str = DEFAULT_OBJECTIVE
    instance: str | None = None
    slos: Sequence[Slo] = ()
    confidence: float | None = None
    seed: int = 0
    timeout: float = DEFAULT_TIMEOUT
    together: bool = False

    def __post_init__(self) -> None:
        validate_scenario(self)
        for name in ("memory_sizes", "max_concurrency", "multipliers"):
            object.__setattr__(self, name, to_tuple(getattr(self, name), name))
        for name in ("memory_sizes", "max_concurrency"):
            object.__setattr__(self, name, tuple(to_int(item, name, 1) for item in getattr(self, name)))
        for name in ("invocations", "rounds", "error_limit", "concurrency_invocations", "memory_size"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, to_int(getattr(self, name), name, 1))
        if self.rounds is not None and self.rounds > self.invocations:
            raise UsageError(f"rounds must be at most invocations ({self.invocations}), got {self.rounds}")
        if self.confidence is not None and not 0.5 < self.confidence < 1:
            raise UsageError(f"confidence must be above 0.5 and below 1, got {self.confidence!r}", hint="such as 0.95")
        if self.confidence is not None and self.rounds == 1:
            raise UsageError("confidence needs rounds: with rounds=1 each size is measured to its end before the next")
        if not self.memory_sizes:
            raise UsageError("memory_sizes must not be empty")
        if self.include_concurrency and not (self.max_concurrency and self.multipliers):
            raise UsageError(
                "max_concurrency and multipliers must not be empty", hint="or give include_concurrency=False"
            )
        if not all(math.isfinite(m) and m > 0 for m in self.multipliers):
            raise UsageError(f"multipliers must be finite and above 0, got {list(self.multipliers)}")
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

    def stability_rounds(self) -> Sequence[Step] | Rounds:
        """Return the stability steps with the rounds in which they are measured; the steps alone for one round."""
        steps = self.stability_steps()
        rounds = self.rounds or self._default_rounds()
        if rounds == 1:
            return steps
        return Rounds(
            steps,
            math.ceil(self.invocations / rounds),
            seed=self.seed,
            max_duration=MAX_ROUND_DURATION,
            policy=self._elimination_policy(),
        )

    def _default_rounds(self) -> int:
        rounds = min(MAX_ROUNDS, math.ceil(self.invocations / BLOCK_SIZE))
        # Each round is an opportunity to stop; a block has the calls that a first look needs.
        return rounds if self.confidence is None else max(rounds, min(5, self.invocations // MIN_CALLS), 1)

    def _elimination_policy(self) -> EliminationPolicy | None:
        if self.confidence is None:
            return None
        prices = PriceBook.builtin()
        return EliminationPolicy(to_objective(self.objective), self.confidence, slos=self.slos, prices=prices)

    def concurrency_steps(self, memory_mb: int) -> list[Step]:
        """Return a step for each MaxConcurrency and client count; equal client counts are run once."""
        cells = dict.fromkeys(
            (max_concurrency, _client_count(max_concurrency, multiplier))
            for max_concurrency in self.max_concurrency
            for multiplier in sorted(self.multipliers)
        )
        ramp_up = _mean(self.think) if self.ramp_up is None else self.ramp_up
        return [
            Step(
                ServerlessConfig(memory_mb, max_concurrency),
                ClosedLoop(
                    clients,
                    count=self.concurrency_invocations,
                    think=self.think,
                    backoff=self.backoff,
                    seed=self.seed,
                    ramp_up=ramp_up,
                ),
                name=f"MaxConcurrency {max_concurrency}, {clients} client{'s' if clients != 1 else ''}",
                phase=CONCURRENCY,
                warmup=self.warmup,
            )
            for max_concurrency, clients in cells
        ]

    def plan(self) -> Plan:
        """Yield the stability steps, choose a memory size from their runs, and yield its concurrency steps."""
        runs = yield self.stability_rounds()
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
        region = next((run.region for run in runs if run.region), _DEFAULT_REGION)
        analysis = analyze(runs, region=region, prices=PriceBook.builtin(), objective=self.objective, slos=self.slos)
        return analysis.recommendation.memory_mb if analysis.recommendation else None


_DEFAULT_REGION = "us-east-1"  # of runs that have no region


def _mean(pause: Pause) -> float:
    return (pause.low + pause.high) / 2 if isinstance(pause, Uniform) else pause


def _client_count(max_concurrency: int, multiplier: float) -> int:
    """Round the product up as in decimal arithmetic: 10 x 1.1 is 11, not the 12 of 11.000000000000002."""
    return math.ceil(round(max_concurrency * multiplier, 9))
