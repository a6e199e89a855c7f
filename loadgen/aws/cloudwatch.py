"""The CloudWatch metrics of one endpoint over one interval, read once their counts have settled.

GetMetricStatistics and not GetMetricData: one of its datapoints carries the unit, all five statistics and all
percentiles, where GetMetricData needs a query for each and leaves the unit out. The period is the whole interval in
whole minutes, because percentiles of single minutes cannot be put together. Statistics and percentiles are asked for
apart: the reference says to give one or the other.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loadgen.aws.deployment.naming import VARIANT_NAME
from loadgen.aws.errors import SDK_ERRORS, error_code, to_loadgen_error
from loadgen.measurement.cloudwatch_metrics import UNITS, CloudWatchMetric, CloudWatchMetrics

_STATISTICS = ("SampleCount", "Sum", "Average", "Minimum", "Maximum")
_PERCENTILES = ("p25", "p50", "p75", "p90", "p95", "p99")
_MINUTE = 60
_MAX_PERIOD = 86400  # GetMetricStatistics, API reference
# Source: "Monitor a serverless endpoint", SageMaker developer guide: one metric lives with the containers' own.
_NAMESPACES = {"MemoryUtilization": "/aws/sagemaker/Endpoints"}
_NAMESPACE = "AWS/SageMaker"
_STABLE_READS = 3  # the first and two more that say the same


@dataclass(frozen=True, slots=True)
class MetricsWaitPolicy:
    """How long to wait for CloudWatch, in seconds.

    Args:
        poll_interval: between two looks at the count of invocations.
        timeout: after the interval's end at most. AWS publishes no figure for the delay.
        settle_time: after the interval's end at least, before an unchanged count is believed to be final.
    """

    poll_interval: float = 15.0
    timeout: float = 300.0
    settle_time: float = 60.0


@dataclass(frozen=True, slots=True)
class Interval:
    """Whole minutes that cover what was measured; `end` is exclusive. Epoch seconds."""

    start: int
    end: int

    @classmethod
    def from_times(cls, start: float, end: float) -> "Interval":
        """Widen to whole minutes.

        Example:
            >>> Interval.from_times(61.5, 119.0)
            Interval(start=60, end=120)
        """
        first = math.floor(start / _MINUTE) * _MINUTE
        return cls(first, max(math.ceil(end / _MINUTE) * _MINUTE, first + _MINUTE))

    @property
    def period(self) -> int:
        """The one period that holds the interval, or a day for a longer one."""
        return min(self.end - self.start, _MAX_PERIOD)


class CloudWatchReader:
    """Read the metrics of one endpoint over one interval.

    Args:
        client: an aiobotocore CloudWatch client, whichever of its protocols it speaks.
        now: the wall clock, seconds since the epoch.
    """

    def __init__(self, client: Any, endpoint: str, interval: Interval, *, now: Callable[[], float] = time.time) -> None:
        self._client = client
        self._endpoint = endpoint
        self._interval = interval
        self._now = now

    async def read(self, *, end: float, invocations: int, wait_policy: MetricsWaitPolicy) -> CloudWatchMetrics:
        """Wait until the invocations are counted, then read everything; never raises for what AWS answers.

        Args:
            end: when the last request was done, seconds since the epoch.
            invocations: how many requests CloudWatch should have counted.
            wait_policy: how long to wait for that.
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
        """Poll the count until all are there, until it no longer changes, or until the cap."""
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
        """Read one metric; a text says why it could not be read, an empty one that there is nothing."""
        try:
            plain = await self._get_statistics(name, Statistics=list(_STATISTICS))
            if not plain:
                return ""
            ranked = await self._get_statistics(name, ExtendedStatistics=list(_PERCENTILES))
        except SDK_ERRORS as error:
            return self._error_reason(error)
        return combine_datapoints(name, plain, ranked)

    async def _get_statistics(self, name: str, **statistics: list[str]) -> Sequence[Mapping[str, Any]]:
        answer = await self._client.get_metric_statistics(
            Namespace=_NAMESPACES.get(name, _NAMESPACE),
            MetricName=name,
            # Always the pair: asked for the endpoint alone, CloudWatch has nothing.
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
    """Make one metric of the datapoints of an interval. Sums add and extremes compare; percentiles do neither.

    Args:
        name: the metric's.
        statistic_datapoints: datapoints with the five statistics, in any order; usually one.
        percentile_datapoints: datapoints with percentiles; only a single one can be used.

    Returns:
        The metric, or an empty text when nothing was observed.
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
        return text + "; it publishes this one for cold starts only"
    return text
