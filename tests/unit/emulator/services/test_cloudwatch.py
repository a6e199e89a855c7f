"""CloudWatch through real clients, over both of its protocols."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import pytest
from botocore.exceptions import ClientError

from tests.support.emulator import (
    client,
    deploy,
    emulated,
    endpoint_counters,
    eventually,
    fetch,
    invoke,
    profile_of_latency,
    requests_in_flight,
)

DIMENSIONS = [{"Name": "EndpointName", "Value": "endpoint"}, {"Name": "VariantName", "Value": "AllTraffic"}]


def around(emulator, minutes=10):
    now = datetime.fromtimestamp(emulator.clock(), UTC)
    return {"StartTime": now - timedelta(minutes=minutes), "EndTime": now + timedelta(minutes=minutes)}


def statistics(emulator, cloudwatch, name, **asked):
    """Ask for one metric of the endpoint over a day's period, so that a minute's edge cannot split it."""
    asked = {"Namespace": "AWS/SageMaker", "Dimensions": DIMENSIONS, "Period": 86400 * 365, **asked}
    if "ExtendedStatistics" not in asked:
        asked.setdefault("Statistics", ["Average", "Sum", "Minimum", "Maximum", "SampleCount"])
    return cloudwatch.get_metric_statistics(MetricName=name, **around(emulator), **asked)["Datapoints"]


def test_metrics_have_the_values_of_the_requests_and_the_guides_units():
    """Ten warm requests of exactly 20 ms: ten Invocations, no errors, ModelLatency 20,000 microseconds, overhead on top."""
    with emulated(models={"slow": profile_of_latency(0.02)}) as emulator, client("cloudwatch", emulator) as cloudwatch:
        deploy(emulator, model="slow", memory_mb=1024)
        for _ in range(10):
            assert invoke(emulator)[0] == 200
        (count,) = statistics(emulator, cloudwatch, "Invocations")
        assert (count["Sum"], count["SampleCount"], count["Unit"]) == (10, 10, "None")
        for name in ("Invocation4XXErrors", "Invocation5XXErrors"):
            (errors,) = statistics(emulator, cloudwatch, name)
            assert (errors["Sum"], errors["SampleCount"], errors["Unit"]) == (0, 10, "None")
        (latency,) = statistics(emulator, cloudwatch, "ModelLatency")
        assert (latency["Minimum"], latency["Average"], latency["Maximum"]) == (20_000, 20_000, 20_000)
        assert latency["Unit"] == "Microseconds"
        (overhead,) = statistics(emulator, cloudwatch, "OverheadLatency")
        assert 0 <= overhead["Minimum"] <= overhead["Average"] <= overhead["Maximum"]
        (memory,) = statistics(emulator, cloudwatch, "MemoryUtilization", Namespace="/aws/sagemaker/Endpoints")
        assert (memory["Average"], memory["Unit"]) == (pytest.approx(100 * 100 / 1024), "Percent")
        (used,) = statistics(emulator, cloudwatch, "ServerlessConcurrentExecutionsUtilization")
        assert (used["Maximum"], used["Unit"]) == (1.0, "None")
        assert statistics(emulator, cloudwatch, "ModelSetupTime") == []


def test_a_metric_needs_both_dimensions():
    """Asking with EndpointName alone, or for an endpoint without traffic, returns no datapoint."""
    with emulated() as emulator, client("cloudwatch", emulator) as cloudwatch:
        deploy(emulator)
        invoke(emulator)
        assert statistics(emulator, cloudwatch, "Invocations", Dimensions=DIMENSIONS[:1]) == []
        assert statistics(emulator, cloudwatch, "Invocations", Dimensions=DIMENSIONS[::-1])[0]["Sum"] == 1
        assert statistics(emulator, cloudwatch, "Invocations", Unit="Count") == []


def test_percentiles_are_returned_with_or_without_simple_statistics():
    """The percentiles of 0..100 are the numbers themselves, alone and beside Statistics."""
    with emulated() as emulator, client("cloudwatch", emulator) as cloudwatch:
        data = [
            {"MetricName": "Own", "Dimensions": DIMENSIONS, "Value": float(n), "Unit": "Seconds"} for n in range(101)
        ]
        cloudwatch.put_metric_data(Namespace="Mine", MetricData=data)
        extended = {"Namespace": "Mine", "ExtendedStatistics": ["p0", "p50", "p99", "p99.5", "p100"]}
        expected = {"p0": 0.0, "p50": 50.0, "p99": 99.0, "p99.5": 99.5, "p100": 100.0}
        (alone,) = statistics(emulator, cloudwatch, "Own", **extended)
        (both,) = statistics(emulator, cloudwatch, "Own", **extended, Statistics=["Maximum"])
        assert alone["ExtendedStatistics"] == both["ExtendedStatistics"] == pytest.approx(expected)
        assert (both["Maximum"], both["Unit"]) == (100.0, "Seconds")


def test_metric_data_has_a_result_per_query_id():
    """GetMetricData returns values and timestamps in the order of ScanBy, and an empty result for a metric without data."""
    with emulated() as emulator, client("cloudwatch", emulator) as cloudwatch:
        now = datetime.fromtimestamp(emulator.clock(), UTC)
        moments = [now - timedelta(minutes=minutes) for minutes in (3, 5)]
        data = [{"MetricName": "Own", "Value": float(n), "Timestamp": at} for n, at in enumerate(moments)]
        cloudwatch.put_metric_data(Namespace="Mine", MetricData=data)

        def query(name, metric, stat):
            metric = {"Namespace": "Mine", "MetricName": metric}
            return {"Id": name, "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}}

        queries = [query("a", "Own", "Sum"), query("b", "Own", "p90"), query("c", "Nothing", "Sum")]
        answer = cloudwatch.get_metric_data(MetricDataQueries=queries, **around(emulator), ScanBy="TimestampAscending")
        by_id = {result["Id"]: result for result in answer["MetricDataResults"]}
        assert by_id["a"]["Values"] == by_id["b"]["Values"] == [1.0, 0.0]
        minutes = [at.replace(second=0, microsecond=0) for at in sorted(moments)]
        assert [at.astimezone(UTC) for at in by_id["a"]["Timestamps"]] == minutes
        assert by_id["c"]["Values"] == []
        assert {result["StatusCode"] for result in by_id.values()} == {"Complete"}
        newest_first = cloudwatch.get_metric_data(MetricDataQueries=queries[:1], **around(emulator))
        assert newest_first["MetricDataResults"][0]["Values"] == [0.0, 1.0]


def test_pages_of_metric_data_join_to_the_whole():
    """With two datapoints a page, five minutes of two metrics come in five pages, each query's points in order."""
    with emulated() as emulator, client("cloudwatch", emulator) as cloudwatch:
        now = datetime.fromtimestamp(emulator.clock(), UTC)
        for name in ("A", "B"):
            data = [{"MetricName": name, "Value": float(n), "Timestamp": now - timedelta(minutes=n)} for n in range(5)]
            cloudwatch.put_metric_data(Namespace="Mine", MetricData=data)
        queries = [
            {
                "Id": name.lower(),
                "MetricStat": {"Metric": {"Namespace": "Mine", "MetricName": name}, "Period": 60, "Stat": "Sum"},
            }
            for name in ("A", "B")
        ]
        asked = {"MetricDataQueries": queries, **around(emulator), "MaxDatapoints": 2}
        joined, pages, token = {"a": [], "b": []}, 0, {}
        while pages == 0 or token:
            answer = cloudwatch.get_metric_data(**asked, **token)
            for result in answer["MetricDataResults"]:
                joined[result["Id"]] += result["Values"]
            token = {"NextToken": answer["NextToken"]} if "NextToken" in answer else {}
            pages += 1
        assert pages == 5
        assert joined == {"a": [0.0, 1.0, 2.0, 3.0, 4.0], "b": [0.0, 1.0, 2.0, 3.0, 4.0]}


def test_errors_count_by_the_containers_status():
    """A ModelError over a 400 counts in Invocation4XXErrors, one over a 500 in Invocation5XXErrors."""
    with emulated() as emulator, client("cloudwatch", emulator) as cloudwatch:
        deploy(emulator)
        for original in (400, 400, 500):
            fault = {"operation": "InvokeEndpoint", "kind": "error_after", "code": "ModelError", "status": 424}
            fetch(f"{emulator.url}/faults", json.dumps({**fault, "original_status": original}).encode())
            assert invoke(emulator)[0] == 424
        sums = [
            statistics(emulator, cloudwatch, name)[0]["Sum"]
            for name in ("Invocation4XXErrors", "Invocation5XXErrors", "Invocations")
        ]
        assert sums == [2, 1, 3]


def test_list_metrics_returns_metrics_with_data():
    """Only metrics with observations are listed, with both dimensions; Namespace and Dimensions filter them."""
    with emulated() as emulator, client("cloudwatch", emulator) as cloudwatch:
        deploy(emulator)
        assert cloudwatch.list_metrics()["Metrics"] == []
        invoke(emulator)
        listed = cloudwatch.list_metrics(Namespace="AWS/SageMaker")["Metrics"]
        names = {metric["MetricName"] for metric in listed}
        assert {"Invocations", "ModelLatency", "OverheadLatency"} <= names
        assert "ModelSetupTime" not in names
        assert listed[0]["Dimensions"] == DIMENSIONS
        assert cloudwatch.list_metrics(Dimensions=[{"Name": "EndpointName", "Value": "other"}])["Metrics"] == []


def test_statistic_values_and_counts_add_up():
    """StatisticValues and Values with Counts are read back with the sums that were put."""
    with emulated() as emulator, client("cloudwatch", emulator) as cloudwatch:
        summary = {"SampleCount": 10.0, "Sum": 55.0, "Minimum": 1.0, "Maximum": 10.0}
        data = [
            {"MetricName": "Own", "StatisticValues": summary},
            {"MetricName": "Own", "Values": [20.0, 30.0], "Counts": [2.0, 1.0]},
        ]
        cloudwatch.put_metric_data(Namespace="Mine", MetricData=data)
        (point,) = statistics(emulator, cloudwatch, "Own", Namespace="Mine", Dimensions=[])
        assert (point["SampleCount"], point["Sum"], point["Minimum"], point["Maximum"]) == (13, 125, 1, 30)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"Period": 90}, "InvalidParameterValue"),
        ({"Statistics": []}, "InvalidParameterCombination"),
        ({"ExtendedStatistics": ["p101"]}, "InvalidParameterValue"),
        ({"Period": 60, "StartTime": datetime(2020, 1, 1, tzinfo=UTC)}, "InvalidParameterCombination"),
        ({"EndTime": datetime(2020, 1, 1, tzinfo=UTC)}, "InvalidParameterValue"),
    ],
)
def test_invalid_parameters_have_the_services_codes(asked, code):
    """Each invalid parameter of GetMetricStatistics gets the service's error code."""
    with emulated() as emulator, client("cloudwatch", emulator, parameter_validation=False) as cloudwatch:
        right = {"Namespace": "AWS/SageMaker", "MetricName": "Invocations", "Period": 60, **around(emulator)}
        if "ExtendedStatistics" not in asked:
            right["Statistics"] = ["Sum"]
        with pytest.raises(ClientError) as caught:
            cloudwatch.get_metric_statistics(**{**right, **asked})
        assert caught.value.response["Error"]["Code"] == code


def json_call(emulator, operation, body, **headers):
    target = f"GraniteServiceVersion20100801.{operation}"
    return fetch(emulator.url, body, X_Amz_Target=target, Content_Type="application/x-amz-json-1.0", **headers)


def test_the_json_protocol_returns_the_same_datapoints():
    """GetMetricStatistics returns the same datapoint in JSON 1.0 as in XML; the request may be gzip."""
    with emulated() as emulator, client("cloudwatch", emulator) as cloudwatch:
        deploy(emulator)
        invoke(emulator)
        (old,) = statistics(emulator, cloudwatch, "Invocations", ExtendedStatistics=["p50"], Statistics=["Sum"])
        asked = {
            "Namespace": "AWS/SageMaker",
            "MetricName": "Invocations",
            "Dimensions": DIMENSIONS,
            "Period": 86400 * 365,
            "StartTime": 0,
            "EndTime": emulator.clock() + 60,
            "Statistics": ["Sum"],
            "ExtendedStatistics": ["p50"],
        }
        status, headers, body = json_call(
            emulator, "GetMetricStatistics", gzip.compress(json.dumps(asked).encode()), Content_Encoding="gzip"
        )
        assert (status, headers["Content-Type"]) == (200, "application/x-amz-json-1.0")
        (new,) = json.loads(body)["Datapoints"]
        assert new == {**old, "Timestamp": old["Timestamp"].timestamp()}


def test_json_errors_have_the_query_header_in_query_mode():
    """Only with x-amzn-query-mode an error has the header x-amzn-query-error."""
    with emulated() as emulator:
        status, headers, body = json_call(emulator, "GetMetricStatistics", b"{}", X_Amzn_Query_Mode="true")
        code = json.loads(body)["__type"]
        assert (status, headers["x-amzn-query-error"]) == (400, f"{code};Sender")
        assert "x-amzn-query-error" not in json_call(emulator, "GetMetricStatistics", b"{}")[1]


def test_metrics_are_published_after_the_lag():
    """With a lag of an hour a metric has no datapoint yet."""
    with emulated(metric_lag=3600.0) as emulator, client("cloudwatch", emulator) as cloudwatch:
        deploy(emulator)
        invoke(emulator)
        assert statistics(emulator, cloudwatch, "Invocations") == []


def test_cold_starts_have_a_setup_time_and_provisioned_endpoints_their_own_metrics():
    """Two requests at once on one provisioned instance: one spills over and has the only ModelSetupTime."""
    profile = profile_of_latency(0.5, cold_start=0.05)
    with emulated(models={"slow": profile}, time_scale=1.0) as emulator, client("cloudwatch", emulator) as cloudwatch:
        deploy(emulator, model="slow", max_concurrency=2, ProvisionedConcurrency=1)
        with requests_in_flight(emulator, 2):
            eventually(lambda: endpoint_counters(emulator)["ok"] == 2)
        (setup,) = statistics(emulator, cloudwatch, "ModelSetupTime")
        assert (setup["SampleCount"], setup["Unit"]) == (1, "Microseconds")
        prefix = "ServerlessProvisionedConcurrency"
        (own,) = statistics(emulator, cloudwatch, f"{prefix}Invocations")
        (spilled,) = statistics(emulator, cloudwatch, f"{prefix}SpilloverInvocations")
        assert (own["Sum"], spilled["Sum"], own["Unit"]) == (1, 1, "Count")


def test_xml_responses_escape_hostile_names():
    """A metric name of markup and a control character is escaped: the XML is well-formed."""
    with emulated() as emulator:
        name = "</MetricName><script>&\x01"
        form = {
            "Action": "PutMetricData",
            "Version": "2010-08-01",
            "Namespace": "Mine",
            "MetricData.member.1.MetricName": name,
            "MetricData.member.1.Value": "1",
        }
        assert fetch(emulator.url, urlencode(form).encode())[0] == 200
        document = ET.fromstring(fetch(emulator.url, b"Action=ListMetrics&Version=2010-08-01")[2])
        (shown,) = document.iter("{http://monitoring.amazonaws.com/doc/2010-08-01/}MetricName")
        assert shown.text == name.replace("\x01", "\N{REPLACEMENT CHARACTER}")
        assert len(shown) == 0
