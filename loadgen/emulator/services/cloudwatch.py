"""CloudWatch: GetMetricStatistics, GetMetricData, ListMetrics and PutMetricData over the account's series.

One set of operations for both protocols: parameters come as nested values, results go as nested values in which an
instant is a `datetime`. How they travel is server.py's and query.py's.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from loadgen.emulator.protocol.query import number, str_list, struct_list, timestamp
from loadgen.emulator.protocol.responses import ServiceError, XmlEntries
from loadgen.emulator.services.metric_store import MetricBucket, MetricSeries, MetricStore

# Source of the bounds: botocore service model cloudwatch 2010-08-01 and the API reference of each operation.
_MAX_DATAPOINTS = 1440
_MAX_DATA_VALUES = 100_800
_MAX_QUERIES = 500
_MAX_PUT_ENTRIES = 1000
_PAGE_SIZE = 500
_SIMPLE_STATISTICS: Mapping[str, Callable[[MetricBucket], float]] = {
    "SampleCount": lambda bucket: bucket.sample_count,
    "Average": lambda bucket: bucket.average,
    "Sum": lambda bucket: bucket.total,
    "Minimum": lambda bucket: bucket.minimum,
    "Maximum": lambda bucket: bucket.maximum,
}
_RATES = tuple(f"{size}{what}" for what in ("bytes", "bits") for size in ("", "Kilo", "Mega", "Giga", "Tera"))
_UNITS = frozenset(
    ["Seconds", "Microseconds", "Milliseconds", "Percent", "Count", "None", "Count/Second"]
    + [unit.capitalize() for unit in _RATES]
    + [f"{unit.capitalize()}/Second" for unit in _RATES]
)


class CloudWatch:
    """The metrics API of the account.

    Args:
        metrics: what has been observed.
        lag: seconds after a minute's last observation before it can be read.
    """

    def __init__(self, metrics: MetricStore, *, lag: float) -> None:
        self._metrics = metrics
        self._lag = lag
        self.operations: Mapping[str, Callable[[Mapping[str, Any], float], dict[str, Any] | None]] = {
            "GetMetricStatistics": self.get_metric_statistics,
            "GetMetricData": self.get_metric_data,
            "ListMetrics": self.list_metrics,
            "PutMetricData": self.put_metric_data,
        }

    def get_metric_statistics(self, parameters: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Answer GetMetricStatistics. Simple and extended statistics may come together."""
        simple, extended = str_list(parameters, "Statistics"), str_list(parameters, "ExtendedStatistics")
        if not simple and not extended:
            raise ServiceError(
                "InvalidParameterCombination", "At least one of Statistics and ExtendedStatistics must be given."
            )
        for statistic in simple:
            if statistic not in _SIMPLE_STATISTICS:
                raise ServiceError(
                    "InvalidParameterValue", f"The value {statistic} for parameter Statistics is invalid."
                )
        readings = {statistic: statistic_reader(statistic) for statistic in extended}
        start, end, period = _interval(parameters)
        if (end - start) / period > _MAX_DATAPOINTS:
            raise ServiceError(
                "InvalidParameterCombination",
                f"You have requested up to {int((end - start) // period)} datapoints, which exceeds the limit of "
                f"{_MAX_DATAPOINTS}. You may reduce the datapoints requested by increasing Period, or decreasing the "
                "time range.",
            )
        series = self._find_series(parameters)
        datapoints = []
        if series is not None:
            for stamp, bucket in series.periods(start, end, period, published_until=now - self._lag):
                point: dict[str, Any] = {"Timestamp": datetime.fromtimestamp(stamp, UTC)}
                point |= {statistic: _SIMPLE_STATISTICS[statistic](bucket) for statistic in simple}
                point["Unit"] = series.unit
                if readings:
                    point["ExtendedStatistics"] = XmlEntries({name: read(bucket) for name, read in readings.items()})
                datapoints.append(point)
        # The service gives no order; ours is one that nobody can mistake for one.
        datapoints = datapoints[1::2] + datapoints[::2]
        return {"Label": parameters["MetricName"], "Datapoints": datapoints}

    def get_metric_data(self, parameters: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Answer GetMetricData for MetricStat queries, by pages of MaxDatapoints; metric math is refused."""
        queries = struct_list(parameters, "MetricDataQueries")
        if not 1 <= len(queries) <= _MAX_QUERIES:
            raise ServiceError("ValidationError", f"MetricDataQueries takes 1 to {_MAX_QUERIES} queries.")
        _check_ids([str(query.get("Id", "")) for query in queries])
        is_ascending = parameters.get("ScanBy", "TimestampDescending") == "TimestampAscending"
        room = min(int(number(parameters, "MaxDatapoints", _MAX_DATA_VALUES)), _MAX_DATA_VALUES)
        skipped = passed = _page_start(parameters)
        results = []
        for query in queries:
            points = self._query_points(query, parameters, now)
            if str(query.get("ReturnData", "true")).lower() == "false":
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
        if not isinstance(stat, dict) or not isinstance(stat.get("Metric"), dict):
            raise ServiceError("ValidationError", "Only queries with a MetricStat are supported; Expression is not.")
        read = statistic_reader(str(stat.get("Stat", "")))
        start, end, period = _interval({**parameters, "Period": stat.get("Period")})
        series = self._find_series({**stat["Metric"], **({"Unit": stat["Unit"]} if stat.get("Unit") else {})})
        if series is None:
            return []
        return [
            (at, read(bucket)) for at, bucket in series.periods(start, end, period, published_until=now - self._lag)
        ]

    def list_metrics(self, parameters: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Answer ListMetrics: what has any data that can be read."""
        wanted = [(str(row.get("Name", "")), row.get("Value")) for row in struct_list(parameters, "Dimensions")]
        listed = []
        for (namespace, name, dimensions), series in sorted(self._metrics.series.items()):
            held = dict(dimensions)
            if parameters.get("Namespace") not in (None, namespace) or parameters.get("MetricName") not in (None, name):
                continue
            if any(key not in held or value not in (None, held[key]) for key, value in wanted):
                continue
            if any(bucket.last_observed <= now - self._lag for bucket in series.minutes.values()):
                pairs = [{"Name": key, "Value": value} for key, value in dimensions]
                listed.append({"Namespace": namespace, "MetricName": name, "Dimensions": pairs})
        first = _page_start(parameters)
        more = {"NextToken": str(first + _PAGE_SIZE)} if len(listed) > first + _PAGE_SIZE else {}
        return {"Metrics": listed[first : first + _PAGE_SIZE], **more}

    def put_metric_data(self, parameters: Mapping[str, Any], now: float) -> None:
        """Take values of one's own: single ones, Values with Counts, or StatisticValues."""
        namespace = _require_str(parameters, "Namespace")
        if namespace.startswith("AWS/"):
            raise ServiceError("InvalidParameterValue", "The value AWS/ for parameter Namespace is invalid.")
        entries = struct_list(parameters, "MetricData")
        if len(entries) > _MAX_PUT_ENTRIES:
            raise ServiceError("InvalidParameterValue", f"MetricData takes at most {_MAX_PUT_ENTRIES} entries.")
        for row in entries:
            unit = str(row.get("Unit") or "None")
            if unit not in _UNITS:
                raise ServiceError("InvalidParameterValue", f"The value {unit} for parameter Unit is invalid.")
            observed = list(_observations(row))
            series = self._metrics.get_or_create(
                namespace, _require_str(row, "MetricName"), dict(_dimensions(row)), unit
            )
            at = now if row.get("Timestamp") is None else timestamp(row, "Timestamp")
            for value, times in observed:
                series.bucket_at(at).add(value, now, times)

    def _find_series(self, parameters: Mapping[str, Any]) -> MetricSeries | None:
        namespace, name = _require_str(parameters, "Namespace"), _require_str(parameters, "MetricName")
        series = self._metrics.find(namespace, name, _dimensions(parameters))
        unit = parameters.get("Unit")
        if unit is not None and unit not in _UNITS:
            raise ServiceError("InvalidParameterValue", f"The value {unit} for parameter Unit is invalid.")
        return None if series is None or unit not in (None, series.unit) else series


def statistic_reader(statistic: str) -> Callable[[MetricBucket], float]:
    """Return how to read a statistic off a bucket: Average and its kind, `p99.9`, `tm90`, `TM(5%:95%)`, `IQM`.

    Raises:
        ServiceError: a statistic that is none, or not one of these.
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
    token = str(parameters.get("NextToken") or "0")
    if not token.isdecimal() or len(token) > 9:
        raise ServiceError("InvalidNextToken", "The value for parameter NextToken is invalid.")
    return int(token)


def _interval(parameters: Mapping[str, Any]) -> tuple[float, float, int]:
    period = number(parameters, "Period")
    if period < 60 or period % 60:
        raise ServiceError("InvalidParameterValue", "The parameter Period must be a multiple of 60.")
    start, end = timestamp(parameters, "StartTime"), timestamp(parameters, "EndTime")
    if start >= end:
        raise ServiceError("InvalidParameterValue", "The parameter StartTime must be less than the parameter EndTime.")
    return start, end, int(period)


def _require_str(parameters: Mapping[str, Any], name: str) -> str:
    value = parameters.get(name)
    if not isinstance(value, str) or not value:
        raise ServiceError("MissingParameter", f"The parameter {name} is required.")
    return value


def _dimensions(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(_require_str(row, "Name"), _require_str(row, "Value")) for row in struct_list(parameters, "Dimensions")]


def _observations(row: Mapping[str, Any]) -> Iterable[tuple[float, float]]:
    summary = row.get("StatisticValues")
    if isinstance(summary, dict):
        # A summary has lost its values: the extremes once each and the rest at their mean add up to the same figures.
        samples, total = number(summary, "SampleCount"), number(summary, "Sum")
        least, greatest = number(summary, "Minimum"), number(summary, "Maximum")
        if samples <= 0:
            raise ServiceError("InvalidParameterValue", "The parameter StatisticValues.SampleCount must be above 0.")
        if samples <= 2:
            yield total / samples, samples
            return
        yield least, 1.0
        yield greatest, 1.0
        yield (total - least - greatest) / (samples - 2), samples - 2
        return
    values = row.get("Values")
    if values is None:
        yield number(row, "Value"), 1.0
        return
    counts = row.get("Counts") or [1.0] * len(values)
    if len(counts) != len(values):
        raise ServiceError("InvalidParameterCombination", "Values and Counts must be of the same length.")
    for value, times in zip(values, counts, strict=True):
        yield number({"Values": value}, "Values"), number({"Counts": times}, "Counts")
