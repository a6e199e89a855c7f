"""Upper bound of the cost of a planned benchmark. Pure arithmetic on steps and a price book."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.cost import BYTES_PER_GB
from loadgen.analysis.prices import Price, PriceBook, PriceUnavailable
from loadgen.workload.load import OpenLoop
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class Estimate:
    """Upper bound of the cost of a planned benchmark.

    Args:
        invocations: maximum number of billed calls.
        usd: maximum cost; None if a price is unknown.
        assumptions: assumed duration and size of a call, human-readable.
        unavailable_reason: why there is no cost; empty if there is one.
    """

    invocations: int
    usd: float | None
    assumptions: str
    unavailable_reason: str = ""


def estimate_cost(
    steps: Sequence[Step], prices: PriceBook, region: str, *, call_duration: float = 1.0, payload_bytes: float = 0.0
) -> Estimate:
    """Return the maximum cost of steps.

    Args:
        steps: the planned steps; a step on an existing endpoint adds no cost.
        prices: the price book.
        region: AWS region.
        call_duration: billed seconds per call; the timeout for the worst case. A step with a duration is billed for at
            most the time that all its slots can be busy.
        payload_bytes: bytes in and out per call.

    Example:
        >>> from loadgen.workload.load import ClosedLoop
        >>> from loadgen.workload.serverless_config import ServerlessConfig
        >>> steps = [Step(ServerlessConfig(2048), ClosedLoop(1, count=1000))]
        >>> print(round(estimate_cost(steps, PriceBook.builtin(), "us-east-1", call_duration=0.5).usd, 4))
        0.02
    """
    execution, data = prices.serverless(region), prices.data(region)
    reservation, provisioned = prices.provisioned_reservation(region), prices.provisioned_execution(region)
    assumptions = f"{call_duration:g} s billed and {payload_bytes:,.0f} bytes in and out per call, no call throttled"
    calls, total, unknown = 0, 0.0, list[str]()
    for step in steps:
        if step.config is None:
            continue
        count, busy, lasts = _upper_bounds(step, call_duration)
        calls += count
        needed = [execution, data, *((reservation, provisioned) if step.config.provisioned_concurrency else ())]
        unknown += [price.reason for price in needed if isinstance(price, PriceUnavailable)]
        if isinstance(execution, Price) and isinstance(data, Price):
            total += (
                execution.usd * (step.config.memory_mb / 1024) * busy + data.usd * count * payload_bytes / BYTES_PER_GB
            )
        if isinstance(reservation, Price) and step.config.provisioned_concurrency:
            kept = step.config.memory_mb / 1024 * step.config.provisioned_concurrency
            total += reservation.usd * kept * lasts
    reasons = "; ".join(dict.fromkeys(unknown))
    return Estimate(calls, None if reasons else total, assumptions, reasons)


def _upper_bounds(step: Step, call_duration: float) -> tuple[int, float, float]:
    """Return the maximum of calls, billed seconds and seconds of wall time of a step."""
    load = step.load
    slots = step.config.max_concurrency if step.config is not None else load.connections
    if isinstance(load, OpenLoop):
        lasts = (load.duration or load.arrivals.duration) + call_duration
        arrivals = sum(1 for _ in load)
        return arrivals, min(arrivals * call_duration, slots * lasts), lasts
    by_count = math.inf if load.count is None else load.count
    if load.duration is None:
        return int(by_count), by_count * call_duration, by_count * call_duration
    # Each client starts calls one after the other until the end of the duration.
    by_clock = load.clients * (math.floor(load.duration / call_duration) + 1)
    lasts = min(by_count * call_duration, load.duration + call_duration)
    return int(min(by_count, by_clock)), min(by_count * call_duration, min(load.clients, slots) * lasts), lasts
