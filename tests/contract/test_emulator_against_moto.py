"""moto, an independent emulation, answers the same operations in the same shapes.

The differences that are meant, and why ours differs:

- moto's endpoints are InService at once and gone at once; ours are Creating and Deleting for a while, so ours may show
  PendingDeploymentSummary, and DescribeEndpoint has ProductionVariants only from InService on.
- moto names things that are not there in single quotes ('arn...'); users of AWS saw double quotes.
- moto takes MaxConcurrency 201, ProvisionedConcurrency above MaxConcurrency and duplicate names; AWS refuses all three.
- moto's InvokeEndpoint answers for endpoints that do not exist, for payloads of any size, and never throttles.
- moto drops ExtendedStatistics and fails on percentiles in GetMetricData; ours has both.
- moto starts periods at the data; CloudWatch's and ours lie on the clock.
- moto does not implement UpdateEndpoint, ListServiceQuotas or the serverless part of
  UpdateEndpointWeightsAndCapacities, so that there is nothing to compare.
- moto's describe operations show members that were never given as empty ones (Containers, VpcConfig,
  DataCaptureConfig); ours leave them out. Ours show EnableNetworkIsolation of a configuration.
- moto's serverless variants lack DeployedImages, weights and instance counts, which ours have.
- moto's ListModels knows no filter, order or page, and sorts endpoints ascending unless told; AWS descends.
- moto's NameContains minds case; AWS's and ours do not.
- moto's ListMetrics repeats a metric for each value put; ours, like CloudWatch, lists it once.
"""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from tests.support.emulator import client, emulated, endpoint_config, eventually, fetch

ROLE = "arn:aws:iam::123456789012:role/role"


class Server:
    """A server's URL and token, as `client` needs them."""

    token = ""

    def __init__(self, url):
        self.url = url


@contextmanager
def both():
    """Run moto and the emulator, and yield their servers."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        # moto keeps its state in module globals, beyond the server's life.
        assert fetch(f"http://{host}:{port}/moto-api/reset", b"")[0] == 200
        with emulated() as emulator:
            yield Server(f"http://{host}:{port}"), emulator
    finally:
        server.stop()


def structure(value):
    """Reduce a response to member names and types, without ResponseMetadata."""
    if isinstance(value, dict):
        return {name: structure(inner) for name, inner in value.items() if name != "ResponseMetadata"}
    if isinstance(value, list):
        return [structure(value[0])] if value else []
    return type(value).__name__


def script(server):
    """Run the shared operations and return the structure of every response, by step."""
    steps = {}
    with client("sagemaker", server) as sagemaker:
        steps["create_model"] = sagemaker.create_model(
            ModelName="quick-one", PrimaryContainer={"Image": "image:1"}, ExecutionRoleArn=ROLE
        )
        steps["describe_model"] = sagemaker.describe_model(ModelName="quick-one")
        steps["list_models"] = sagemaker.list_models(NameContains="quick-one")
        steps["create_config"] = sagemaker.create_endpoint_config(**endpoint_config("quick-one", 2048, 4))
        steps["describe_config"] = sagemaker.describe_endpoint_config(EndpointConfigName="config")
        steps["list_configs"] = sagemaker.list_endpoint_configs()
        tags = [{"Key": "run", "Value": "1"}]
        created = sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName="config", Tags=tags)
        steps["create_endpoint"] = created
        described = eventually(
            lambda: (d := sagemaker.describe_endpoint(EndpointName="endpoint"))["EndpointStatus"] == "InService" and d
        )
        steps["describe_endpoint"] = described
        steps["list_endpoints"] = sagemaker.list_endpoints(NameContains="end", StatusEquals="InService")
        steps["list_tags"] = sagemaker.list_tags(ResourceArn=created["EndpointArn"])
        steps["delete_endpoint"] = sagemaker.delete_endpoint(EndpointName="endpoint")
        steps["delete_config"] = sagemaker.delete_endpoint_config(EndpointConfigName="config")
        steps["delete_model"] = sagemaker.delete_model(ModelName="quick-one")
    return {name: structure(answer) for name, answer in steps.items()}, created["EndpointArn"]


# Members that ours shows and theirs does not, or that are compared on their own.
BY_OURS = ("EnableNetworkIsolation", "ProductionVariants")


def without(described, *members):
    return {name: value for name, value in described.items() if name not in members}


def test_control_plane_responses_have_motos_structure():
    """Every response of the happy path has the members and types of moto's, except for the differences listed above."""
    with both() as (moto, emulator):
        theirs, their_arn = script(moto)
        ours, our_arn = script(emulator)
    assert our_arn == their_arn
    for step in theirs.keys() - {"describe_endpoint", "describe_model", "describe_config", "list_endpoints"}:
        assert ours[step] == theirs[step], step
    assert ours["list_endpoints"] == theirs["list_endpoints"]
    # What was never given is empty in theirs and left out of ours.
    for step in ("describe_model", "describe_config", "describe_endpoint"):
        other = {name: kind for name, kind in theirs[step].items() if kind not in ({}, [])}
        assert without(ours[step], *BY_OURS) == without(other, *BY_OURS), step
    mine, other = ours["describe_endpoint"], theirs["describe_endpoint"]
    (variant,), (their_variant,) = mine["ProductionVariants"], other["ProductionVariants"]
    for member in ("VariantName", "CurrentServerlessConfig", "DesiredServerlessConfig"):
        assert variant[member] == their_variant[member]


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("describe_endpoint", {"EndpointName": "none"}),
        ("describe_endpoint_config", {"EndpointConfigName": "none"}),
        ("describe_model", {"ModelName": "none"}),
        ("delete_endpoint", {"EndpointName": "none"}),
        ("create_endpoint", {"EndpointName": "e", "EndpointConfigName": "none"}),
        ("create_endpoint_config", endpoint_config("none")),
    ],
)
def test_a_missing_resource_is_the_same_error(operation, arguments):
    """Both respond with ValidationException 400, "Could not find" and the resource's name."""
    with both() as servers:
        for server in servers:
            with client("sagemaker", server) as sagemaker, pytest.raises(ClientError) as caught:
                getattr(sagemaker, operation)(**arguments)
            answer = caught.value.response
            assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (
                "ValidationException",
                400,
            )
            assert answer["Error"]["Message"].startswith("Could not find ")
            assert "none" in answer["Error"]["Message"]


def test_filters_and_order_of_lists_agree():
    """NameContains, SortBy, SortOrder, MaxResults and NextToken select the same endpoints in the same order."""
    asked = {"NameContains": "same-", "SortBy": "Name", "SortOrder": "Ascending", "MaxResults": 3}
    with both() as servers:
        found = []
        for server in servers:
            with client("sagemaker", server) as sagemaker:
                sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": "i"}, ExecutionRoleArn=ROLE)
                sagemaker.create_endpoint_config(**endpoint_config("m"))
                for name in ("same-c", "same-a", "other", "same-b", "same-d"):
                    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName="config")
                pages = [sagemaker.list_endpoints(**asked)]
                pages.append(sagemaker.list_endpoints(**asked, NextToken=pages[0]["NextToken"]))
                found.append([[row["EndpointName"] for row in page["Endpoints"]] for page in pages])
    assert found[0] == found[1] == [["same-a", "same-b", "same-c"], ["same-d"]]


def test_simple_statistics_agree():
    """For the same values of one minute, both reading operations return the same five statistics from both."""
    minute = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    span = {"StartTime": minute, "EndTime": minute + timedelta(minutes=1)}
    names = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"]
    with both() as servers:
        found = []
        for server in servers:
            with client("cloudwatch", server) as cloudwatch:
                data = [
                    {"MetricName": "Own", "Value": float(n), "Timestamp": minute, "Unit": "Seconds"} for n in range(5)
                ]
                cloudwatch.put_metric_data(Namespace="Mine", MetricData=data)
                own = {"Namespace": "Mine", "MetricName": "Own"}
                (point,) = cloudwatch.get_metric_statistics(**own, **span, Period=60, Statistics=names)["Datapoints"]
                queries = [
                    {"Id": f"q{n}", "MetricStat": {"Metric": own, "Period": 60, "Stat": name}}
                    for n, name in enumerate(names)
                ]
                results = cloudwatch.get_metric_data(MetricDataQueries=queries, **span)["MetricDataResults"]
                found.append((point, [result["Values"] for result in results], cloudwatch.list_metrics()["Metrics"][0]))
    assert found[0] == found[1]
    assert found[1][1] == [[5.0], [2.0], [10.0], [0.0], [4.0]]


def test_caller_identity_has_the_same_structure():
    """GetCallerIdentity has the same members in both."""
    with both() as servers:
        shapes = []
        for server in servers:
            with client("sts", server) as sts:
                shapes.append(structure(sts.get_caller_identity()))
    assert shapes[0] == shapes[1]
