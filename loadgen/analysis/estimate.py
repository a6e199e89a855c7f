"""Estimate: what a planned benchmark can cost at most, before anything is sent.

Pure arithmetic over steps and a price book; what was measured costs is cost.py's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.cost import BYTES_PER_GB
from loadgen.analysis.prices import Price, PriceBook, PriceUnavailable
from loadgen.workload.load import OpenLoop
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a planned benchmark can cost at most.

    Args:
        invocations: calls that can be billed.
        usd: at most; None when a price is unknown.
        assumptions: what was assumed, in words.
        unavailable_reason: why there is no figure; empty when there is.
    """

    invocations: int
    usd: float | None
    assumptions: str
    unavailable_reason: str = ""


def estimate_cost(
    steps: Sequence[Step], prices: PriceBook, region: str, *, call_duration: float = 1.0, payload_bytes: float = 0.0
) -> Estimate:
    """Bound the cost of steps before they run.

    Args:
        steps: what is planned; a place that is not deployed for it costs nothing more than it does already.
        prices: where prices are looked up.
        region: where it will run.
        call_duration: billed for each call; the timeout for the worst case. A step with a duration is billed no longer than
            all its slots can be busy.
        payload_bytes: bytes in and out of each call.

    Example:
        >>> from loadgen.workload.load import ClosedLoop
        >>> from loadgen.workload.serverless_config import ServerlessConfig
        >>> steps = [Step(ServerlessConfig(2048), ClosedLoop(1, count=1000))]
        >>> print(round(estimate_cost(steps, PriceBook.builtin(), "us-east-1", call_duration=0.5).usd, 4))
        0.02
    """
    execution, data = prices.serverless(region), prices.data(region)
    reservation, provisioned = prices.provisioned_reservation(region), prices.provisioned_execution(region)
    assumed = f"{call_duration:g} s billed and {payload_bytes:,.0f} bytes in and out for each call, every call served"
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
    return Estimate(calls, None if reasons else total, assumed, reasons)


def _upper_bounds(step: Step, call_duration: float) -> tuple[int, float, float]:
    """Return the calls of a step at this many seconds each, the most seconds it is billed for, and that it lasts."""
    load = step.load
    slots = step.config.max_concurrency if step.config is not None else load.connections
    if isinstance(load, OpenLoop):
        lasts = (load.duration or load.arrivals.duration) + call_duration
        arrivals = sum(1 for _ in load)
        return arrivals, min(arrivals * call_duration, slots * lasts), lasts
    by_count = math.inf if load.count is None else load.count
    if load.duration is None:
        return int(by_count), by_count * call_duration, by_count * call_duration
    # Each client can begin a call until the end, one after the other.
    by_clock = load.clients * (math.floor(load.duration / call_duration) + 1)
    lasts = min(by_count * call_duration, load.duration + call_duration)
    return int(min(by_count, by_clock)), min(by_count * call_duration, min(load.clients, slots) * lasts), lasts
