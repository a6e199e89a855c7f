"""Foresight: what a scenario will create, send and cost at most, told before anything is created. Pure.

And what was spent while it goes on, for whoever set a limit. Prices are prices.py's, the bound is estimate.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.estimate import Estimate, estimate_cost
from loadgen.analysis.prices import PriceBook
from loadgen.errors import ConfigError
from loadgen.interfaces import Identity
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step

# A call is cut at this many seconds. Source: SageMaker developer guide, "Serverless Inference", processing time.
INVOCATION_TIMEOUT = 60.0
_TYPICAL_CALL = 1.0
# More than a benchmark of all six sizes and a dozen settings of MaxConcurrency needs; also AWS's default quota.
DEFAULT_MAX_ENDPOINTS = 50


@dataclass(frozen=True, slots=True)
class RunForecast:
    """What a scenario will do at most.

    Args:
        configs: what will be deployed, each once.
        waves: how many times endpoints are deployed, since no more fit the quotas at once.
        steps: how many steps will be executed.
        worst_case: the cost when each call takes as long as SageMaker lets it.
        typical_case: the cost when each call takes a second.
        identity: where.
    """

    configs: tuple[ServerlessConfig, ...]
    waves: int
    steps: int
    worst_case: Estimate
    typical_case: Estimate
    identity: Identity

    def lines(self) -> list[str]:
        """Say it, a sentence on each line."""
        if not self.configs:
            return [f"will create nothing, and send {self.steps} steps to what stands; the place bills its calls"]
        sizes = ", ".join(f"{memory} MB x {settings}" for memory, settings in self._sizes())
        waves = f" in {self.waves} waves" if self.waves > 1 else ""
        lines = [
            f"will create {_endpoints(len(self.configs))}{waves} ({sizes}) and remove them",
            f"will send at most {self.worst_case.invocations:,} requests in {self.steps} steps",
        ]
        free = "" if self.identity.kind == "aws" else f"; here it costs nothing ({self.identity.kind})"
        if self.worst_case.usd is None or self.typical_case.usd is None:
            return [*lines, f"will cost: unknown ({self.worst_case.unavailable_reason}){free}"]
        most = f"at most {self.worst_case.usd:,.2f} USD, if each call took the {INVOCATION_TIMEOUT:g} s that SageMaker allows"
        return [*lines, f"will cost {most}; {self.typical_case.usd:,.2f} USD at {_TYPICAL_CALL:g} s each{free}"]

    def _sizes(self) -> list[tuple[int, str]]:
        by_memory: dict[int, list[str]] = {}
        for config in self.configs:
            by_memory.setdefault(config.memory_mb, []).append(str(config.max_concurrency))
        return [(memory, f"MaxConcurrency {'/'.join(settings)}") for memory, settings in by_memory.items()]

    def check_endpoint_limit(self, max_endpoints: int | None) -> None:
        """Refuse a sweep that nobody may have meant.

        Args:
            max_endpoints: endpoints that are meant; None for what a benchmark needs.

        Raises:
            ConfigError: it has more.
        """
        allowed = DEFAULT_MAX_ENDPOINTS if max_endpoints is None else max_endpoints
        if len(self.configs) > allowed:
            raise ConfigError(
                f"this would create {_endpoints(len(self.configs))}; {allowed} are allowed",
                hint="if it is meant, give --max-endpoints N, or --yes",
                details=self.lines(),
            )


def forecast_run(
    steps: Sequence[Step], requests: Sequence[Request], identity: Identity, *, waves: int, prices: PriceBook
) -> RunForecast:
    """Bound what steps will create, send and cost.

    Args:
        steps: all that may be executed.
        requests: what is sent; answers are taken to be as large, which nobody knows before.
        identity: where.
        waves: how many times endpoints are deployed.
        prices: where prices are looked up.
    """
    payload = 2.0 * max(len(request.body) for request in requests)
    worst = estimate_cost(steps, prices, identity.region, call_duration=INVOCATION_TIMEOUT, payload_bytes=payload)
    usual = estimate_cost(steps, prices, identity.region, call_duration=_TYPICAL_CALL, payload_bytes=payload)
    configs = tuple(dict.fromkeys(step.config for step in steps if step.config is not None))
    return RunForecast(configs, waves, len(steps), worst, usual, identity)


def _endpoints(count: int) -> str:
    return f"{count} endpoint{'s' if count != 1 else ''}"
