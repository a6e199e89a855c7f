"""The fleet of instances of a serverless endpoint: it admits, holds or throttles requests.

A state machine without a clock or I/O: every call takes `now` (seconds on any one axis), and random draws come from a
seeded source. The server waits and responds as the fleet decides.

The rules, which fit every public measurement that was found:
an instance serves one request at a time; an idle instance serves at once; if there is none, a new instance starts below
MaxConcurrency and the request is held for it; at MaxConcurrency the request is throttled at once. Idle instances expire
one by one; provisioned instances do not. An endpoint has one warm instance when it comes into service.
"""

import math
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from loadgen.emulator.behaviour.ledger import InvocationResult
from loadgen.emulator.behaviour.profile import Profile


@dataclass(slots=True, eq=False)
class Instance:
    """One copy of the container, which serves one request at a time."""

    is_provisioned: bool
    expires: float = math.inf


class Admission(NamedTuple):
    """The fleet's decision for one request that it admits.

    All durations are seconds. `completes_at` is the instant of the response: arrival + cold_start_wait + overhead +
    model_latency. `setup_time` is ModelSetupTime, 0 when warm. `utilization` is concurrency over MaxConcurrency, this
    request included.
    """

    instance: Instance
    result: InvocationResult
    cold_start_wait: float
    setup_time: float
    overhead: float
    model_latency: float
    completes_at: float
    utilization: float
    is_cold: bool
    memory_percent: float


class Fleet:
    """The instances of one endpoint in one configuration.

    Args:
        profile: behaviour of the model.
        memory_mb: MemorySizeInMB.
        max_concurrency: maximum number of requests in flight.
        provisioned: number of instances that do not expire.
        rng: seeded random source; draws are assigned in the order of arrivals.
        now: instant at which the endpoint came into service.
        idle_lifetime: minimum and maximum lifetime of an idle instance, seconds.
        time_scale: factor by which cold starts are shorter than in the profile.
        invocation_limit: maximum time in the container per request, seconds.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        memory_mb: int,
        max_concurrency: int,
        provisioned: int = 0,
        rng: Random,
        now: float,
        idle_lifetime: tuple[float, float] = (300.0, 600.0),
        time_scale: float = 1.0,
        invocation_limit: float = 60.0,
    ) -> None:
        self.profile = profile
        self.memory_mb = memory_mb
        self.max_concurrency = max_concurrency
        self.provisioned = provisioned
        self.busy = 0
        self.busy_provisioned = 0
        self._rng = rng
        self._idle_rng = Random(rng.random())  # noqa: S311  a simulation; apart, so that expiry does not shift latencies
        self._idle_lifetime = idle_lifetime
        self._time_scale = time_scale
        self._invocation_limit = invocation_limit
        self._model_latency = profile.latency_at(memory_mb)
        # Both are stacks: the instance released last serves first, so that instances that are not needed expire.
        self._idle: list[Instance] = []
        self._idle_provisioned = [Instance(is_provisioned=True) for _ in range(provisioned)]
        self._next_expiry = math.inf
        if not provisioned:
            self._to_idle(Instance(is_provisioned=False), now)

    def instance_count(self, now: float) -> int:
        """Count the instances, starting ones included."""
        self._expire_idle(now)
        return self.busy + len(self._idle) + len(self._idle_provisioned)

    def admit(self, now: float) -> Admission | None:
        """Admit a request, or return None if it is throttled. O(1) except for expiry, no await."""
        if now >= self._next_expiry:
            self._expire_idle(now)
        if self.busy >= self.max_concurrency:
            return None
        is_cold = False
        if self._idle_provisioned:
            instance = self._idle_provisioned.pop()
        elif self._idle:
            instance = self._idle.pop()
        else:
            instance = Instance(is_provisioned=False)
            is_cold = True
        self.busy += 1
        self.busy_provisioned += instance.is_provisioned
        return self._make_admission(instance, now, is_cold=is_cold)

    def release(self, admission: Admission, now: float) -> None:
        """Free the instance of an admission, before its response is sent."""
        instance = admission.instance
        self.busy -= 1
        if instance.is_provisioned:
            self.busy_provisioned -= 1
            if self.busy_provisioned + len(self._idle_provisioned) < self.provisioned:
                self._idle_provisioned.append(instance)
                return
            instance.is_provisioned = False
        count = self.busy + len(self._idle) + len(self._idle_provisioned)
        if count < self.max_concurrency:
            self._to_idle(instance, now)

    def resize(self, max_concurrency: int, provisioned: int, now: float) -> None:
        """Change the two capacities of a running fleet; requests in flight are unaffected."""
        self.max_concurrency = max_concurrency
        self.provisioned = provisioned
        missing = provisioned - self.busy_provisioned - len(self._idle_provisioned)
        self._idle_provisioned.extend(Instance(is_provisioned=True) for _ in range(missing))
        del self._idle_provisioned[max(0, provisioned - self.busy_provisioned) :]
        self._expire_idle(now)
        spare = max_concurrency - self.busy - len(self._idle_provisioned)
        if len(self._idle) > max(0, spare):
            del self._idle[: len(self._idle) - max(0, spare)]

    def _make_admission(self, instance: Instance, now: float, *, is_cold: bool) -> Admission:
        profile = self.profile
        rng = self._rng
        wait = setup = 0.0
        if is_cold:
            wait = profile.cold_start * math.exp(profile.cold_jitter * rng.gauss(0.0, 1.0)) / self._time_scale
            setup = wait * profile.setup_ratio
        overhead = _lognormal(rng, profile.overhead, profile.overhead_jitter)
        model = _lognormal(rng, self._model_latency, profile.jitter)
        result = InvocationResult.SUCCEEDED
        memory_percent = 100.0 * profile.memory_used_mb / self.memory_mb
        if memory_percent > 100.0:
            result, memory_percent = InvocationResult.OUT_OF_MEMORY, 100.0
        elif model > self._invocation_limit:
            result, model = InvocationResult.TIMED_OUT, self._invocation_limit
        return Admission(
            instance=instance,
            result=result,
            cold_start_wait=wait,
            setup_time=setup,
            overhead=overhead,
            model_latency=model,
            completes_at=now + wait + overhead + model,
            utilization=self.busy / self.max_concurrency,
            is_cold=is_cold,
            memory_percent=memory_percent,
        )

    def _to_idle(self, instance: Instance, now: float) -> None:
        instance.expires = now + self._idle_rng.uniform(*self._idle_lifetime)
        self._next_expiry = min(self._next_expiry, instance.expires)
        self._idle.append(instance)

    def _expire_idle(self, now: float) -> None:
        self._idle = [instance for instance in self._idle if instance.expires > now]
        self._next_expiry = min((instance.expires for instance in self._idle), default=math.inf)


def _lognormal(rng: Random, mean: float, sigma: float) -> float:
    # The mean of a lognormal is exp(mu + sigma^2 / 2).
    if sigma == 0.0 or mean == 0.0:
        return mean
    return mean * math.exp(sigma * rng.gauss(0.0, 1.0) - sigma * sigma / 2)
