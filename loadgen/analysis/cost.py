"""Cost of an invocation, and the comparison with a real-time instance.

Pure arithmetic on measured values and a price book. An unknown price makes the cost unknown, never 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from loadgen.analysis.billed_duration import find_billed_duration
from loadgen.analysis.prices import Price, PriceBook, PriceUnavailable
from loadgen.analysis.summary import Summary
from loadgen.measurement.run import Run
from loadgen.statistics.interval import Interval

HOURS_PER_MONTH = 720  # 30 days, as in the savings tables of AWS's sm-serverless-benchmarking
BYTES_PER_GB = 2**30  # AWS does not publish whether it bills 10^9 or 2^30; the difference is 7 % of the data cost
# Source: sm-serverless-benchmarking 0.2.3 (aws-samples).
COMPARABLE_INSTANCE: Mapping[int, str] = MappingProxyType(
    {
        1024: "ml.t2.medium",
        2048: "ml.t2.medium",
        3072: "ml.c5.large",
        4096: "ml.c5.large",
        5120: "ml.c5.large",
        6144: "ml.c5.xlarge",
    }
)
# Shown in the report.
ASSUMPTIONS = (
    "1 GB of payload is 2^30 bytes; AWS does not publish whether it bills 10^9 or 2^30.",
    "AWS rounds the billed duration of each call up to a millisecond; up to 1 ms per call is not included.",
    "AWS does not publish whether the setup of a cold start is billed; the cost shown first is that of a warm call.",
    "Free tier and taxes are not included; the instance is a single one without storage, spare or auto scaling.",
)
# (upper limit of the break-even point, rows every so many invocations per month). Source: sm-serverless-benchmarking.
_STRIDES = ((200_000, 10_000), (1_000_000, 50_000), (2_000_000, 100_000), (5_000_000, 200_000))
_MAX_STRIDE = 500_000
_MAX_ROWS = 200  # with more rows the stride is multiplied by 10


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of calling one configuration.

    Args:
        memory_mb: memory size of the configuration.
        billed_duration: seconds billed for a warm call: model latency and overhead.
        billed_duration_with_cold_starts: mean over all calls including cold starts; None if unknown.
        billed_source: source of `billed_duration`, human-readable: CloudWatch, or the client's service time.
        request_bytes: mean request body size.
        response_bytes: mean response body size.
        per_invocation: USD per warm call; None if a price is unknown.
        per_million: USD per million warm calls.
        per_million_with_cold_starts: USD per million calls at `billed_duration_with_cold_starts`.
        unavailable_reason: why there is no price; empty if there is one.
        provisioned_hourly: USD per hour for provisioned concurrency, in addition to the invocations; None without
            provisioned concurrency or if its price is unknown.
        usd_per_second: USD per billed second of this memory size; 0 if the price is unknown.
        billed_interval: 95 % interval of `billed_duration`; None with too few warm calls.
        per_million_interval: 95 % interval of `per_million`; None likewise, or if a price is unknown.
    """

    memory_mb: int
    billed_duration: float
    billed_duration_with_cold_starts: float | None
    billed_source: str
    request_bytes: float
    response_bytes: float
    per_invocation: float | None
    per_million: float | None
    per_million_with_cold_starts: float | None
    unavailable_reason: str = ""
    provisioned_hourly: float | None = None
    usd_per_second: float = 0.0
    billed_interval: Interval | None = None
    per_million_interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class SavingsRow:
    """Monthly cost of serverless and of an instance at one number of invocations; USD per 720 hours."""

    monthly_invocations: int
    serverless_usd: float
    instance_usd: float
    percent_saved: float


@dataclass(frozen=True, slots=True)
class Savings:
    """Comparison of a serverless configuration with a real-time instance.

    Args:
        memory_mb: memory size of the serverless configuration.
        instance: instance type, such as ml.c5.large.
        instance_hourly: USD per hour; None if the price is unknown.
        instance_monthly: USD per 720 hours.
        break_even: invocations per month below which serverless is cheaper.
        rows: monthly costs up to the break-even point.
        unavailable_reason: why there is no comparison; empty if there is one.
        break_even_low: lower end of the 95 % interval of `break_even`; None if the cost has none.
        break_even_high: upper end; None likewise.
    """

    memory_mb: int
    instance: str
    instance_hourly: float | None
    instance_monthly: float | None
    break_even: float | None
    rows: tuple[SavingsRow, ...]
    unavailable_reason: str = ""
    break_even_low: float | None = None
    break_even_high: float | None = None


def cost_of_run(run: Run, summary: Summary, prices: PriceBook, region: str) -> Cost | None:
    """Return the cost of the run's configuration; None if nothing was deployed or no call was successful.

    With provisioned concurrency every call is priced as served by it, without spillover to on-demand.
    """
    config = run.step.config
    billed = None if config is None or not summary.ok else find_billed_duration(run, summary)
    if config is None or billed is None:
        return None
    data = prices.data(region)
    provisioned: float | None = None
    if config.provisioned_concurrency:
        execution = prices.provisioned_execution(region)
        reservation = prices.provisioned_reservation(region)
        if isinstance(reservation, Price):
            provisioned = reservation.usd * config.memory_mb / 1024 * config.provisioned_concurrency * 3600
    else:
        execution = prices.serverless(region)
    unknown = "; ".join(str(price) for price in (execution, data) if isinstance(price, PriceUnavailable))
    if not len(run.samples):
        unknown = "; ".join(filter(None, (unknown, "payload sizes are unknown: samples were not kept")))
    per_call, with_cold, per_million_interval = None, None, None
    if isinstance(execution, Price) and isinstance(data, Price) and not unknown:

        def price(seconds: float) -> float:
            return price_of_call(config.memory_mb, seconds, _payload_bytes(summary), execution, data)

        per_call = price(billed.warm)
        if billed.with_cold_starts is not None:
            with_cold = price(billed.with_cold_starts)
        if billed.interval is not None and billed.interval.ends is not None:
            low, high = (1e6 * price(end) for end in billed.interval.ends)
            per_million_interval = replace(billed.interval, value=1e6 * per_call, low=low, high=high)
    return Cost(
        memory_mb=config.memory_mb,
        billed_duration=billed.warm,
        billed_duration_with_cold_starts=billed.with_cold_starts,
        billed_source=billed.source,
        request_bytes=summary.request_bytes,
        response_bytes=summary.response_bytes or 0.0,
        per_invocation=per_call,
        per_million=None if per_call is None else per_call * 1e6,
        per_million_with_cold_starts=None if with_cold is None else with_cold * 1e6,
        unavailable_reason=unknown,
        provisioned_hourly=provisioned,
        usd_per_second=execution.usd * config.memory_mb / 1024 if isinstance(execution, Price) else 0.0,
        billed_interval=billed.interval,
        per_million_interval=per_million_interval,
    )


def _payload_bytes(summary: Summary) -> float:
    return summary.request_bytes + (summary.response_bytes or 0.0)


def price_of_call(memory_mb: int, billed_duration: float, payload_bytes: float, execution: Price, data: Price) -> float:
    """Return USD for one call: the memory for the billed seconds, and the bytes in and out.

    Example:
        >>> book = PriceBook.builtin()
        >>> execution, data = book.serverless("us-east-1"), book.data("us-east-1")
        >>> round(1e6 * price_of_call(2048, 0.102, 29_500, execution, data), 2)
        4.52
    """
    return execution.usd * (memory_mb / 1024) * billed_duration + data.usd * (payload_bytes / BYTES_PER_GB)


def compare_with_instance(cost: Cost, prices: PriceBook, region: str, instance: str | None = None) -> Savings:
    """Compare the cost of a configuration with a real-time instance up to the break-even point.

    Args:
        cost: cost of the configuration.
        prices: the price book.
        region: AWS region of both.
        instance: instance type such as `ml.c5.large`; None for the default of the memory size.
    """
    name = instance or COMPARABLE_INSTANCE[cost.memory_mb]
    hourly = prices.instance(region, name)
    if isinstance(hourly, PriceUnavailable):
        return Savings(cost.memory_mb, name, None, None, None, (), hourly.reason)
    monthly = hourly.usd * HOURS_PER_MONTH
    if cost.per_invocation is None:
        return Savings(cost.memory_mb, name, hourly.usd, monthly, None, (), cost.unavailable_reason)
    left = monthly - (cost.provisioned_hourly or 0.0) * HOURS_PER_MONTH
    if left <= 0:
        reason = f"the provisioned concurrency alone costs more than {name}"
        return Savings(cost.memory_mb, name, hourly.usd, monthly, 0.0, (), reason)
    break_even = left / cost.per_invocation
    rows = tuple(
        _savings_row(count, monthly - left + count * cost.per_invocation, monthly)
        for count in _monthly_volumes(break_even)
    )
    ends = None if cost.per_million_interval is None else cost.per_million_interval.ends
    low, high = (None, None) if ends is None else (left * 1e6 / ends[1], left * 1e6 / ends[0])
    return Savings(
        cost.memory_mb, name, hourly.usd, monthly, break_even, rows, break_even_low=low, break_even_high=high
    )


def _savings_row(count: int, serverless: float, monthly: float) -> SavingsRow:
    return SavingsRow(count, serverless, monthly, 100 * (monthly - serverless) / monthly)


def _monthly_volumes(break_even: float) -> list[int]:
    """Return the monthly invocations of the table: multiples of a stride up to break-even, and break-even itself."""
    last = math.floor(break_even)
    stride = next((stride for below, stride in _STRIDES if break_even < below), _MAX_STRIDE)
    while last // stride > _MAX_ROWS:
        stride *= 10
    counts = list(range(stride, last + 1, stride))
    return counts if last < 1 or counts[-1:] == [last] else [*counts, last]
