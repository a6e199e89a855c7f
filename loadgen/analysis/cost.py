"""Cost: what an invocation costs, what a million cost, and where a real-time instance becomes cheaper.

Pure arithmetic over measured figures and a price book. A price that is not known makes a cost that is not known, never
one of 0. Where prices come from is prices.py's; what a plan may cost is estimate.py's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from loadgen.analysis.prices import Price, PriceBook, PriceUnavailable
from loadgen.analysis.summary import Summary
from loadgen.measurement.cloudwatch_metrics import CloudWatchMetric
from loadgen.measurement.run import Run

HOURS_PER_MONTH = 720  # thirty days, as the savings tables of AWS's own toolkit count them
BYTES_PER_GB = 2**30  # bytes. Whether AWS bills 10^9 or 2^30 is not published; the difference is 7 % of the data's part
# The instance that the toolkit of aws-samples (sm-serverless-benchmarking 0.2.3) compares each size with.
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
# What stands behind every cost and cannot be measured; for the report.
ASSUMPTIONS = (
    "A GB of payload is taken as 2^30 bytes; whether AWS bills 10^9 or 2^30 is not published.",
    "AWS bills each call rounded up to the millisecond, which an average cannot show: up to 1 ms a call more.",
    "Whether the set-up of a cold start is billed is not published: the headline is a warm call.",
    "The free tier and taxes are left out; an instance is counted alone, without storage, spare or auto scaling.",
)
# Below this many invocations a month the table has a row for every so many. Source: the same toolkit.
_STRIDES = ((200_000, 10_000), (1_000_000, 50_000), (2_000_000, 100_000), (5_000_000, 200_000))
_MAX_STRIDE = 500_000
_MAX_ROWS = 200  # beyond, the stride widens: a large instance breaks even at thousands of millions


@dataclass(frozen=True, slots=True)
class Cost:
    """What calling one configuration costs.

    Args:
        memory_mb: the configuration.
        billed_duration: seconds billed for a warm call: model latency and overhead.
        billed_duration_with_cold_starts: the same averaged over all calls, cold starts included; None where it is not known.
        billed_source: where `billed_duration` comes from, in words, such as "CloudWatch: ModelLatency + OverheadLatency of warm
            calls" or "the client's service time (CloudWatch not available: why)".
        request_bytes: mean bytes in.
        response_bytes: mean bytes out.
        per_invocation: USD; None when a price is unknown.
        per_million: USD.
        per_million_with_cold_starts: USD, with `billed_duration_with_cold_starts`.
        unavailable_reason: why there is no price, in words; empty when there is.
        provisioned_hourly: USD an hour for the provisioned concurrency, which every invocation comes on top of; None
            without any, or when its price is unknown.
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


@dataclass(frozen=True, slots=True)
class SavingsRow:
    """Serverless against an instance at one traffic; USD a month of 720 hours."""

    monthly_invocations: int
    serverless_usd: float
    instance_usd: float
    percent_saved: float


@dataclass(frozen=True, slots=True)
class Savings:
    """Where a comparable real-time instance becomes cheaper.

    Args:
        memory_mb: the serverless configuration it is compared with.
        instance: such as ml.c5.large.
        instance_hourly: USD an hour; None when the price is unknown.
        instance_monthly: USD for 720 hours.
        break_even: invocations a month below which serverless is cheaper.
        rows: up to the break-even point.
        unavailable_reason: why there is nothing to compare; empty when there is.
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
    """The seconds that a call is billed for, and how they were found.

    Args:
        warm: of a warm call.
        with_cold_starts: averaged over all calls; None where it is not known.
        source: in words.
    """

    warm: float
    with_cold_starts: float | None
    source: str


def find_billed_duration(run: Run, summary: Summary) -> BilledDuration | None:
    """Find the billed seconds of a warm call: CloudWatch's view where there is one, else the client's.

    Returns None when no call was answered well and CloudWatch has nothing.
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
    why = missing.get("ModelLatency") or missing.get("OverheadLatency") or "it was not asked"
    which, warm = "median service time", summary.service.median
    if summary.cold_starts is not None and summary.cold_starts.warm_service is not None:
        which, warm = "mean service time of warm calls", summary.cold_starts.warm_service.mean
    return BilledDuration(
        warm, summary.service.mean, f"the client's {which}, network included (CloudWatch not available: {why})"
    )


def _warm_overhead(overhead: CloudWatchMetric, setup: CloudWatchMetric | None) -> tuple[float, str]:
    """Return the overhead of a warm call in microseconds, and how it was found.

    CloudWatch does not tell cold calls from warm ones, but counts them: ModelSetupTime exists for cold ones only. Its
    sum cannot be subtracted from the overhead's (measured set-up times exceed the overheads they belong to), but the
    cold ones are the slowest, so the middle of the warm ones is a known percentile of all.
    """
    cold = 0.0 if setup is None else setup.sample_count / overhead.sample_count
    if cold == 0:
        return overhead.average, "average (no cold start was recorded)"
    share = f"{cold:.1%} of the calls were cold"
    if cold >= 1:
        return overhead.average, "average (every call was cold)"
    wanted = 50 * (1 - cold)
    percentiles = {float(name[1:]): value for name, value in overhead.percentiles.items()}
    usable = [percent for percent in percentiles if percent < 100 * (1 - cold)]
    if not usable:
        return overhead.minimum, f"minimum, the only figure that is surely of a warm call ({share})"
    nearest = min(usable, key=lambda percent: abs(percent - wanted))
    return percentiles[nearest], f"p{nearest:g}, the figure nearest to the middle of the warm calls ({share})"


def cost_of_run(run: Run, summary: Summary, prices: PriceBook, region: str) -> Cost | None:
    """Work out what calling the run's configuration costs; None where nothing was deployed or nothing was served.

    With provisioned concurrency every call is counted at its execution price, as if none had spilled over.
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
        unknown = "; ".join(filter(None, (unknown, "the sizes of the payloads are not known: samples were not kept")))
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
    """Compare a configuration with one real-time instance, for each number of monthly invocations up to break-even.

    Args:
        cost: of the configuration.
        prices: where the instance's price is looked up.
        region: of both.
        instance: such as `ml.c5.large`; None for the usual one of the memory size.
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
        why = f"keeping the provisioned concurrency warm costs more than {name}"
        return Savings(cost.memory_mb, name, hourly.usd, monthly, 0.0, (), why)
    break_even = left / cost.per_invocation
    rows = tuple(
        _savings_row(count, monthly - left + count * cost.per_invocation, monthly)
        for count in _monthly_volumes(break_even)
    )
    return Savings(cost.memory_mb, name, hourly.usd, monthly, break_even, rows)


def _savings_row(count: int, serverless: float, monthly: float) -> SavingsRow:
    return SavingsRow(count, serverless, monthly, 100 * (monthly - serverless) / monthly)


def _monthly_volumes(break_even: float) -> list[int]:
    """Return the monthly invocations of the table: every stride up to break-even, and break-even itself."""
    last = math.floor(break_even)
    stride = next((stride for below, stride in _STRIDES if break_even < below), _MAX_STRIDE)
    while last // stride > _MAX_ROWS:
        stride *= 10
    counts = list(range(stride, last + 1, stride))
    return counts if last < 1 or counts[-1:] == [last] else [*counts, last]
