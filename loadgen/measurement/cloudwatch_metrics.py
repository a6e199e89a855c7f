"""CloudWatch metrics of an endpoint over one interval, as values.

Rule: a metric without data has a reason, never the value 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Metric -> unit. Source: "Monitor a serverless endpoint", SageMaker developer guide (2026-11).
UNITS: Mapping[str, str] = {
    "ModelLatency": "Microseconds",
    "OverheadLatency": "Microseconds",
    "ModelSetupTime": "Microseconds",
    "MemoryUtilization": "Percent",
    "Invocations": "None",
    "Invocation4XXErrors": "None",
    "Invocation5XXErrors": "None",
    "ServerlessConcurrentExecutionsUtilization": "None",
}


@dataclass(frozen=True, slots=True)
class CloudWatchMetric:
    """The statistics of one metric over one interval, in CloudWatch's unit.

    Args:
        name: the metric's name in CloudWatch.
        unit: the metric's unit; latencies are in Microseconds.
        sample_count: number of observations; at least 1.
        total: sum of the observations.
        average: mean of the observations.
        minimum: smallest observation.
        maximum: largest observation.
        percentiles: percentiles by name, such as {"p50": 80500.0}; empty when CloudWatch provides none.
        timestamp: the first minute with data, in seconds since the epoch.
    """

    name: str
    unit: str
    sample_count: float
    total: float
    average: float
    minimum: float
    maximum: float
    percentiles: Mapping[str, float] = field(default_factory=dict)
    timestamp: float = 0.0


@dataclass(frozen=True, slots=True)
class CloudWatchMetrics:
    """All metrics of one endpoint over one interval.

    Args:
        values: the metrics that have data, by name.
        unavailable: for each other metric, a human-readable reason, by name.
        is_final: True when the counts no longer changed when they were read.
        publish_delay: seconds between the end of the interval and the reading.
        step_count: number of the endpoint's steps in the interval; CloudWatch's resolution is one minute, so steps that
            share a minute cannot be separated.
    """

    values: Mapping[str, CloudWatchMetric] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)
    is_final: bool = False
    publish_delay: float = 0.0
    step_count: int = 1
