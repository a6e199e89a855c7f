"""Estimate: what a planned benchmark can cost at most, before anything is sent.

Pure arithmetic over steps and a price book; what was measured costs is cost.py's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.cost import GB
from loadgen.analysis.prices import NoPrice, Price, PriceBook
from loadgen.workload.load import OpenLoop
from loadgen.workload.step import Step


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a planned benchmark can cost at most.

    Args:
        invocations: calls that can be billed.
        usd: at most; None when a price is unknown.
        assumed: what was assumed, in words.
        unknown: why there is no figure; empty when there is.
    """

    invocations: int
    usd: float | None
    assumed: str
    unknown: str = ""


def estimate(
    steps: Sequence[Step], prices: PriceBook, region: str, *, seconds: float = 1.0, payload: float = 0.0
) -> Estimate:
    """Bound the cost of steps before they run.

    Args:
        steps: what is planned; a place that is not deployed for it costs nothing more than it does already.
        prices: where prices are looked up.
        region: where it will run.
        seconds: billed for each call; the timeout for the worst case. A step with a duration is billed no longer than
            all its slots can be busy.
        payload: bytes in and out of each call.

    Example:
        >>> from loadgen.workload.load import ClosedLoop
        >>> from loadgen.workload.serverless_config import ServerlessConfig
        >>> steps = [Step(ServerlessConfig(2048), ClosedLoop(1, count=1000))]
        >>> print(round(estimate(steps, PriceBook.builtin(), "us-east-1", seconds=0.5).usd, 4))
        0.02
    """
    execution, data = prices.serverless(region), prices.data(region)
    reservation, provisioned = prices.provisioned_reservation(region), prices.provisioned_execution(region)
    assumed = f"{seconds:g} s billed and {payload:,.0f} bytes in and out for each call, every call served"
    calls, total, unknown = 0, 0.0, list[str]()
    for step in steps:
        if step.config is None:
            continue
        count, busy, lasts = _most(step, seconds)
        calls += count
        needed = [execution, data, *((reservation, provisioned) if step.config.provisioned_concurrency else ())]
        unknown += [price.reason for price in needed if isinstance(price, NoPrice)]
        if isinstance(execution, Price) and isinstance(data, Price):
            total += execution.usd * (step.config.memory_mb / 1024) * busy + data.usd * count * payload / GB
        if isinstance(reservation, Price) and step.config.provisioned_concurrency:
            kept = step.config.memory_mb / 1024 * step.config.provisioned_concurrency
            total += reservation.usd * kept * lasts
    reasons = "; ".join(dict.fromkeys(unknown))
    return Estimate(calls, None if reasons else total, assumed, reasons)


def _most(step: Step, seconds: float) -> tuple[int, float, float]:
    """Return the calls of a step at this many seconds each, the most seconds it is billed for, and that it lasts."""
    load = step.load
    slots = step.config.max_concurrency if step.config is not None else load.connections
    if isinstance(load, OpenLoop):
        lasts = (load.duration or load.arrivals.duration) + seconds
        arrivals = sum(1 for _ in load)
        return arrivals, min(arrivals * seconds, slots * lasts), lasts
    by_count = math.inf if load.count is None else load.count
    if load.duration is None:
        return int(by_count), by_count * seconds, by_count * seconds
    # Each client can begin a call until the end, one after the other.
    by_clock = load.clients * (math.floor(load.duration / seconds) + 1)
    lasts = min(by_count * seconds, load.duration + seconds)
    return int(min(by_count, by_clock)), min(by_count * seconds, min(load.clients, slots) * lasts), lasts
