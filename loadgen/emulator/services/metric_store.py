"""The account's metrics: one series per CloudWatch metric, in buckets of one minute and in bounded memory.

A bucket counts how often each value occurred. Above 2000 distinct values they are rounded to ten bits, a relative error
below 0.1 %; sums, counts, minimum and maximum stay exact.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

# A minute in which latencies span a decade holds about 1700 rounded values: at most 150 KB.
_MAX_DISTINCT_VALUES = 2000
_MANTISSA_STEPS = 1024
# A day; CloudWatch keeps 15 days.
_MAX_MINUTES = 1440
MAX_SERIES = 5000  # names and dimensions of one take up to 40 KB
MAX_PUT_VALUES = 1_000_000  # distinct values of PutMetricData, 100 bytes each
Dimensions = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class MetricBucket:
    """The observations of one interval. Buckets can be merged."""

    sample_count: float = 0.0
    total: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf
    last_observed: float = 0.0
    occurrences: dict[float, float] = field(default_factory=dict)
    is_rounded: bool = False

    def add(self, value: float, now: float, count: float = 1.0) -> None:
        """Add an observation made at `now` (epoch seconds)."""
        self.sample_count += count
        self.total += value * count
        self.minimum = min(self.minimum, value)
        self.maximum = max(self.maximum, value)
        self.last_observed = max(self.last_observed, now)
        self._count_value(value, count)

    def add_summary(self, count: float, total: float, minimum: float, maximum: float, now: float) -> None:
        """Add observations of which only these four figures are known; the figures stay exact.

        For percentiles the extremes count once each, and the others are taken to be at their mean.
        """
        self.sample_count += count
        self.total += total
        self.minimum, self.maximum = min(self.minimum, minimum), max(self.maximum, maximum)
        self.last_observed = max(self.last_observed, now)
        if count < 2:
            self._count_value(min(max(total / count, minimum), maximum), count)
            return
        self._count_value(minimum, 1.0)
        self._count_value(maximum, 1.0)
        if count > 2:
            mean = (total - minimum - maximum) / (count - 2)
            self._count_value(min(max(mean, minimum), maximum), count - 2)

    def merge(self, other: "MetricBucket") -> int:
        """Add another bucket to this one; return how many distinct values more it holds."""
        before = len(self.occurrences)
        self.sample_count += other.sample_count
        self.total += other.total
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self.last_observed = max(self.last_observed, other.last_observed)
        for value, times in other.occurrences.items():
            self._count_value(value, times)
        return len(self.occurrences) - before

    def _count_value(self, value: float, count: float) -> None:
        key = _round_value(value) if self.is_rounded else value
        self.occurrences[key] = self.occurrences.get(key, 0.0) + count
        if not self.is_rounded and len(self.occurrences) > _MAX_DISTINCT_VALUES:
            self.is_rounded = True
            exact, self.occurrences = self.occurrences, {}
            for kept, seen in exact.items():
                self._count_value(kept, seen)

    @property
    def average(self) -> float:
        """The mean of all observations."""
        return self.total / self.sample_count

    def percentile(self, percent: float) -> float:
        """Return the percentile, interpolated linearly between the two nearest observations.

        CloudWatch's interpolation is not documented; this is numpy's default.
        """
        rank = (self.sample_count - 1) * percent / 100.0
        below, above = math.floor(rank), math.ceil(rank)
        low = high = self.maximum
        seen = 0.0
        for value, times in sorted(self.occurrences.items()):
            if seen <= below < seen + times:
                low = value
            if seen <= above < seen + times:
                high = value
                break
            seen += times
        return min(max(low + (high - low) * (rank - below), self.minimum), self.maximum)

    def trimmed_mean(self, low_percent: float, high_percent: float) -> float:
        """Return the mean of the values between two percentiles."""
        first, last = self.sample_count * low_percent / 100.0, self.sample_count * high_percent / 100.0
        seen = total = weight = 0.0
        for value, times in sorted(self.occurrences.items()):
            inside = max(0.0, min(seen + times, last) - max(seen, first))
            total += value * inside
            weight += inside
            seen += times
        return total / weight if weight else self.percentile(low_percent)


def _round_value(value: float) -> float:
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * _MANTISSA_STEPS) / _MANTISSA_STEPS, exponent)


@dataclass(slots=True)
class MetricSeries:
    """All minutes of one metric with one set of dimensions and one unit."""

    unit: str
    minutes: dict[int, MetricBucket] = field(default_factory=dict)

    def bucket_at(self, now: float) -> MetricBucket:
        """Return the bucket of the minute that contains `now` (epoch seconds)."""
        minute = int(now // 60)
        bucket = self.minutes.get(minute)
        if bucket is None:
            bucket = self.minutes[minute] = MetricBucket()
            while len(self.minutes) > _MAX_MINUTES:
                del self.minutes[min(self.minutes)]
        return bucket

    def periods(
        self, start: float, end: float, period: int, *, published_until: float
    ) -> Iterator[tuple[int, MetricBucket]]:
        """Yield (start of the period in epoch seconds, bucket) for each period with data, in order of time.

        Args:
            start: epoch seconds, inclusive, rounded down to the minute.
            end: epoch seconds, exclusive.
            period: seconds, a multiple of 60; periods are aligned to the clock, not to `start`.
            published_until: minutes whose last observation is later (epoch seconds) are left out.
        """
        first, past = int(start // 60), math.ceil(end / 60)
        merged: dict[int, MetricBucket] = {}
        for minute in sorted(minute for minute in self.minutes if first <= minute < past):
            bucket = self.minutes[minute]
            if bucket.last_observed <= published_until:
                merged.setdefault(minute * 60 // period * period, MetricBucket()).merge(bucket)
        yield from merged.items()


class MetricStore:
    """All series of the account, by namespace, name, dimensions and unit."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, str, Dimensions, str], MetricSeries] = {}
        self.put_values = 0  # distinct values that PutMetricData added

    def get_or_create(self, namespace: str, name: str, dimensions: Mapping[str, str], unit: str) -> MetricSeries:
        """Return a series, created if it is new. Dimensions are compared as a set."""
        key = (namespace, name, tuple(sorted(dimensions.items())), unit)
        series = self.series.get(key)
        if series is None:
            if len(self.series) >= MAX_SERIES:
                del self.series[next(iter(self.series))]  # the oldest; CloudWatch drops one after 15 months
            series = self.series[key] = MetricSeries(unit)
        return series

    def put(self, series_of: Iterable[tuple[str, str, Mapping[str, str], str, float, MetricBucket]]) -> bool:
        """Add the buckets of one request, whole or not at all; return whether there was room for them.

        Args:
            series_of: namespace, name, dimensions, unit, epoch seconds and bucket of each.
        """
        rows = list(series_of)
        new = {(row[0], row[1], tuple(sorted(row[2].items())), row[3]) for row in rows} - self.series.keys()
        values = sum(len(row[5].occurrences) for row in rows)
        if len(self.series) + len(new) > MAX_SERIES or self.put_values + values > MAX_PUT_VALUES:
            return False
        for namespace, name, dimensions, unit, at, bucket in rows:
            self.put_values += self.get_or_create(namespace, name, dimensions, unit).bucket_at(at).merge(bucket)
        return True

    def find(
        self, namespace: str, name: str, dimensions: Iterable[tuple[str, str]], unit: str | None
    ) -> list[MetricSeries]:
        """Return the series with exactly these dimensions, of one unit or, for None, of every unit. O(series)."""
        wanted = (namespace, name, tuple(sorted(dimensions)))
        return [series for key, series in self.series.items() if key[:3] == wanted and unit in (None, key[3])]


# Namespace and units as the SageMaker developer guide lists them, "Monitor a serverless endpoint" (2026-11).
_SAGEMAKER = "AWS/SageMaker"
_UNITS = {
    "Invocations": "None",
    "Invocation4XXErrors": "None",
    "Invocation5XXErrors": "None",
    "ModelLatency": "Microseconds",
    "OverheadLatency": "Microseconds",
    "ModelSetupTime": "Microseconds",
    "ServerlessConcurrentExecutionsUtilization": "None",
    "ServerlessProvisionedConcurrencyExecutions": "Count",
    "ServerlessProvisionedConcurrencyUtilization": "None",
    "ServerlessProvisionedConcurrencyInvocations": "Count",
    "ServerlessProvisionedConcurrencySpilloverInvocations": "Count",
}


class EndpointMetrics:
    """The metrics that one endpoint publishes. Called for every request, so it caches the current minute's buckets."""

    def __init__(self, metrics: MetricStore, endpoint: str, variant: str) -> None:
        self._metrics = metrics
        self._dimensions = {"EndpointName": endpoint, "VariantName": variant}
        self._minute = -1
        self._buckets: dict[str, MetricBucket] = {}

    def observe(self, now: float, values: Iterable[tuple[str, float]]) -> None:
        """Record values of named metrics at `now` (epoch seconds)."""
        minute = int(now // 60)
        if minute != self._minute:
            self._minute = minute
            self._buckets.clear()
        for name, value in values:
            bucket = self._buckets.get(name)
            if bucket is None:
                bucket = self._buckets[name] = self._series(name).bucket_at(now)
            bucket.add(value, now)

    def _series(self, name: str) -> MetricSeries:
        if name == "MemoryUtilization":
            return self._metrics.get_or_create("/aws/sagemaker/Endpoints", name, self._dimensions, "Percent")
        return self._metrics.get_or_create(_SAGEMAKER, name, self._dimensions, _UNITS[name])
