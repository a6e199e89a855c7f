"""Cost of an invocation, and the comparison with a real-time instance.

Pure arithmetic on measured values and a price book. An unknown price makes the cost unknown, never 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from loadgen.analysis.prices import Price, PriceBook, PriceUnavailable
from loadgen.analysis.summary import Summary
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetric
from loadgen.measurement.run import Run

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
    """

    memory_mb: int
    instance: str
    instance_hourly: float | None
    instance_monthly: float | None
    break_even: float | None
    rows: tuple[SavingsRow, ...]
    unavailable_reason: str = ""


@dataclass(frozen=True, slots=True)
class BilledDuration:
    """Billed duration of a call.

    Args:
        warm: seconds of a warm call.
        with_cold_starts: mean seconds of all calls; None if unknown.
        source: how the value was determined, human-readable.
    """

    warm: float
    with_cold_starts: float | None
    source: str


def find_billed_duration(run: Run, summary: Summary) -> BilledDuration | None:
    """Return the billed duration from CloudWatch if it has the run, else from the client's service times.

    Returns None if no call was successful and CloudWatch has no datapoint.
    """
    model, overhead = run.metrics.values.get("ModelLatency"), run.metrics.values.get("OverheadLatency")
    if model is not None and overhead is not None:
        warm, how = _warm_overhead(overhead, run.metrics.values.get("ModelSetupTime"))
        return BilledDuration(
            (model.average + warm) / 1e6,
            (model.average + overhead.average) / 1e6,
            f"CloudWatch: ModelLatency average + OverheadLatency {how}",
        )
    if summary.service is None:
        return None
    missing = run.metrics.unavailable
    reason = missing.get("ModelLatency") or missing.get("OverheadLatency") or "not queried"
    which, warm = "median service time", summary.service.median
    if summary.cold_starts is not None and summary.cold_starts.warm_service is not None:
        which, warm = "mean service time of warm calls", summary.cold_starts.warm_service.mean
    return BilledDuration(
        warm, summary.service.mean, f"the client's {which}, network included (CloudWatch unavailable: {reason})"
    )


def _warm_overhead(overhead: CloudWatchMetric, setup: CloudWatchMetric | None) -> tuple[float, str]:
    """Return the overhead of a warm call in microseconds, and which statistic it is.

    CloudWatch counts cold calls (ModelSetupTime exists for cold calls only) but does not separate them. Its sum cannot
    be subtracted from that of the overhead, because measured setup times exceed the overheads they belong to. The cold
    calls are the slowest, so the median of the warm calls is a known percentile of all calls.
    """
    cold = 0.0 if setup is None else setup.sample_count / overhead.sample_count
    if cold == 0:
        return overhead.average, "average (no cold start was recorded)"
    share = f"{cold:.1%} of the calls were cold"
    if cold >= 1:
        return overhead.average, "average (all calls were cold)"
    wanted = 50 * (1 - cold)
    percentiles = {float(name[1:]): value for name, value in overhead.percentiles.items()}
    usable = [percent for percent in percentiles if percent < 100 * (1 - cold)]
    if not usable:
        return overhead.minimum, f"minimum, the only statistic that is certainly of a warm call ({share})"
    nearest = min(usable, key=lambda percent: abs(percent - wanted))
    return percentiles[nearest], f"p{nearest:g}, the percentile nearest to the median of the warm calls ({share})"


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
    per_call, with_cold = None, None
    if isinstance(execution, Price) and isinstance(data, Price) and not unknown:
        per_call = price_of_call(config.memory_mb, billed.warm, _payload_bytes(summary), execution, data)
        if billed.with_cold_starts is not None:
            with_cold = price_of_call(
                config.memory_mb, billed.with_cold_starts, _payload_bytes(summary), execution, data
            )
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
    return Savings(cost.memory_mb, name, hourly.usd, monthly, break_even, rows)


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
