"""A simulated serverless endpoint, one event at a time, as the source of example runs.

An instance serves one request at a time; a new instance starts cold; a request that finds neither is throttled. Seeded.
"""

import heapq
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.sample import SAMPLE

OVERHEAD = 0.012  # of the endpoint's latency: what SageMaker adds to a warm call
NETWORK = 0.006  # between the client and the endpoint
THROTTLE_LATENCY = 0.009  # a throttled call returns at once
COLD_START = 6.0  # a cold start
REQUEST_BYTES = 29_000
RESPONSE_BYTES = 480


class Simulation(NamedTuple):
    """Result of a simulation: the samples, and which of them met a cold start."""

    samples: NDArray[np.void]
    cold: NDArray[np.bool_]
    model: NDArray[np.float64]  # seconds in the container; NaN where it was not reached
    overhead: NDArray[np.float64]


def sample_record(
    seq: int,
    scheduled: float,
    sent: float,
    done: float,
    outcome: Outcome = Outcome.OK,
    *,
    code: int = 0,
    flags: int = 0,
    request_bytes: int = REQUEST_BYTES,
    response_bytes: int = RESPONSE_BYTES,
) -> tuple[Any, ...]:
    """Return one record of dtype SAMPLE as a tuple."""
    size = response_bytes if outcome is Outcome.OK else 30
    first = done - 0.0002 if outcome.category in (OutcomeCategory.OK, OutcomeCategory.THROTTLED) else math.nan
    return (seq, scheduled, sent, first, done, request_bytes, size, seq % 7, 0.0, outcome, flags, code, 0)


def simulate(
    *,
    arrivals: Iterable[float] | None = None,
    clients: int = 1,
    count: int = 200,
    max_in_flight: int = 1000,
    max_concurrency: int = 1,
    warm: int = 1,
    service: float = 0.1,
    cold_start: float = COLD_START,
    backoff: float = 0.1,
    failing: Mapping[Outcome, float] | None = None,
    seed: int = 0,
) -> Simulation:
    """Call a simulated endpoint, in a closed loop or at given arrivals; failing: outcome -> share of accepted calls."""
    rng = np.random.default_rng(seed)
    records: list[tuple[Any, ...]] = []
    cold, model, overhead = [], [], []
    free = [0.0] * min(warm, max_concurrency)  # when each instance will be free
    numbers: dict[Outcome, int] = {}
    in_flight: list[float] = []
    # (when, tie, client); clients start together, as the engine lets them
    due = [(0.0, i, i) for i in range(clients)] if arrivals is None else [(t, i, -1) for i, t in enumerate(arrivals)]
    ties = itertools.count(len(due))
    heapq.heapify(due)
    while due and (arrivals is not None or len(records) < count):
        at, _, client = heapq.heappop(due)
        sent = at + 0.0002 + rng.exponential(0.00005)
        while in_flight and in_flight[0] <= at:
            heapq.heappop(in_flight)
        is_cold, inside, added = False, math.nan, math.nan
        if len(in_flight) >= max_in_flight:
            outcome, sent, done = Outcome.DROPPED, math.nan, at
        else:
            idle = [i for i, until in enumerate(free) if until <= sent]
            if not idle and len(free) >= max_concurrency:
                outcome, done = Outcome.THROTTLED, sent + THROTTLE_LATENCY * rng.uniform(0.8, 1.4)
            else:
                is_cold = not idle
                outcome = _draw_outcome(rng, failing or {})
                inside = max(0.002, service - OVERHEAD) * rng.lognormal(-0.00320, 0.08)
                added = OVERHEAD * rng.lognormal(-0.005, 0.1) + is_cold * cold_start * rng.lognormal(0, 0.05)
                done = sent + inside + added + NETWORK * rng.lognormal(-0.02, 0.2)
                if is_cold:
                    free.append(done)
                else:
                    free[idle[0]] = done
            heapq.heappush(in_flight, done)
        number = 0
        if outcome.category in (OutcomeCategory.THROTTLED, OutcomeCategory.FAILED):
            number = numbers.setdefault(outcome, len(numbers) + 1)
        records.append(sample_record(len(records), at, sent, done, outcome, code=number))
        cold.append(is_cold)
        model.append(inside)
        overhead.append(added)
        if client >= 0:
            heapq.heappush(due, (done + (0.0 if outcome is Outcome.OK else backoff), next(ties), client))
    samples = np.array(records, dtype=SAMPLE)
    order = np.argsort(samples["done"], kind="stable")  # the engine records what is done, in that order
    return Simulation(samples[order], np.array(cold, bool)[order], np.array(model)[order], np.array(overhead)[order])


def _draw_outcome(rng: np.random.Generator, failing: Mapping[Outcome, float]) -> Outcome:
    at = rng.random()
    for outcome, share in failing.items():
        at -= share
        if at < 0:
            return outcome
    return Outcome.OK
