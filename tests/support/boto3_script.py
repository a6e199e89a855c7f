"""Operations that any boto3 must be able to run against the emulator. Run by interpreters with different boto3 versions:

    python boto3_script.py URL

Imports only boto3, asserts nothing, and prints the observed results as one JSON object.
"""

import json
import sys
from datetime import datetime, timedelta, timezone

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

NAME = "script-endpoint"
VARIANT = {
    "VariantName": "AllTraffic",
    "ModelName": "script-model",
    "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 1},
}


def error_of(call, **arguments):
    """Return code and message of the error, or None if the call succeeded."""
    try:
        call(**arguments)
    except ClientError as error:
        return [error.response["Error"]["Code"], error.response["Error"].get("Message")]
    return None


def main(url):
    opened = []

    def client(service):
        config = Config(retries={"total_max_attempts": 1})
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        opened.append(boto3.session.Session().client(service, endpoint_url=url, config=config, **keys))
        return opened[-1]

    sagemaker, runtime, cloudwatch = client("sagemaker"), client("sagemaker-runtime"), client("cloudwatch")
    observed = {"boto3": boto3.__version__, "account": client("sts").get_caller_identity()["Account"]}
    observed["quotas"] = len(client("service-quotas").list_service_quotas(ServiceCode="sagemaker")["Quotas"])
    container = {"Image": "image:1", "Environment": {"LOADGEN_PROFILE": "instant"}}
    role = "arn:aws:iam::123456789012:role/role"
    sagemaker.create_model(ModelName="script-model", PrimaryContainer=container, ExecutionRoleArn=role)
    observed["model"] = sagemaker.describe_model(ModelName="script-model")["PrimaryContainer"]["Image"]
    sagemaker.create_endpoint_config(EndpointConfigName="script-config", ProductionVariants=[VARIANT])
    observed["too_soon"] = error_of(sagemaker.describe_endpoint, EndpointName=NAME)
    tags = [{"Key": "run", "Value": "1"}]
    arn = sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName="script-config", Tags=tags)["EndpointArn"]
    observed["creating"] = sagemaker.describe_endpoint(EndpointName=NAME)["EndpointStatus"]
    observed["again"] = error_of(sagemaker.create_endpoint, EndpointName=NAME, EndpointConfigName="script-config")
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName=NAME, WaiterConfig={"Delay": 0, "MaxAttempts": 100_000}
    )
    described = sagemaker.describe_endpoint(EndpointName=NAME)
    observed["status"] = described["EndpointStatus"]
    observed["serverless"] = described["ProductionVariants"][0]["CurrentServerlessConfig"]
    observed["created_aware"] = described["CreationTime"].tzinfo is not None
    answer = runtime.invoke_endpoint(EndpointName=NAME, Body=b"1,2,3", ContentType="text/csv")
    observed["body"] = json.loads(answer["Body"].read())
    observed["answer"] = [
        answer["ContentType"],
        answer["InvokedProductionVariant"],
        answer["ResponseMetadata"]["RetryAttempts"],
    ]
    print("THROTTLE", flush=True)
    sys.stdin.readline()
    observed["throttled"] = error_of(runtime.invoke_endpoint, EndpointName=NAME, Body=b"1")
    observed["unknown"] = error_of(runtime.invoke_endpoint, EndpointName="none", Body=b"1")
    observed["tags"] = sagemaker.list_tags(ResourceArn=arn)["Tags"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "owner", "Value": "me"}])
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    observed["more_tags"] = [tag["Key"] for page in pages for tag in page["Tags"]]
    now = datetime.now(timezone.utc)  # noqa: UP017  older interpreters run this too
    query_listing(sagemaker, now, observed)
    query_cloudwatch(cloudwatch, now, observed)
    observed["unknown_operation"] = error_of(sagemaker.list_training_jobs)
    observed["wrong_period"] = error_of(
        cloudwatch.get_metric_statistics,
        Namespace="n",
        MetricName="m",
        StartTime=now,
        EndTime=now + timedelta(hours=1),
        Period=61,
        Statistics=["Sum"],
    )
    sagemaker.delete_endpoint(EndpointName=NAME)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=NAME, WaiterConfig={"Delay": 0, "MaxAttempts": 100_000})
    sagemaker.delete_endpoint_config(EndpointConfigName="script-config")
    sagemaker.delete_model(ModelName="script-model")
    observed["gone"] = error_of(sagemaker.describe_endpoint, EndpointName=NAME)
    observed["left"] = len(sagemaker.list_endpoints()["Endpoints"]) + len(
        sagemaker.list_endpoint_configs()["EndpointConfigs"]
    )
    for one in opened:
        one.close()
    print(json.dumps(observed), flush=True)


def query_listing(sagemaker, now, observed):
    found = sagemaker.list_endpoints(
        NameContains="SCRIPT", StatusEquals="InService", CreationTimeAfter=now - timedelta(hours=1)
    )
    observed["listed"] = [row["EndpointName"] for row in found["Endpoints"]]
    observed["not_listed"] = sagemaker.list_endpoints(
        NameContains="script", CreationTimeAfter=now + timedelta(hours=1)
    )["Endpoints"]


def query_cloudwatch(cloudwatch, now, observed):
    dimensions = [{"Name": "EndpointName", "Value": NAME}, {"Name": "VariantName", "Value": "AllTraffic"}]
    observed["protocol"] = cloudwatch.meta.service_model.metadata.get("protocol")
    span = {"StartTime": now - timedelta(hours=2), "EndTime": now + timedelta(hours=2)}
    latency = {"Namespace": "AWS/SageMaker", "MetricName": "ModelLatency", "Dimensions": dimensions}
    points = cloudwatch.get_metric_statistics(
        Period=86400 * 365, Statistics=["Sum", "SampleCount"], ExtendedStatistics=["p50", "p99"], **latency, **span
    )["Datapoints"]
    observed["points"] = [[p["SampleCount"], p["Sum"], p["Unit"], sorted(p["ExtendedStatistics"])] for p in points]
    count = {**latency, "MetricName": "Invocations"}
    queries = [
        {"Id": "count", "MetricStat": {"Metric": count, "Period": 86400 * 365, "Stat": "Sum"}},
        {"Id": "tail", "MetricStat": {"Metric": latency, "Period": 86400 * 365, "Stat": "p99"}},
    ]
    results = cloudwatch.get_metric_data(MetricDataQueries=queries, **span)["MetricDataResults"]
    observed["data"] = {result["Id"]: [result["Values"], result["StatusCode"]] for result in results}
    observed["data_aware"] = all(at.tzinfo is not None for result in results for at in result["Timestamps"])
    cloudwatch.put_metric_data(Namespace="Mine", MetricData=[{"MetricName": "Own", "Value": 4.5, "Timestamp": now}])
    observed["metrics"] = [metric["MetricName"] for metric in cloudwatch.list_metrics(Namespace="Mine")["Metrics"]]


if __name__ == "__main__":
    main(sys.argv[1])
