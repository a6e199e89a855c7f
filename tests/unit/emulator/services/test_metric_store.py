"""Metric buckets and series: sums, percentiles and periods, against numpy and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.services.cloudwatch import CloudWatch, statistic_reader
from loadgen.emulator.services.metric_store import EndpointMetrics, MetricBucket, MetricSeries, MetricStore

PERCENTS = [0, 1, 25, 50, 75, 90, 99, 99.9, 100]


def bucket_of(values):
    bucket = MetricBucket()
    for value in values:
        bucket.add(value, 0.0)
    return bucket


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=300))
def test_percentiles_of_a_small_minute_are_exact(values):
    """Up to 2000 distinct values, every percentile is numpy's with linear interpolation."""
    bucket = bucket_of(values)
    for percent in PERCENTS:
        assert bucket.percentile(percent) == pytest.approx(np.percentile(values, percent), rel=1e-9, abs=1e-6)


def test_a_busy_minute_has_bounded_memory_and_an_error_below_a_thousandth():
    """200,000 distinct latencies are kept as at most 5000 values; sums are exact, percentiles within 0.1 %."""
    values = np.random.default_rng(3).lognormal(11.5, 0.4, 200_000)
    bucket = bucket_of(values.tolist())
    assert len(bucket.occurrences) < 5000
    assert bucket.sample_count == len(values)
    assert bucket.total == pytest.approx(values.sum())
    assert (bucket.minimum, bucket.maximum) == (values.min(), values.max())
    for percent in PERCENTS:
        assert bucket.percentile(percent) == pytest.approx(np.percentile(values, percent), rel=1e-3)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_buckets_add(left, right):
    """Merging two minutes gives what one minute with all values would have given."""
    merged = bucket_of(left)
    merged.merge(bucket_of(right))
    whole = bucket_of(left + right)
    assert merged.occurrences == whole.occurrences
    assert (merged.sample_count, merged.minimum, merged.maximum) == (whole.sample_count, whole.minimum, whole.maximum)
    assert merged.total == pytest.approx(whole.total)


def test_trimmed_means_exclude_the_extremes():
    """Of 1..10, tm90 is the mean of 1..9, TM(20%:80%) that of 3..8, and IQM keeps half of the quartiles' members."""
    bucket = bucket_of(range(1, 11))
    assert statistic_reader("tm90")(bucket) == pytest.approx(5.0)
    assert statistic_reader("TM(20%:80%)")(bucket) == pytest.approx(5.5)
    assert statistic_reader("IQM")(bucket) == pytest.approx((0.5 * 3 + 4 + 5 + 6 + 7 + 0.5 * 8) / 5)


@pytest.mark.parametrize("statistic", ["p101", "p-1", "median", "", "TM(80%:20%)", "p", "Average "])
def test_an_unknown_statistic_is_rejected(statistic):
    """An unknown statistic gets InvalidParameterValue."""
    with pytest.raises(ServiceError, match="InvalidParameterValue"):
        statistic_reader(statistic)


def test_periods_are_aligned_to_the_clock_and_exclude_the_end():
    """Minutes 4 to 11 in periods of five: 0:00 has minute 4, 0:05 has 5 to 9, 0:10 has 10."""
    series = MetricSeries("None")
    for minute in range(12):
        series.bucket_at(minute * 60.0 + 30).add(float(minute), minute * 60.0 + 30)
    periods = [(at, b.total) for at, b in series.periods(4 * 60, 11 * 60, 300, published_until=1e9)]
    assert periods == [(0, 4.0), (300, 5.0 + 6 + 7 + 8 + 9), (600, 10.0)]


def test_a_start_within_a_minute_counts_the_whole_minute():
    """StartTime is rounded down to its minute: earlier observations of that minute are included."""
    series = MetricSeries("None")
    series.bucket_at(61.0).add(1.0, 61.0)
    assert [b.total for _, b in series.periods(100.0, 160.0, 60, published_until=1e9)] == [1.0]


def test_a_minute_is_published_when_the_lag_has_passed_since_its_last_event():
    """With a lag of 45 s an observation at 100 s is published at 145 s and not at 144 s; empty minutes never are."""
    metrics = MetricStore()
    EndpointMetrics(metrics, "e", "v").observe(100.0, [("Invocations", 1.0)])
    cloudwatch = CloudWatch(metrics, lag=45.0)
    names = [{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "v"}]
    asked = {
        "Namespace": "AWS/SageMaker",
        "MetricName": "Invocations",
        "Dimensions": names,
        "StartTime": 0.0,
        "EndTime": 600.0,
        "Period": 60,
        "Statistics": ["Sum"],
    }
    assert cloudwatch.get_metric_statistics(asked, 144.0)["Datapoints"] == []
    points = cloudwatch.get_metric_statistics(asked, 145.0)["Datapoints"]
    assert [(point["Timestamp"].timestamp(), point["Sum"]) for point in points] == [(60.0, 1.0)]


def test_a_series_keeps_one_day():
    """A series keeps its last 1440 minutes."""
    series = MetricSeries("None")
    for minute in range(3000):
        series.bucket_at(minute * 60.0).add(1.0, minute * 60.0)
    assert len(series.minutes) == 1440
    assert min(series.minutes) == 3000 - 1440


def put(cloudwatch, now=1e9, **row):
    cloudwatch.operations["PutMetricData"]({"Namespace": "Mine", "MetricData": [{"MetricName": "m", **row}]}, now)


def points(cloudwatch, now=1e9, **asked):
    """Return the datapoints of one metric over a month, in order of unit."""
    asked = {
        "Namespace": "Mine",
        "MetricName": "m",
        "StartTime": now - 2e6,
        "EndTime": now + 1e5,
        "Period": 86400 * 60,
        "Statistics": ["Minimum", "Maximum", "Sum", "SampleCount", "Average"],
        "ExtendedStatistics": ["p50", "IQM"],
        **asked,
    }
    answer = cloudwatch.operations["GetMetricStatistics"](asked, now)["Datapoints"]
    return sorted(answer, key=lambda point: point["Unit"])


@pytest.mark.parametrize(
    ("count", "total", "least", "most"),
    [(2, 10, 1, 9), (1, 3, 3, 3), (2, -10, -9, -1), (0.5, 1, 2, 2), (1.5, 3, 1, 3), (1000, 5000, 0, 9), (3, 30, 1, 9)],
)
def test_a_statistic_set_keeps_its_own_figures(count, total, least, most):
    """The four figures of StatisticValues are read back as they were put, and no percentile is outside of them."""
    cloudwatch = CloudWatch(MetricStore(), lag=0.0)
    put(cloudwatch, StatisticValues={"SampleCount": count, "Sum": total, "Minimum": least, "Maximum": most})
    (point,) = points(cloudwatch)
    assert (point["SampleCount"], point["Sum"], point["Minimum"], point["Maximum"]) == (count, total, least, most)
    assert least <= point["ExtendedStatistics"]["p50"] <= most


def test_values_of_two_units_are_never_added():
    """Bytes and Seconds of one metric are two series: both without Unit, one with it, and the metric is listed once."""
    cloudwatch = CloudWatch(MetricStore(), lag=0.0)
    put(cloudwatch, Value=1.0, Unit="Bytes")
    put(cloudwatch, Value=500.0, Unit="Seconds")
    put(cloudwatch, Value=2.0, Unit="Bytes")
    assert [(point["Sum"], point["Unit"]) for point in points(cloudwatch)] == [(3.0, "Bytes"), (500.0, "Seconds")]
    assert [point["Sum"] for point in points(cloudwatch, Unit="Seconds")] == [500.0]
    assert points(cloudwatch, Unit="Count") == []
    assert len(cloudwatch.operations["ListMetrics"]({}, 1e9)["Metrics"]) == 1
    stat = {"Metric": {"Namespace": "Mine", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}
    asked = {"MetricDataQueries": [{"Id": "a", "MetricStat": stat}], "StartTime": 1e9 - 600, "EndTime": 1e9 + 600}
    (result,) = cloudwatch.operations["GetMetricData"](asked, 1e9)["MetricDataResults"]
    assert sorted(result["Values"]) == [3.0, 500.0]
    for room in (0, -1):
        with pytest.raises(ServiceError, match="MaxDatapoints"):
            cloudwatch.operations["GetMetricData"]({**asked, "MaxDatapoints": room}, 1e9)


SUMMARY = {"SampleCount": 2.0, "Sum": 10.0, "Minimum": 1.0, "Maximum": 9.0}


@pytest.mark.parametrize(
    "row",
    [
        {"Value": 1.0, "StatisticValues": SUMMARY},
        {"Value": 1.0, "Values": [1.0]},
        {"StatisticValues": SUMMARY | {"SampleCount": 0.0}},
        {"StatisticValues": SUMMARY | {"Minimum": 10.0}},
        {"StatisticValues": SUMMARY | {"Sum": 1e200}},
        {"Values": [1.0], "Counts": [-3.0]},
        {"Values": [1.0, 2.0], "Counts": [1.0]},
        {"Values": [1.0], "Counts": [1e299]},
        {"Value": 1e299},
        {"Value": 1.0, "Timestamp": -62_135_596_800.0},
        {"Value": 1.0, "Timestamp": 253_402_300_799.0},
        {"Value": 1.0, "Dimensions": [{"Name": "N", "Value": "B"}, {"Name": "N", "Value": "C"}]},
        {},
    ],
    ids=str,
)
def test_impossible_metric_data_is_refused_whole(row):
    """Contradicting members, values, counts and times out of range get 400, and nothing of the request is stored."""
    metrics = MetricStore()
    entries = [{"MetricName": "good", "Value": 1.0}, {"MetricName": "m", **row}]
    with pytest.raises(ServiceError) as refused:
        CloudWatch(metrics, lag=0.0).operations["PutMetricData"]({"Namespace": "Mine", "MetricData": entries}, 1e9)
    assert (refused.value.status, metrics.series) == (400, {})


@given(
    st.lists(st.tuples(st.floats(-1e100, 1e100), st.sampled_from([0, 0.0, 5e-324, 0.5, 1, 7, 1e100])), max_size=20),
    st.sampled_from(["Average", "Sum", "p0", "p50", "p99.9", "IQM", "tm90", "TM(1%:2%)"]),
)
def test_every_statistic_of_any_accepted_values_can_be_read(weighted, statistic):
    """Zero, tiny and huge counts leave every statistic readable; counts of zero alone store nothing."""
    cloudwatch = CloudWatch(MetricStore(), lag=0.0)
    put(cloudwatch, Values=[value for value, _ in weighted], Counts=[float(count) for _, count in weighted])
    is_simple = statistic in ("Average", "Sum")
    read = points(
        cloudwatch,
        Statistics=[statistic] if is_simple else None,
        ExtendedStatistics=None if is_simple else [statistic],
    )
    assert len(read) == any(count for _, count in weighted)
