"""RetryPolicy: timeouts, poll intervals and backoff of control-plane calls."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

_MAX_BACKOFF_FACTOR = 8.0  # times the poll interval


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Timeouts and intervals of control-plane calls, in seconds.

    Args:
        poll_interval: between two status polls, plus or minus a third.
        deploy_timeout: from CreateEndpoint to InService.
        consistency_timeout: until a new endpoint configuration must be visible to CreateEndpoint.
        retry_timeout: of retries while the control plane throttles or cannot be reached.
        create_settle_time: until a Create whose response was lost must have taken effect.
        delete_timeout: of one deletion, including retries while the endpoint is changing.
        outage_timeout: of a deletion while the control plane cannot be reached.
    """

    poll_interval: float = 3.0
    deploy_timeout: float = 1800.0
    consistency_timeout: float = 60.0
    retry_timeout: float = 120.0
    create_settle_time: float = 15.0
    delete_timeout: float = 900.0
    outage_timeout: float = 900.0

    def backoff_delays(self, timeout: float, rng: random.Random) -> Iterator[float]:
        """Yield jittered delays, each about twice the last, until `timeout` seconds have passed."""
        deadline, pause = time.perf_counter() + timeout, self.poll_interval
        while (now := time.perf_counter()) < deadline:
            yield min(pause * rng.uniform(0.5, 1.0), deadline - now)
            pause = min(2 * pause, _MAX_BACKOFF_FACTOR * self.poll_interval)

    def poll_delays(self, timeout: float, rng: random.Random) -> Iterator[float]:
        """Yield `poll_interval` plus or minus a third, until `timeout` seconds have passed."""
        deadline = time.perf_counter() + timeout
        while (now := time.perf_counter()) < deadline:
            yield min(self.poll_interval * rng.uniform(2 / 3, 4 / 3), deadline - now)


# For an emulator, which deploys and deletes faster than AWS.
EMULATOR_RETRY_POLICY = RetryPolicy(
    poll_interval=0.1,
    deploy_timeout=300.0,
    consistency_timeout=5.0,
    retry_timeout=3.0,
    create_settle_time=1.0,
    delete_timeout=300.0,
    outage_timeout=1.0,
)
