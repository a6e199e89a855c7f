"""The forecast of a run: what it creates, sends and costs at most, known before it creates anything. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.estimate import Estimate, estimate_cost
from loadgen.analysis.prices import PriceBook
from loadgen.errors import ConfigError
from loadgen.interfaces import Identity
from loadgen.workload.load import OpenLoop
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import Step

# SageMaker ends an invocation after this many seconds. Source: SageMaker developer guide, "Serverless Inference".
INVOCATION_TIMEOUT = 60.0
_TYPICAL_CALL = 1.0
# A benchmark of all six sizes and a dozen MaxConcurrency settings needs fewer; also AWS's default quota.
DEFAULT_MAX_ENDPOINTS = 50


@dataclass(frozen=True, slots=True)
class RunForecast:
    """Upper bounds of what a run creates, sends and costs.

    Args:
        configs: the configuration of each endpoint to deploy.
        waves: how many groups of endpoints are deployed one after the other, to fit the account's quotas.
        steps: how many steps are executed.
        worst_case: the cost when every call takes `INVOCATION_TIMEOUT` seconds.
        typical_case: the cost when every call takes one second.
        identity: the account.
        load_duration: seconds for which the steps send at least, one after the other; 0 when only counts limit them.
    """

    configs: tuple[ServerlessConfig, ...]
    waves: int
    steps: int
    worst_case: Estimate
    typical_case: Estimate
    identity: Identity
    load_duration: float = 0.0

    def lines(self) -> list[str]:
        """Return the forecast as lines of text."""
        lasts = f"will send for at least {_duration(self.load_duration)}" if self.load_duration else ""
        if not self.configs:
            line = f"will create no resources; will run {self.steps} steps against the existing endpoint (billed)"
            return [line, *filter(None, [lasts])]
        sizes = ", ".join(f"{memory} MB x {settings}" for memory, settings in self._sizes())
        waves = f" in {self.waves} waves" if self.waves > 1 else ""
        lines = [
            f"will create {_endpoints(len(self.configs))}{waves} ({sizes}) and delete them",
            f"will send at most {self.worst_case.invocations:,} requests in {self.steps} steps",
            *filter(None, [lasts]),
        ]
        free = "" if self.identity.kind == "aws" else f"; free on this target ({self.identity.kind})"
        if self.worst_case.usd is None or self.typical_case.usd is None:
            return [*lines, f"will cost: unknown ({self.worst_case.unavailable_reason}){free}"]
        most = f"at most {self.worst_case.usd:,.2f} USD (every call at SageMaker's limit of {INVOCATION_TIMEOUT:g} s)"
        typical = f"{self.typical_case.usd:,.2f} USD if every call takes {_TYPICAL_CALL:g} s"
        return [*lines, f"will cost {most}; {typical}{free}"]

    def _sizes(self) -> list[tuple[int, str]]:
        by_memory: dict[int, list[str]] = {}
        for config in self.configs:
            by_memory.setdefault(config.memory_mb, []).append(str(config.max_concurrency))
        return [(memory, f"MaxConcurrency {'/'.join(settings)}") for memory, settings in by_memory.items()]

    def check_endpoint_limit(self, max_endpoints: int | None) -> None:
        """Check the number of endpoints.

        Args:
            max_endpoints: how many are allowed; None for `DEFAULT_MAX_ENDPOINTS`.

        Raises:
            ConfigError: there are more.
        """
        allowed = DEFAULT_MAX_ENDPOINTS if max_endpoints is None else max_endpoints
        if len(self.configs) > allowed:
            raise ConfigError(
                f"the run would create {_endpoints(len(self.configs))}, the limit is {allowed}",
                hint="to allow more, give --max-endpoints N or --yes",
                details=self.lines(),
            )


def forecast_run(
    steps: Sequence[Step],
    requests: Sequence[Request],
    identity: Identity,
    *,
    waves: int,
    prices: PriceBook,
    together: bool = False,
) -> RunForecast:
    """Return the forecast of steps.

    Args:
        steps: every step that may be executed.
        requests: the payloads; each response is assumed to be as large as the largest of them.
        identity: the account.
        waves: how many groups of endpoints are deployed one after the other.
        prices: the prices to use.
        together: True when the steps run at the same time.
    """
    payload = 2.0 * max(len(request.body) for request in requests)
    worst = estimate_cost(steps, prices, identity.region, call_duration=INVOCATION_TIMEOUT, payload_bytes=payload)
    typical = estimate_cost(steps, prices, identity.region, call_duration=_TYPICAL_CALL, payload_bytes=payload)
    endpoints = dict.fromkeys((step.config, step.variant) for step in steps)
    configs = tuple(config for config, _ in endpoints if config is not None)
    durations = [_schedule_duration(step) for step in steps]
    lasts = max(durations, default=0.0) if together else math.fsum(durations)
    return RunForecast(configs, waves, len(steps), worst, typical, identity, lasts)


def _schedule_duration(step: Step) -> float:
    """Return the seconds for which a step sends whatever the target does; 0 for a count of requests."""
    load = step.load
    if isinstance(load, OpenLoop):
        return load.arrivals.duration if load.duration is None else min(load.duration, load.arrivals.duration)
    return load.duration if load.duration is not None and load.count is None else 0.0


def _duration(seconds: float) -> str:
    """Return a duration as text, such as `25 min` or `41.7 days`."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.3g} {unit}"
    return f"{seconds:.3g} s"


def _endpoints(count: int) -> str:
    return f"{count} endpoint{'s' if count != 1 else ''}"
