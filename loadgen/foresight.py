"""Foresight: what a scenario will create, send and cost at most, told before anything is created. Pure.

And what was spent while it goes on, for whoever set a limit. Prices are prices.py's, the bound is estimate.py's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.cost import GB
from loadgen.errors import ConfigError
from loadgen.estimate import Estimate, estimate
from loadgen.outcome import Column
from loadgen.prices import NoPrice, Price, PriceBook
from loadgen.record import is_in
from loadgen.request import Request
from loadgen.step import Step
from loadgen.target import Identity, ServerlessConfig

# A call is cut at this many seconds. Source: SageMaker developer guide, "Serverless Inference", processing time.
LONGEST_CALL = 60.0
_USUAL_CALL = 1.0
# More than a benchmark of all six sizes and a dozen settings of MaxConcurrency needs; also AWS's default quota.
MOST_ENDPOINTS = 50


@dataclass(frozen=True, slots=True)
class Foresight:
    """What a scenario will do at most.

    Args:
        configs: what will be deployed, each once.
        waves: how many times endpoints are deployed, since no more fit the quotas at once.
        steps: how many steps will be executed.
        worst: the cost when each call takes as long as SageMaker lets it.
        usual: the cost when each call takes a second.
        identity: where.
    """

    configs: tuple[ServerlessConfig, ...]
    waves: int
    steps: int
    worst: Estimate
    usual: Estimate
    identity: Identity

    def lines(self) -> list[str]:
        """Say it, a sentence on each line."""
        if not self.configs:
            return [f"will create nothing, and send {self.steps} steps to what stands; the place bills its calls"]
        sizes = ", ".join(f"{memory} MB x {settings}" for memory, settings in self._sizes())
        waves = f" in {self.waves} waves" if self.waves > 1 else ""
        lines = [
            f"will create {_endpoints(len(self.configs))}{waves} ({sizes}) and remove them",
            f"will send at most {self.worst.invocations:,} requests in {self.steps} steps",
        ]
        free = "" if self.identity.kind == "aws" else f"; here it costs nothing ({self.identity.kind})"
        if self.worst.usd is None or self.usual.usd is None:
            return [*lines, f"will cost: unknown ({self.worst.unknown}){free}"]
        most = f"at most {self.worst.usd:,.2f} USD, if each call took the {LONGEST_CALL:g} s that SageMaker allows"
        return [*lines, f"will cost {most}; {self.usual.usd:,.2f} USD at {_USUAL_CALL:g} s each{free}"]

    def _sizes(self) -> list[tuple[int, str]]:
        by_memory: dict[int, list[str]] = {}
        for config in self.configs:
            by_memory.setdefault(config.memory_mb, []).append(str(config.max_concurrency))
        return [(memory, f"MaxConcurrency {'/'.join(settings)}") for memory, settings in by_memory.items()]

    def refuse_enormous(self, most: int | None) -> None:
        """Refuse a sweep that nobody may have meant.

        Args:
            most: endpoints that are meant; None for what a benchmark needs.

        Raises:
            ConfigError: it has more.
        """
        allowed = MOST_ENDPOINTS if most is None else most
        if len(self.configs) > allowed:
            raise ConfigError(
                f"this would create {_endpoints(len(self.configs))}; {allowed} are allowed",
                hint="if it is meant, give --max-endpoints N, or --yes",
                details=self.lines(),
            )


def foresee(
    steps: Sequence[Step], requests: Sequence[Request], identity: Identity, *, waves: int, prices: PriceBook
) -> Foresight:
    """Bound what steps will create, send and cost.

    Args:
        steps: all that may be executed.
        requests: what is sent; answers are taken to be as large, which nobody knows before.
        identity: where.
        waves: how many times endpoints are deployed.
        prices: where prices are looked up.
    """
    payload = 2.0 * max(len(request.body) for request in requests)
    worst = estimate(steps, prices, identity.region, seconds=LONGEST_CALL, payload=payload)
    usual = estimate(steps, prices, identity.region, seconds=_USUAL_CALL, payload=payload)
    configs = tuple(dict.fromkeys(step.config for step in steps if step.config is not None))
    return Foresight(configs, waves, len(steps), worst, usual, identity)


def _endpoints(count: int) -> str:
    return f"{count} endpoint{'s' if count != 1 else ''}"


class Spending:
    """Counts what a run costs while it goes on, and says when a limit is reached.

    A call is billed for its service time. What is in flight when the limit is reached comes on top, and so do the
    seconds between two looks.

    Args:
        prices: where prices are looked up.
        region: whose prices hold.
        limit: USD.
        on_limit: called once, when the limit is reached.

    Raises:
        ConfigError: a price is unknown, so that no limit can be kept.
    """

    def __init__(self, prices: PriceBook, region: str, *, limit: float, on_limit: Callable[[], None]) -> None:
        execution, data = prices.serverless(region), prices.data(region)
        if isinstance(execution, NoPrice) or isinstance(data, NoPrice):
            unknown = "; ".join(price.reason for price in (execution, data) if isinstance(price, NoPrice))
            raise ConfigError(f"--max-spend cannot be kept: {unknown}", hint="leave it out, or use another region")
        self.usd = 0.0
        self._execution: Price = execution
        self._data: Price = data
        self._limit = limit
        self._on_limit = on_limit

    @property
    def is_over(self) -> bool:
        """True when the limit is reached."""
        return self.usd >= self._limit

    def add(self, config: ServerlessConfig, samples: NDArray[np.void]) -> None:
        """Count what these samples of an endpoint of this configuration cost; refused calls cost nothing."""
        was_over = self.is_over
        billed = samples[is_in(Column.OK, samples) | is_in(Column.FAILED, samples)]
        seconds = float((billed["done"] - billed["sent"]).sum())
        size = int(billed["request_bytes"].sum(dtype=np.int64) + billed["response_bytes"].sum(dtype=np.int64))
        self.usd += self._execution.usd * (config.memory_mb / 1024) * seconds + self._data.usd * size / GB
        if self.is_over and not was_over:
            self._on_limit()
