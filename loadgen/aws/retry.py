"""Pace: how long to wait for what, and how often to ask."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

_MAX_BACKOFF_FACTOR = 8.0  # times the poll


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait for what, all in seconds.

    Args:
        poll_interval: between two looks at an endpoint, give or take a third.
        deploy_timeout: from Create to InService at most.
        consistency_timeout: until a config that was just created must be visible to CreateEndpoint.
        retry_timeout: for a control plane that throttles or cannot be reached.
        create_settle_time: until a Create whose answer was lost must have shown its effect.
        delete_timeout: for one deletion, refusals while the endpoint is changing included.
        outage_timeout: for a deletion while nothing can be reached.
    """

    poll_interval: float = 3.0
    deploy_timeout: float = 1800.0
    consistency_timeout: float = 60.0
    retry_timeout: float = 120.0
    create_settle_time: float = 15.0
    delete_timeout: float = 900.0
    outage_timeout: float = 900.0

    def backoff_delays(self, timeout: float, rng: random.Random) -> Iterator[float]:
        """Yield jittered pauses, each about twice the last, until they would exceed the budget."""
        deadline, pause = time.perf_counter() + timeout, self.poll_interval
        while (now := time.perf_counter()) < deadline:
            yield min(pause * rng.uniform(0.5, 1.0), deadline - now)
            pause = min(2 * pause, _MAX_BACKOFF_FACTOR * self.poll_interval)

    def poll_delays(self, timeout: float, rng: random.Random) -> Iterator[float]:
        """Yield even pauses, give or take a third, until they would exceed the budget."""
        deadline = time.perf_counter() + timeout
        while (now := time.perf_counter()) < deadline:
            yield min(self.poll_interval * rng.uniform(2 / 3, 4 / 3), deadline - now)


# For an emulator, whose deployments and deletions take a fraction of their time.
EMULATOR_RETRY_POLICY = RetryPolicy(
    poll_interval=0.1,
    deploy_timeout=300.0,
    consistency_timeout=5.0,
    retry_timeout=3.0,
    create_settle_time=1.0,
    delete_timeout=300.0,
    outage_timeout=1.0,
)
