"""CloudWatchReader: reads the metrics of one endpoint over one interval, once their counts are final.

It uses GetMetricStatistics: one datapoint contains the unit, all five statistics and all percentiles, where
GetMetricData needs a query for each and omits the unit. The period is the whole interval in whole minutes, because
percentiles of single minutes cannot be combined. Statistics and percentiles are separate calls, as the API reference
requires.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loadgen.aws.deployment.names_and_tags import VARIANT_NAME
from loadgen.aws.errors import SDK_ERRORS, error_code, to_loadgen_error
from loadgen.measurement.cloudwatch_metrics import UNITS, CloudWatchMetric, CloudWatchMetrics

_STATISTICS = ("SampleCount", "Sum", "Average", "Minimum", "Maximum")
_PERCENTILES = ("p25", "p50", "p75", "p90", "p95", "p99")
_MINUTE = 60
_MAX_PERIOD = 86400  # GetMetricStatistics, API reference
# Source: "Monitor a serverless endpoint", SageMaker developer guide. One metric is in another namespace.
_NAMESPACES = {"MemoryUtilization": "/aws/sagemaker/Endpoints"}
_NAMESPACE = "AWS/SageMaker"
_STABLE_READS = 3  # equal reads before a count is taken as final


@dataclass(frozen=True, slots=True)
class MetricsWaitPolicy:
    """How long to wait for CloudWatch, in seconds.

    Args:
        poll_interval: between two reads of the invocation count.
        timeout: maximum time after the end of the interval. AWS publishes no figure for the delay.
        settle_time: minimum time after the end of the interval before an unchanged count is taken as final.
    """

    poll_interval: float = 15.0
    timeout: float = 300.0
    settle_time: float = 60.0


@dataclass(frozen=True, slots=True)
class Interval:
    """Whole minutes that cover a measurement, in epoch seconds; `end` is exclusive."""

    start: int
    end: int

    @classmethod
    def from_times(cls, start: float, end: float) -> "Interval":
        """Extend to whole minutes.

        Example:
            >>> Interval.from_times(61.5, 119.0)
            Interval(start=60, end=120)
        """
        first = math.floor(start / _MINUTE) * _MINUTE
        return cls(first, max(math.ceil(end / _MINUTE) * _MINUTE, first + _MINUTE))

    @property
    def period(self) -> int:
        """The period in seconds: the interval, at most a day."""
        return min(self.end - self.start, _MAX_PERIOD)


class CloudWatchReader:
    """Read the metrics of one endpoint over one interval.

    Args:
        client: an aiobotocore CloudWatch client.
        endpoint: name of the endpoint.
        interval: to read.
        now: the wall clock, seconds since the epoch.
    """

    def __init__(self, client: Any, endpoint: str, interval: Interval, *, now: Callable[[], float] = time.time) -> None:
        self._client = client
        self._endpoint = endpoint
        self._interval = interval
        self._now = now

    async def read(self, *, end: float, invocations: int, wait_policy: MetricsWaitPolicy) -> CloudWatchMetrics:
        """Wait until the invocations are counted, then read all metrics; an AWS error makes a metric unavailable.

        Args:
            end: when the last request was done, seconds since the epoch.
            invocations: number of requests that CloudWatch should count.
            wait_policy: how long to wait.
        """
        try:
            is_settled = await self._wait_for_counts(end, invocations, wait_policy)
        except SDK_ERRORS as error:
            return CloudWatchMetrics(unavailable=dict.fromkeys(UNITS, self._error_reason(error)))
        delay = max(0.0, self._now() - end)
        read = await asyncio.gather(*(self._read_metric(name) for name in UNITS))
        values = {name: found for name, found in zip(UNITS, read, strict=True) if isinstance(found, CloudWatchMetric)}
        missing = {
            name: found or _no_data_reason(name, delay)
            for name, found in zip(UNITS, read, strict=True)
            if not isinstance(found, CloudWatchMetric)
        }
        return CloudWatchMetrics(values, missing, is_settled, delay)

    async def _wait_for_counts(self, end: float, invocations: int, wait_policy: MetricsWaitPolicy) -> bool:
        """Poll the count until it is complete (True), until it is stable (True), or until the timeout (False)."""
        counts: list[float] = []
        while True:
            datapoints = await self._get_statistics("Invocations", Statistics=["Sum"])
            counts.append(sum(point["Sum"] for point in datapoints))
            if counts[-1] >= invocations:
                return True
            elapsed = self._now() - end
            latest = counts[-_STABLE_READS:]
            is_stable = len(latest) == _STABLE_READS and len(set(latest)) == 1 and latest[0] > 0
            if is_stable and elapsed >= wait_policy.settle_time:
                return True
            if elapsed + wait_policy.poll_interval >= wait_policy.timeout:
                return False
            await asyncio.sleep(wait_policy.poll_interval)

    async def _read_metric(self, name: str) -> CloudWatchMetric | str:
        """Read one metric; a string is the reason why it is unavailable, empty if there is no datapoint."""
        try:
            plain = await self._get_statistics(name, Statistics=list(_STATISTICS))
            if not plain:
                return ""
            ranked = await self._get_statistics(name, ExtendedStatistics=list(_PERCENTILES))
            return combine_datapoints(name, plain, ranked)  # a stand-in may leave members out
        except SDK_ERRORS as error:
            return self._error_reason(error)

    async def _get_statistics(self, name: str, **statistics: list[str]) -> Sequence[Mapping[str, Any]]:
        answer = await self._client.get_metric_statistics(
            Namespace=_NAMESPACES.get(name, _NAMESPACE),
            MetricName=name,
            # Both dimensions: CloudWatch has no data for EndpointName alone.
            Dimensions=[
                {"Name": "EndpointName", "Value": self._endpoint},
                {"Name": "VariantName", "Value": VARIANT_NAME},
            ],
            StartTime=datetime.fromtimestamp(self._interval.start, UTC),
            EndTime=datetime.fromtimestamp(self._interval.end, UTC),
            Period=self._interval.period,
            **statistics,
        )
        datapoints: Sequence[Mapping[str, Any]] = answer.get("Datapoints", ())
        return datapoints

    def _error_reason(self, error: BaseException) -> str:
        return to_loadgen_error(error, f"GetMetricStatistics ({error_code(error)})", now=self._now()).message


def combine_datapoints(
    name: str, statistic_datapoints: Sequence[Mapping[str, Any]], percentile_datapoints: Sequence[Mapping[str, Any]]
) -> CloudWatchMetric | str:
    """Combine the datapoints of an interval into one metric. Percentiles of several datapoints are dropped.

    Args:
        name: of the metric.
        statistic_datapoints: with the five statistics, in any order; usually one.
        percentile_datapoints: with percentiles; used only if there is one.

    Returns:
        The metric, or an empty string if nothing was observed.
    """
    samples = sum(point["SampleCount"] for point in statistic_datapoints)
    if samples <= 0:
        return ""
    total = sum(point["Sum"] for point in statistic_datapoints)
    percentiles = (
        percentile_datapoints[0].get("ExtendedStatistics", {})
        if len(percentile_datapoints) == 1 == len(statistic_datapoints)
        else {}
    )
    return CloudWatchMetric(
        name,
        str(statistic_datapoints[0].get("Unit", UNITS.get(name, ""))),
        sample_count=samples,
        total=total,
        average=total / samples,
        minimum=min(point["Minimum"] for point in statistic_datapoints),
        maximum=max(point["Maximum"] for point in statistic_datapoints),
        percentiles={key: float(percentiles[key]) for key in _PERCENTILES if key in percentiles},
        timestamp=min(point["Timestamp"] for point in statistic_datapoints).timestamp(),
    )


def _no_data_reason(name: str, delay: float) -> str:
    text = f"CloudWatch had no datapoint {delay:.0f} s after the interval"
    if name == "ModelSetupTime":
        return text + "; CloudWatch publishes this metric for cold starts only"
    return text
