"""Interleaved: two variants of an endpoint, called in alternating blocks of one run, so that they can be compared.

Runs made at different times differ by more than the variants: a region is faster on one day than on another. Here both
variants are called with the same payloads and seeds in pairs of blocks, in random order with every second pair reversed
(ABBA), and the unit of the comparison is the pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from loadgen.analysis.slo import Slo
from loadgen.errors import ConfigError, UsageError
from loadgen.interfaces import Target
from loadgen.scenario.rounds import Rounds
from loadgen.scenario.scenario import DEFAULT_OBJECTIVE, DEFAULT_TIMEOUT, Plan, ScenarioProtocol, validate_scenario
from loadgen.scenario.target_pair import BASE, NEW, TargetPair
from loadgen.validation import to_int
from loadgen.workload.load import ClosedLoop, Load, OpenLoop
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import ErrorLimit, Step

COMPARISON = "comparison"  # the phase of the two steps
# A sign-flip test on fewer pairs cannot reject at 5 %: 2 of 2^5 patterns are 6 %.
MIN_PAIRS = 6
DEFAULT_PAIRS = 12
MIN_BLOCK_SIZE = 100  # calls of one block: with fewer, a block's p50 and p95 are those of single calls
DEFAULT_LOAD = ClosedLoop(1, count=DEFAULT_PAIRS * MIN_BLOCK_SIZE)


@dataclass(frozen=True, slots=True)
class Variant:
    """One side of a comparison.

    Args:
        target: where its endpoint is: Emulated, SageMaker or Existing.
        config: the configuration to deploy; None for an existing endpoint.
    """

    target: Target
    config: ServerlessConfig | None = None


@dataclass(frozen=True, slots=True)
class Interleaved:
    """Compare two configurations of one target, two models, or two existing endpoints, in alternating blocks.

    The two runs, named `base` and `new` in the phase `comparison`, have the same number of blocks: block n of both is
    pair n (`Run.blocks`).

    Args:
        base: what is compared with.
        new: what is compared.
        requests: the payloads; call k of both has the same.
        load: the load of each side, divided into `pairs` blocks; a closed loop needs a count.
        pairs: number of pairs of blocks, at least 6; 10 are needed for a p-value of 0.002.
        min_block_size: how many calls a block needs; a smaller number makes the comparison of percentiles worthless.
        warmup_calls: calls at the start of each side that are recorded, not counted.
        error_limit: when to stop a side early; None for never.
        slos: SLOs of both sides; a violated one makes the exit status 99.
        seed: seed of the payload sequence and of the order of the blocks.
        timeout: seconds that one request may take, cold start included.

    Raises:
        UsageError: a value is out of its range, or a block would have too few calls.

    Example:
        >>> from loadgen import Emulated
        >>> target = Emulated("mobilenet-v2")
        >>> scenario = Interleaved(
        ...     Variant(target, ServerlessConfig(2048)), Variant(target, ServerlessConfig(3072)), [Request(b"{}")]
        ... )
        >>> [(step.name, step.config.memory_mb, step.load.count) for step in scenario.possible_steps()]
        [('base', 2048, 1200), ('new', 3072, 1200)]
    """

    base: Variant
    new: Variant
    requests: Sequence[Request]
    load: Load = DEFAULT_LOAD
    pairs: int = DEFAULT_PAIRS
    min_block_size: int = MIN_BLOCK_SIZE
    warmup_calls: int = 0
    error_limit: ErrorLimit | None = None
    slos: Sequence[Slo] = ()
    seed: int = 0
    timeout: float = DEFAULT_TIMEOUT
    objective: str = DEFAULT_OBJECTIVE
    instance: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", to_int(self.pairs, "pairs", MIN_PAIRS))
        object.__setattr__(self, "min_block_size", to_int(self.min_block_size, "min_block_size", 1))
        for name in ("base", "new"):
            if not isinstance(getattr(self, name), Variant):
                raise UsageError(f"{name} is of type {type(getattr(self, name)).__name__}", hint="give a Variant")
        validate_scenario(self)
        steps = self.possible_steps()
        if self.block_size < self.min_block_size:
            raise UsageError(
                f"{self.block_size * self.pairs} calls in {self.pairs} pairs are {self.block_size} in each block, "
                f"the minimum is {self.min_block_size}",
                hint=f"give a load of {self.pairs * self.min_block_size} calls, or fewer pairs",
            )
        if (steps[0].config is None) != (steps[1].config is None):
            raise UsageError("only one of base and new has a configuration", hint="compare two of the same kind")

    @property
    def target(self) -> Target:
        """The target of both variants, or their pair."""
        return self.base.target if self._has_one_target else TargetPair(self.base.target, self.new.target)

    @property
    def together(self) -> bool:
        """False: one variant is called at a time."""
        return False

    @property
    def block_size(self) -> int:
        """Calls of each variant in one pair; the last block of an open loop may have fewer."""
        if isinstance(self.load, OpenLoop):
            return -(-sum(1 for _ in self.load) // self.pairs)
        if self.load.count is None:
            raise UsageError("the closed loop has no count", hint="give ClosedLoop(clients, count=...)")
        return self.load.count // self.pairs

    def plan(self) -> Plan:
        """Yield the two steps, to be measured in rounds of one pair."""
        yield Rounds(self.possible_steps(), self.block_size, seed=self.seed, is_one_wave=True)

    def configs(self) -> Sequence[ServerlessConfig | None]:
        """Return the configuration of base and that of new."""
        return [self.base.config, self.new.config]

    def possible_steps(self) -> Sequence[Step]:
        """Return the two steps."""
        load = self.load
        if isinstance(load, ClosedLoop):  # equal blocks
            load = replace(load, count=max(1, self.block_size) * self.pairs)
        return [
            Step(
                variant.config,
                load,
                name=name,
                phase=COMPARISON,
                warmup_calls=self.warmup_calls,
                error_limit=self.error_limit,
                variant="" if self._has_one_target else name,
            )
            for name, variant in ((BASE, self.base), (NEW, self.new))
        ]

    @property
    def _has_one_target(self) -> bool:
        return self.base.target == self.new.target


def interleave(base: ScenarioProtocol, new: ScenarioProtocol, *, pairs: int = DEFAULT_PAIRS) -> Interleaved:
    """Return the interleaved comparison of two scenarios of one step each.

    Args:
        base: the scenario that is compared with.
        new: the scenario that is compared.
        pairs: number of pairs of blocks.

    Raises:
        ConfigError: a scenario has several steps, or the two differ in more than target and configuration.
        UsageError: the load has too few calls for the pairs.
    """
    steps: list[Step] = []
    for name, scenario in ((BASE, base), (NEW, new)):
        possible = scenario.possible_steps()
        if len(possible) != 1:
            raise ConfigError(
                f"the scenario {name} has {len(possible)} steps, a comparison needs one",
                hint="give scenarios of one step, Scenario(..., steps=[Step(...)])",
            )
        steps += possible
    settings: dict[str, tuple[Any, Any]] = {
        "payloads": (tuple(base.requests), tuple(new.requests)),
        "load": (steps[0].load, steps[1].load),
        "warm-up": ((steps[0].warmup, steps[0].warmup_calls), (steps[1].warmup, steps[1].warmup_calls)),
        "error limit": (steps[0].error_limit, steps[1].error_limit),
        "seed": (base.seed, new.seed),
        "timeout": (base.timeout, new.timeout),
        "SLOs": (tuple(base.slos), tuple(new.slos)),
    }
    for name, (one, other) in settings.items():
        if one != other:
            shown = ("", "") if name == "payloads" else (f"base: {one}", f"new:  {other}")
            raise ConfigError(
                f"the scenarios base and new have different {name}",
                hint="a comparison needs the same load and payloads; only target and configuration may differ",
                details=tuple(filter(None, shown)),
            )
    if steps[0].warmup:
        raise ConfigError(
            "the scenarios have a warm-up in seconds", hint="use warmup_calls, which is equal on both sides"
        )
    return Interleaved(
        Variant(base.target, steps[0].config),
        Variant(new.target, steps[1].config),
        base.requests,
        load=steps[0].load,
        pairs=pairs,
        warmup_calls=steps[0].warmup_calls,
        error_limit=steps[0].error_limit,
        slos=base.slos,
        seed=base.seed,
        timeout=base.timeout,
    )
