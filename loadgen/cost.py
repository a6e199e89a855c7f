"""Cost: what an invocation costs, what a million cost, and where a real-time instance becomes cheaper."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What calling one configuration costs.

    Args:
        memory_mb: the configuration.
        billed: seconds billed for a warm call: model latency and overhead.
        billed_with_cold: the same averaged over all calls, cold starts included; None where it is not known.
        billed_from: where `billed` comes from, in words, such as "CloudWatch: ModelLatency + OverheadLatency of warm
            calls" or "the client's service time (CloudWatch not available: why)".
        request_bytes: mean bytes in.
        response_bytes: mean bytes out.
        per_invocation: USD; None when a price is unknown.
        per_million: USD.
        per_million_with_cold: USD, with `billed_with_cold`.
        unknown: why there is no price, in words; empty when there is.
    """

    memory_mb: int
    billed: float
    billed_with_cold: float | None
    billed_from: str
    request_bytes: float
    response_bytes: float
    per_invocation: float | None
    per_million: float | None
    per_million_with_cold: float | None
    unknown: str = ""


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
        unknown: why there is nothing to compare; empty when there is.
    """

    memory_mb: int
    instance: str
    instance_hourly: float | None
    instance_monthly: float | None
    break_even: float | None
    rows: tuple[SavingsRow, ...]
    unknown: str = ""
