"""CloudWatch: GetMetricStatistics, GetMetricData, ListMetrics and PutMetricData over the account's series.

One set of operations for both protocols: parameters come as nested values, results go as nested values in which an
instant is a `datetime`. How they travel is server.py's and query.py's.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from loadgen.emulator.protocol.query import moment, number, rows, words
from loadgen.emulator.protocol.responses import AwsError, Entries
from loadgen.emulator.services.metric_store import Bucket, Metrics, Series

# Source of the bounds: botocore service model cloudwatch 2010-08-01 and the API reference of each operation.
_MOST_DATAPOINTS = 1440
_MOST_DATA = 100_800
_MOST_QUERIES = 500
_MOST_PUT = 1000
_PAGE = 500
_SIMPLE: Mapping[str, Callable[[Bucket], float]] = {
    "SampleCount": lambda bucket: bucket.samples,
    "Average": lambda bucket: bucket.average,
    "Sum": lambda bucket: bucket.total,
    "Minimum": lambda bucket: bucket.least,
    "Maximum": lambda bucket: bucket.greatest,
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

    def __init__(self, metrics: Metrics, *, lag: float) -> None:
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
        simple, extended = words(parameters, "Statistics"), words(parameters, "ExtendedStatistics")
        if not simple and not extended:
            raise AwsError(
                "InvalidParameterCombination", "At least one of Statistics and ExtendedStatistics must be given."
            )
        for statistic in simple:
            if statistic not in _SIMPLE:
                raise AwsError("InvalidParameterValue", f"The value {statistic} for parameter Statistics is invalid.")
        readings = {statistic: reading(statistic) for statistic in extended}
        start, end, period = _interval(parameters)
        if (end - start) / period > _MOST_DATAPOINTS:
            raise AwsError(
                "InvalidParameterCombination",
                f"You have requested up to {int((end - start) // period)} datapoints, which exceeds the limit of "
                f"{_MOST_DATAPOINTS}. You may reduce the datapoints requested by increasing Period, or decreasing the "
                "time range.",
            )
        series = self._find(parameters)
        datapoints = []
        if series is not None:
            for stamp, bucket in series.periods(start, end, period, visible=now - self._lag):
                point: dict[str, Any] = {"Timestamp": datetime.fromtimestamp(stamp, UTC)}
                point |= {statistic: _SIMPLE[statistic](bucket) for statistic in simple}
                point["Unit"] = series.unit
                if readings:
                    point["ExtendedStatistics"] = Entries({name: read(bucket) for name, read in readings.items()})
                datapoints.append(point)
        # The service gives no order; ours is one that nobody can mistake for one.
        datapoints = datapoints[1::2] + datapoints[::2]
        return {"Label": parameters["MetricName"], "Datapoints": datapoints}

    def get_metric_data(self, parameters: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Answer GetMetricData for MetricStat queries, by pages of MaxDatapoints; metric math is refused."""
        queries = rows(parameters, "MetricDataQueries")
        if not 1 <= len(queries) <= _MOST_QUERIES:
            raise AwsError("ValidationError", f"MetricDataQueries takes 1 to {_MOST_QUERIES} queries.")
        _check_ids([str(query.get("Id", "")) for query in queries])
        is_ascending = parameters.get("ScanBy", "TimestampDescending") == "TimestampAscending"
        room = min(int(number(parameters, "MaxDatapoints", _MOST_DATA)), _MOST_DATA)
        skipped = passed = _page_start(parameters)
        results = []
        for query in queries:
            points = self._points(query, parameters, now)
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

    def _points(self, query: Mapping[str, Any], parameters: Mapping[str, Any], now: float) -> list[tuple[int, float]]:
        stat = query.get("MetricStat")
        if not isinstance(stat, dict) or not isinstance(stat.get("Metric"), dict):
            raise AwsError("ValidationError", "Only queries with a MetricStat are supported; Expression is not.")
        read = reading(str(stat.get("Stat", "")))
        start, end, period = _interval({**parameters, "Period": stat.get("Period")})
        series = self._find({**stat["Metric"], **({"Unit": stat["Unit"]} if stat.get("Unit") else {})})
        if series is None:
            return []
        return [(at, read(bucket)) for at, bucket in series.periods(start, end, period, visible=now - self._lag)]

    def list_metrics(self, parameters: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Answer ListMetrics: what has any data that can be read."""
        wanted = [(str(row.get("Name", "")), row.get("Value")) for row in rows(parameters, "Dimensions")]
        listed = []
        for (namespace, name, dimensions), series in sorted(self._metrics.series.items()):
            held = dict(dimensions)
            if parameters.get("Namespace") not in (None, namespace) or parameters.get("MetricName") not in (None, name):
                continue
            if any(key not in held or value not in (None, held[key]) for key, value in wanted):
                continue
            if any(bucket.last <= now - self._lag for bucket in series.minutes.values()):
                pairs = [{"Name": key, "Value": value} for key, value in dimensions]
                listed.append({"Namespace": namespace, "MetricName": name, "Dimensions": pairs})
        first = _page_start(parameters)
        more = {"NextToken": str(first + _PAGE)} if len(listed) > first + _PAGE else {}
        return {"Metrics": listed[first : first + _PAGE], **more}

    def put_metric_data(self, parameters: Mapping[str, Any], now: float) -> None:
        """Take values of one's own: single ones, Values with Counts, or StatisticValues."""
        namespace = _text(parameters, "Namespace")
        if namespace.startswith("AWS/"):
            raise AwsError("InvalidParameterValue", "The value AWS/ for parameter Namespace is invalid.")
        entries = rows(parameters, "MetricData")
        if len(entries) > _MOST_PUT:
            raise AwsError("InvalidParameterValue", f"MetricData takes at most {_MOST_PUT} entries.")
        for row in entries:
            unit = str(row.get("Unit") or "None")
            if unit not in _UNITS:
                raise AwsError("InvalidParameterValue", f"The value {unit} for parameter Unit is invalid.")
            observed = list(_observations(row))
            series = self._metrics.open(namespace, _text(row, "MetricName"), dict(_dimensions(row)), unit)
            at = now if row.get("Timestamp") is None else moment(row, "Timestamp")
            for value, times in observed:
                series.bucket(at).add(value, now, times)

    def _find(self, parameters: Mapping[str, Any]) -> Series | None:
        namespace, name = _text(parameters, "Namespace"), _text(parameters, "MetricName")
        series = self._metrics.find(namespace, name, _dimensions(parameters))
        unit = parameters.get("Unit")
        if unit is not None and unit not in _UNITS:
            raise AwsError("InvalidParameterValue", f"The value {unit} for parameter Unit is invalid.")
        return None if series is None or unit not in (None, series.unit) else series


def reading(statistic: str) -> Callable[[Bucket], float]:
    """Return how to read a statistic off a bucket: Average and its kind, `p99.9`, `tm90`, `TM(5%:95%)`, `IQM`.

    Raises:
        AwsError: a statistic that is none, or not one of these.
    """
    if statistic in _SIMPLE:
        return _SIMPLE[statistic]
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
    raise AwsError("InvalidParameterValue", f"The value {statistic} for parameter ExtendedStatistics is not supported.")


def _check_ids(names: list[str]) -> None:
    for name in names:
        if not re.fullmatch(r"[a-z][A-Za-z0-9_]{0,254}", name):
            raise AwsError(
                "ValidationError",
                f"The value {name[:80]} for parameter Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.",
            )
    if len(set(names)) < len(names):
        raise AwsError("ValidationError", "The values for parameter id in MetricDataQueries are not unique.")


def _page_start(parameters: Mapping[str, Any]) -> int:
    token = str(parameters.get("NextToken") or "0")
    if not token.isdecimal() or len(token) > 9:
        raise AwsError("InvalidNextToken", "The value for parameter NextToken is invalid.")
    return int(token)


def _interval(parameters: Mapping[str, Any]) -> tuple[float, float, int]:
    period = number(parameters, "Period")
    if period < 60 or period % 60:
        raise AwsError("InvalidParameterValue", "The parameter Period must be a multiple of 60.")
    start, end = moment(parameters, "StartTime"), moment(parameters, "EndTime")
    if start >= end:
        raise AwsError("InvalidParameterValue", "The parameter StartTime must be less than the parameter EndTime.")
    return start, end, int(period)


def _text(parameters: Mapping[str, Any], name: str) -> str:
    value = parameters.get(name)
    if not isinstance(value, str) or not value:
        raise AwsError("MissingParameter", f"The parameter {name} is required.")
    return value


def _dimensions(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(_text(row, "Name"), _text(row, "Value")) for row in rows(parameters, "Dimensions")]


def _observations(row: Mapping[str, Any]) -> Iterable[tuple[float, float]]:
    summary = row.get("StatisticValues")
    if isinstance(summary, dict):
        # A summary has lost its values: the extremes once each and the rest at their mean add up to the same figures.
        samples, total = number(summary, "SampleCount"), number(summary, "Sum")
        least, greatest = number(summary, "Minimum"), number(summary, "Maximum")
        if samples <= 0:
            raise AwsError("InvalidParameterValue", "The parameter StatisticValues.SampleCount must be above 0.")
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
        raise AwsError("InvalidParameterCombination", "Values and Counts must be of the same length.")
    for value, times in zip(values, counts, strict=True):
        yield number({"Values": value}, "Values"), number({"Counts": times}, "Counts")
