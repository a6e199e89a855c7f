"""The model of a serverless endpoint: a fleet of instances that admits, holds or refuses, and the ledger of it all.

A state machine without a clock: every call is handed `now` (seconds on any one axis) and the fleet a seeded random
source. It decides; the server carries out. No asyncio, no sockets, no AWS shapes here.

The rules (they fit every public measurement we found):
one request at a time for each instance; a free warm instance serves at once; else, below MaxConcurrency, a new one
starts and the request is held for it; else the request is refused at once. Idle instances go after a while, one by
one; provisioned ones never. An endpoint is warm, with one instance, when it comes into service.
"""

import math
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from loadgen.emulator.behaviour.ledger import InvocationResult
from loadgen.emulator.behaviour.profile import Profile


@dataclass(slots=True, eq=False)
class Instance:
    """One copy of the container: serves one request at a time."""

    is_provisioned: bool
    expires: float = math.inf


class Admission(NamedTuple):
    """What the fleet decided for one request that it took.

    All durations are seconds. `completes_at` is the instant of the answer: arrival + held + overhead + model. `setup_time` is
    ModelSetupTime, 0 when warm. `utilization` is concurrency over MaxConcurrency, this request included.
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
        profile: how the model behaves.
        memory_mb: MemorySizeInMB.
        max_concurrency: requests in flight at most.
        provisioned: instances that never go cold.
        rng: seeded; the order of arrivals decides who gets which draw.
        now: when the endpoint came into service.
        idle_lifetime: an idle instance lives between these two numbers of seconds.
        time_scale: cold starts take this many times less than the profile says.
        invocation_limit: seconds the container may take for one request.
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
        self._idle_rng = Random(rng.random())  # noqa: S311  a simulation; kept apart so that decay shifts no latency
        self._idle_lifetime = idle_lifetime
        self._time_scale = time_scale
        self._invocation_limit = invocation_limit
        self._model_latency = profile.latency_at(memory_mb)
        # Both are stacks: the last to be released serves first, so that what is not needed grows old and goes.
        self._idle: list[Instance] = []
        self._idle_provisioned = [Instance(is_provisioned=True) for _ in range(provisioned)]
        self._next_expiry = math.inf
        if not provisioned:
            self._to_idle(Instance(is_provisioned=False), now)

    def instance_count(self, now: float) -> int:
        """Count the instances that stand, starting ones included."""
        self._expire_idle(now)
        return self.busy + len(self._idle) + len(self._idle_provisioned)

    def admit(self, now: float) -> Admission | None:
        """Admit a request, or return None: refused, at once. O(1) but for decay; no await."""
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
        """Free the instance of an admission: its answer is about to be sent, or its time is over."""
        instance = admission.instance
        self.busy -= 1
        if instance.is_provisioned:
            self.busy_provisioned -= 1
            if self.busy_provisioned + len(self._idle_provisioned) < self.provisioned:
                self._idle_provisioned.append(instance)
                return
            instance.is_provisioned = False
        standing = self.busy + len(self._idle) + len(self._idle_provisioned)
        if standing < self.max_concurrency:
            self._to_idle(instance, now)

    def resize(self, max_concurrency: int, provisioned: int, now: float) -> None:
        """Change the two capacities of a running fleet; what is in flight stays."""
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
        held = setup = 0.0
        if is_cold:
            held = profile.cold_start * math.exp(profile.cold_jitter * rng.gauss(0.0, 1.0)) / self._time_scale
            setup = held * profile.setup_ratio
        overhead = _lognormal(rng, profile.overhead, profile.overhead_jitter)
        model = _lognormal(rng, self._model_latency, profile.jitter)
        ending = InvocationResult.SUCCEEDED
        memory_percent = 100.0 * profile.memory_used_mb / self.memory_mb
        if memory_percent > 100.0:
            ending, memory_percent = InvocationResult.OUT_OF_MEMORY, 100.0
        elif model > self._invocation_limit:
            ending, model = InvocationResult.TIMED_OUT, self._invocation_limit
        return Admission(
            instance=instance,
            result=ending,
            cold_start_wait=held,
            setup_time=setup,
            overhead=overhead,
            model_latency=model,
            completes_at=now + held + overhead + model,
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
    # A lognormal of this mean: its logarithm is centred half a variance lower.
    if sigma == 0.0 or mean == 0.0:
        return mean
    return mean * math.exp(sigma * rng.gauss(0.0, 1.0) - sigma * sigma / 2)
