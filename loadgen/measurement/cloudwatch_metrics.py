"""Metric: one CloudWatch metric of one endpoint over one interval, as a value.

Fetching them is aws/metrics.py's. What is not there is a reason in words, never a zero.
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
    """What CloudWatch says of one metric over one interval.

    Args:
        name: the metric's name as AWS spells it.
        unit: CloudWatch's unit; latencies are in Microseconds, as they come.
        sample_count: how many observations stand behind the figures; at least 1.
        total: their sum.
        average: their mean.
        minimum: their least.
        maximum: their greatest.
        percentiles: such as {"p50": 80500.0}, in `unit`; empty where CloudWatch has none.
        timestamp: the first minute with data, seconds since the epoch.
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
        values: by metric name; a metric without data is not in it but in `unavailable`.
        unavailable: metric name -> why it is not available, in words.
        is_final: True when the counts had settled before they were read.
        publish_delay: seconds waited for them after the interval's end.
        step_count: how many steps of the endpoint the interval covers: CloudWatch cannot tell apart what shares a minute.
    """

    values: Mapping[str, CloudWatchMetric] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)
    is_final: bool = False
    publish_delay: float = 0.0
    step_count: int = 1
