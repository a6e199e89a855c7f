"""CloudWatch: GetMetricStatistics, GetMetricData, ListMetrics and PutMetricData over the account's metrics.

The operations serve both protocols (query and JSON): inputs are validated values, timestamps in outputs are `datetime`.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from loadgen.emulator.protocol.errors import ServiceError, missing_parameter
from loadgen.emulator.protocol.input_validation import Operation, validated
from loadgen.emulator.protocol.responses import XmlEntries
from loadgen.emulator.services.metric_store import (
    MAX_PUT_VALUES,
    MAX_SERIES,
    Dimensions,
    MetricBucket,
    MetricSeries,
    MetricStore,
)

# Source of the limits: the API reference of each operation.
_MAX_DATAPOINTS = 1440
_MAX_DATA_VALUES = 100_800
_MAX_QUERIES = 500
_MAX_PUT_ENTRIES = 1000
_PAGE_SIZE = 500
_MAX_MAGNITUDE = 2.0**360  # of a value, API reference of MetricDatum; sums of such values stay finite
_MAX_AGE, _MAX_AHEAD = 14 * 86400.0, 2 * 3600.0  # of a Timestamp, seconds
_SIMPLE_STATISTICS: Mapping[str, Callable[[MetricBucket], float]] = {
    "SampleCount": lambda bucket: bucket.sample_count,
    "Average": lambda bucket: bucket.average,
    "Sum": lambda bucket: bucket.total,
    "Minimum": lambda bucket: bucket.minimum,
    "Maximum": lambda bucket: bucket.maximum,
}


class CloudWatch:
    """The metrics API of the account.

    Args:
        metrics: the account's metrics.
        lag: seconds after a minute's last observation until the minute can be read.
    """

    def __init__(self, metrics: MetricStore, *, lag: float) -> None:
        self._metrics = metrics
        self._lag = lag
        self.operations: Mapping[str, Operation] = validated(
            "cloudwatch",
            {
                "GetMetricStatistics": self.get_metric_statistics,
                "GetMetricData": self.get_metric_data,
                "ListMetrics": self.list_metrics,
                "PutMetricData": self.put_metric_data,
            },
        )

    def get_metric_statistics(self, parameters: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return datapoints of one metric; simple and extended statistics may be combined."""
        simple, extended = parameters.get("Statistics", ()), parameters.get("ExtendedStatistics", ())
        if not simple and not extended:
            raise ServiceError(
                "InvalidParameterCombination", "At least one of Statistics and ExtendedStatistics must be given."
            )
        readings = {statistic: statistic_reader(statistic) for statistic in extended}
        start, end, period = _interval(parameters, parameters["Period"])
        if (end - start) / period > _MAX_DATAPOINTS:
            raise ServiceError(
                "InvalidParameterCombination",
                f"You have requested up to {int((end - start) // period)} datapoints, which exceeds the limit of "
                f"{_MAX_DATAPOINTS}. You may reduce the datapoints requested by increasing Period, or decreasing the "
                "time range.",
            )
        datapoints = []
        for series in self._find_series(parameters):
            for stamp, bucket in series.periods(start, end, period, published_until=now - self._lag):
                point: dict[str, Any] = {"Timestamp": datetime.fromtimestamp(stamp, UTC)}
                point |= {statistic: _SIMPLE_STATISTICS[statistic](bucket) for statistic in simple}
                point["Unit"] = series.unit
                if readings:
                    point["ExtendedStatistics"] = XmlEntries({name: read(bucket) for name, read in readings.items()})
                datapoints.append(point)
        # The service does not order datapoints; an order that is visibly none makes clients sort.
        datapoints = datapoints[1::2] + datapoints[::2]
        return {"Label": parameters["MetricName"], "Datapoints": datapoints}

    def get_metric_data(self, parameters: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return datapoints for MetricStat queries in pages of MaxDatapoints; metric math is not supported."""
        queries = parameters["MetricDataQueries"]
        if not 1 <= len(queries) <= _MAX_QUERIES:
            raise ServiceError("ValidationError", f"MetricDataQueries takes 1 to {_MAX_QUERIES} queries.")
        _check_ids([query["Id"] for query in queries])
        is_ascending = parameters.get("ScanBy", "TimestampDescending") == "TimestampAscending"
        room = min(parameters.get("MaxDatapoints", _MAX_DATA_VALUES), _MAX_DATA_VALUES)
        if room < 1:
            raise ServiceError("ValidationError", f"The value {room} for parameter MaxDatapoints must be at least 1.")
        skipped = passed = _page_start(parameters)
        results = []
        for query in queries:
            points = self._query_points(query, parameters, now)
            if not query.get("ReturnData", True):
                continue
            if not is_ascending:
                points.reverse()
            wanted = points[skipped:]
            skipped = max(0, skipped - len(points))
            kept = wanted[:room]
            room -= len(kept)
            passed += len(kept)
            results.append(
                {
                    "Id": query["Id"],
                    "Label": query.get("Label") or query["MetricStat"]["Metric"]["MetricName"],
                    "Timestamps": [datetime.fromtimestamp(stamp, UTC) for stamp, _ in kept],
                    "Values": [value for _, value in kept],
                    "StatusCode": "Complete" if len(kept) == len(wanted) else "PartialData",
                }
            )
        is_partial = any(result["StatusCode"] == "PartialData" for result in results)
        return {"MetricDataResults": results, "Messages": []} | ({"NextToken": str(passed)} if is_partial else {})

    def _query_points(
        self, query: Mapping[str, Any], parameters: Mapping[str, Any], now: float
    ) -> list[tuple[int, float]]:
        stat = query.get("MetricStat")
        if stat is None:
            raise ServiceError("ValidationError", "Only queries with a MetricStat are supported; Expression is not.")
        read = statistic_reader(stat["Stat"])
        start, end, period = _interval(parameters, stat["Period"])
        # Without Unit, each of the metric's series has its own datapoints: values of several units are never added.
        return sorted(
            (at, read(bucket))
            for series in self._find_series({**stat["Metric"], **({"Unit": stat["Unit"]} if "Unit" in stat else {})})
            for at, bucket in series.periods(start, end, period, published_until=now - self._lag)
        )

    def list_metrics(self, parameters: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Return the metrics that have data that can be read."""
        wanted = [(row["Name"], row.get("Value")) for row in parameters.get("Dimensions", ())]
        # A metric of several units is listed once.
        listed: dict[tuple[str, str, Dimensions], dict[str, Any]] = {}
        for (namespace, name, dimensions, _), series in sorted(self._metrics.series.items()):
            held = dict(dimensions)
            if parameters.get("Namespace") not in (None, namespace) or parameters.get("MetricName") not in (None, name):
                continue
            if any(key not in held or value not in (None, held[key]) for key, value in wanted):
                continue
            if any(bucket.last_observed <= now - self._lag for bucket in series.minutes.values()):
                pairs = [{"Name": key, "Value": value} for key, value in dimensions]
                listed[namespace, name, dimensions] = {
                    "Namespace": namespace,
                    "MetricName": name,
                    "Dimensions": pairs,
                }
        first, metrics = _page_start(parameters), list(listed.values())
        more = {"NextToken": str(first + _PAGE_SIZE)} if len(metrics) > first + _PAGE_SIZE else {}
        return {"Metrics": metrics[first : first + _PAGE_SIZE], **more}

    def put_metric_data(self, parameters: Mapping[str, Any], now: float) -> None:
        """Store custom values: Value, Values with Counts, or StatisticValues."""
        namespace = parameters["Namespace"]
        if namespace.startswith("AWS/"):
            raise ServiceError("InvalidParameterValue", "The value AWS/ for parameter Namespace is invalid.")
        entries = parameters.get("MetricData", ())
        if len(entries) > _MAX_PUT_ENTRIES:
            raise ServiceError("InvalidParameterValue", f"MetricData takes at most {_MAX_PUT_ENTRIES} entries.")
        # All entries are read before the first is stored: a request is stored whole or not at all.
        read = [_read_entry(row, now) for row in entries]
        rows = [
            (namespace, row["MetricName"], dimensions, row.get("Unit", "None"), at, bucket)
            for row, (dimensions, at, bucket) in zip(entries, read, strict=True)
            if bucket.sample_count
        ]
        if not self._metrics.put(rows):
            message = f"The quota of {MAX_SERIES} metrics or {MAX_PUT_VALUES} values of this emulator has been reached."
            raise ServiceError("LimitExceeded", message)

    def _find_series(self, parameters: Mapping[str, Any]) -> list[MetricSeries]:
        # Optional in the service model, where a Metric is also part of an output.
        for member in ("Namespace", "MetricName"):
            if member not in parameters:
                raise missing_parameter(member)
        return self._metrics.find(
            parameters["Namespace"], parameters["MetricName"], _dimensions(parameters), parameters.get("Unit")
        )


def statistic_reader(statistic: str) -> Callable[[MetricBucket], float]:
    """Return the function that reads a statistic from a bucket: `Average`, `p99.9`, `tm90`, `TM(5%:95%)`, `IQM`.

    Raises:
        ServiceError: the statistic is unknown or not supported.
    """
    if statistic in _SIMPLE_STATISTICS:
        return _SIMPLE_STATISTICS[statistic]
    if match := re.fullmatch(r"p(\d{1,2}(?:\.\d{1,10})?|100)", statistic):
        percent = float(match[1])
        return lambda bucket: bucket.percentile(percent)
    if statistic == "IQM":
        return lambda bucket: bucket.trimmed_mean(25, 75)
    if match := re.fullmatch(r"tm(\d{1,2}(?:\.\d{1,10})?)", statistic):
        top = float(match[1])
        return lambda bucket: bucket.trimmed_mean(0, top)
    if match := re.fullmatch(r"TM\((\d{1,2}(?:\.\d+)?)?%?:(\d{1,3}(?:\.\d+)?)?%?\)", statistic):
        low, high = float(match[1] or 0), float(match[2] or 100)
        if low < high <= 100:
            return lambda bucket: bucket.trimmed_mean(low, high)
    raise ServiceError(
        "InvalidParameterValue", f"The value {statistic} for parameter ExtendedStatistics is not supported."
    )


def _check_ids(names: list[str]) -> None:
    for name in names:
        if not re.fullmatch(r"[a-z][A-Za-z0-9_]{0,254}", name):
            raise ServiceError(
                "ValidationError",
                f"The value {name[:80]} for parameter Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.",
            )
    if len(set(names)) < len(names):
        raise ServiceError("ValidationError", "The values for parameter id in MetricDataQueries are not unique.")


def _page_start(parameters: Mapping[str, Any]) -> int:
    token = parameters.get("NextToken", "0")
    if not re.fullmatch("[0-9]{1,9}", token):
        raise ServiceError("InvalidNextToken", "The value for parameter NextToken is invalid.")
    return int(token)


def _interval(parameters: Mapping[str, Any], period: int) -> tuple[float, float, int]:
    if period < 60 or period % 60:
        raise ServiceError("InvalidParameterValue", "The parameter Period must be a multiple of 60.")
    start, end = parameters["StartTime"], parameters["EndTime"]
    if start >= end:
        raise ServiceError("InvalidParameterValue", "The parameter StartTime must be less than the parameter EndTime.")
    return start, end, period


def _dimensions(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(row["Name"], row["Value"]) for row in parameters.get("Dimensions", ())]


def _read_entry(row: Mapping[str, Any], now: float) -> tuple[dict[str, str], float, MetricBucket]:
    """Return dimensions, time and observations of one entry of PutMetricData.

    Raises:
        ServiceError: a value, count or time is out of range, or members contradict each other.
    """
    dimensions = dict(_dimensions(row))
    if len(dimensions) < len(row.get("Dimensions", ())):
        raise ServiceError("InvalidParameterValue", "The parameter Dimensions has the same Name twice.")
    at: float = row.get("Timestamp", now)
    if not now - _MAX_AGE <= at <= now + _MAX_AHEAD:
        raise ServiceError(
            "InvalidParameterValue", "The parameter Timestamp must be within two weeks before and two hours after now."
        )
    if len({"Value", "Values", "StatisticValues"} & set(row)) > 1:
        message = "Value, Values and StatisticValues are mutually exclusive."
        raise ServiceError("InvalidParameterCombination", message)
    bucket = MetricBucket()
    if (summary := row.get("StatisticValues")) is not None:
        _add_summary(bucket, summary, now)
        return dimensions, at, bucket
    values = row.get("Values", [row["Value"]] if "Value" in row else None)
    if values is None:
        raise missing_parameter("Value")
    counts = row.get("Counts") or [1.0] * len(values)
    if len(counts) != len(values):
        raise ServiceError("InvalidParameterCombination", "Values and Counts must be of the same length.")
    for value, count in zip(values, counts, strict=True):
        _check_magnitude("Value", value)
        _check_magnitude("Counts", count)
        if count < 0:
            raise ServiceError("InvalidParameterValue", "The parameter Counts must not be below 0.")
        if count:
            bucket.add(value, now, count)
    return dimensions, at, bucket


def _add_summary(bucket: MetricBucket, summary: Mapping[str, float], now: float) -> None:
    for member, value in summary.items():
        _check_magnitude(f"StatisticValues.{member}", value)
    count, total = summary["SampleCount"], summary["Sum"]
    least, most = summary["Minimum"], summary["Maximum"]
    if count <= 0 or least > most:
        raise ServiceError(
            "InvalidParameterValue", "StatisticValues must have a SampleCount above 0, and a Minimum up to its Maximum."
        )
    bucket.add_summary(count, total, least, most, now)


def _check_magnitude(name: str, value: float) -> None:
    if abs(value) > _MAX_MAGNITUDE:
        raise ServiceError("InvalidParameterValue", f"The parameter {name} must be within -2^360 and 2^360.")
