"""Pace: how long to wait for what, and how often to ask."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

_BACKOFF_LIMIT = 8.0  # times the poll


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait for what, all in seconds.

    Args:
        poll: between two looks at an endpoint, give or take a third.
        deploy: from Create to InService at most.
        visible: until a config that was just created must be visible to CreateEndpoint.
        patience: for a control plane that throttles or cannot be reached.
        settle: until a Create whose answer was lost must have shown its effect.
        removal: for one deletion, refusals while the endpoint is changing included.
        outage: for a deletion while nothing can be reached.
    """

    poll: float = 3.0
    deploy: float = 1800.0
    visible: float = 60.0
    patience: float = 120.0
    settle: float = 15.0
    removal: float = 900.0
    outage: float = 900.0

    def pauses(self, budget: float, rng: random.Random) -> Iterator[float]:
        """Yield jittered pauses, each about twice the last, until they would exceed the budget."""
        deadline, pause = time.perf_counter() + budget, self.poll
        while (now := time.perf_counter()) < deadline:
            yield min(pause * rng.uniform(0.5, 1.0), deadline - now)
            pause = min(2 * pause, _BACKOFF_LIMIT * self.poll)

    def steps(self, budget: float, rng: random.Random) -> Iterator[float]:
        """Yield even pauses, give or take a third, until they would exceed the budget."""
        deadline = time.perf_counter() + budget
        while (now := time.perf_counter()) < deadline:
            yield min(self.poll * rng.uniform(2 / 3, 4 / 3), deadline - now)


# For an emulator, whose deployments and deletions take a fraction of their time.
EMULATED = Pace(poll=0.1, deploy=300.0, visible=5.0, patience=3.0, settle=1.0, removal=300.0, outage=1.0)
