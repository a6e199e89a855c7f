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

from loadgen.emulator.behaviour.ledger import Ending
from loadgen.emulator.behaviour.profile import Profile


@dataclass(slots=True, eq=False)
class Instance:
    """One copy of the container: serves one request at a time."""

    is_provisioned: bool
    expires: float = math.inf


class Admission(NamedTuple):
    """What the fleet decided for one request that it took.

    All durations are seconds. `due` is the instant of the answer: arrival + held + overhead + model. `setup` is
    ModelSetupTime, 0 when warm. `utilization` is concurrency over MaxConcurrency, this request included.
    """

    instance: Instance
    ending: Ending
    held: float
    setup: float
    overhead: float
    model: float
    due: float
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
        idle: an idle instance lives between these two numbers of seconds.
        time_scale: cold starts take this many times less than the profile says.
        limit: seconds the container may take for one request.
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
        idle: tuple[float, float] = (300.0, 600.0),
        time_scale: float = 1.0,
        limit: float = 60.0,
    ) -> None:
        self.profile = profile
        self.memory_mb = memory_mb
        self.max_concurrency = max_concurrency
        self.provisioned = provisioned
        self.busy = 0
        self.busy_provisioned = 0
        self._rng = rng
        self._idle_rng = Random(rng.random())  # noqa: S311  a simulation; kept apart so that decay shifts no latency
        self._idle_range = idle
        self._time_scale = time_scale
        self._limit = limit
        self._latency = profile.latency_at(memory_mb)
        # Both are stacks: the last to be released serves first, so that what is not needed grows old and goes.
        self._idle: list[Instance] = []
        self._idle_provisioned = [Instance(is_provisioned=True) for _ in range(provisioned)]
        self._next_expiry = math.inf
        if not provisioned:
            self._park(Instance(is_provisioned=False), now)

    def instances(self, now: float) -> int:
        """Count the instances that stand, starting ones included."""
        self._decay(now)
        return self.busy + len(self._idle) + len(self._idle_provisioned)

    def arrive(self, now: float) -> Admission | None:
        """Admit a request, or return None: refused, at once. O(1) but for decay; no await."""
        if now >= self._next_expiry:
            self._decay(now)
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
        return self._admit(instance, now, is_cold=is_cold)

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
            self._park(instance, now)

    def resize(self, max_concurrency: int, provisioned: int, now: float) -> None:
        """Change the two capacities of a running fleet; what is in flight stays."""
        self.max_concurrency = max_concurrency
        self.provisioned = provisioned
        missing = provisioned - self.busy_provisioned - len(self._idle_provisioned)
        self._idle_provisioned.extend(Instance(is_provisioned=True) for _ in range(missing))
        del self._idle_provisioned[max(0, provisioned - self.busy_provisioned) :]
        self._decay(now)
        spare = max_concurrency - self.busy - len(self._idle_provisioned)
        if len(self._idle) > max(0, spare):
            del self._idle[: len(self._idle) - max(0, spare)]

    def _admit(self, instance: Instance, now: float, *, is_cold: bool) -> Admission:
        profile = self.profile
        rng = self._rng
        held = setup = 0.0
        if is_cold:
            held = profile.cold_start * math.exp(profile.cold_jitter * rng.gauss(0.0, 1.0)) / self._time_scale
            setup = held * profile.setup_ratio
        overhead = _spread(rng, profile.overhead, profile.overhead_jitter)
        model = _spread(rng, self._latency, profile.jitter)
        ending = Ending.ANSWERED
        memory_percent = 100.0 * profile.memory_used_mb / self.memory_mb
        if memory_percent > 100.0:
            ending, memory_percent = Ending.OUT_OF_MEMORY, 100.0
        elif model > self._limit:
            ending, model = Ending.TIMED_OUT, self._limit
        return Admission(
            instance=instance,
            ending=ending,
            held=held,
            setup=setup,
            overhead=overhead,
            model=model,
            due=now + held + overhead + model,
            utilization=self.busy / self.max_concurrency,
            is_cold=is_cold,
            memory_percent=memory_percent,
        )

    def _park(self, instance: Instance, now: float) -> None:
        instance.expires = now + self._idle_rng.uniform(*self._idle_range)
        self._next_expiry = min(self._next_expiry, instance.expires)
        self._idle.append(instance)

    def _decay(self, now: float) -> None:
        self._idle = [instance for instance in self._idle if instance.expires > now]
        self._next_expiry = min((instance.expires for instance in self._idle), default=math.inf)


def _spread(rng: Random, mean: float, sigma: float) -> float:
    # A lognormal of this mean: its logarithm is centred half a variance lower.
    if sigma == 0.0 or mean == 0.0:
        return mean
    return mean * math.exp(sigma * rng.gauss(0.0, 1.0) - sigma * sigma / 2)
