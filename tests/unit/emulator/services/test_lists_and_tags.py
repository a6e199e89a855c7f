"""Lists and tags of all resources, called as the server calls them: defaults, filters, limits, pages by key."""

import pytest

from loadgen.emulator.clock import EpochClock
from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.service_models import input_shape
from loadgen.emulator.server import Emulator, Settings
from tests.support.emulator import QUICK, endpoint_config

ROLE = "arn:aws:iam::123456789012:role/r"
ROWS = {
    "ListModels": ("Models", "ModelName"),
    "ListEndpointConfigs": ("EndpointConfigs", "EndpointConfigName"),
    "ListEndpoints": ("Endpoints", "EndpointName"),
    "ListProcessingJobs": ("ProcessingJobSummaries", "ProcessingJobName"),
}


class Account:
    """Calls the operations of one emulator, at instants that the test chooses."""

    def __init__(self):
        self.emulator = Emulator(Settings(models={"quick": QUICK}), EpochClock())
        self.arns = {}

    def call(self, operation, now=0.0, prefix="SageMaker", **payload):
        return self.emulator._targets[prefix][0][operation](payload, now)

    def error(self, operation, now=0.0, prefix="SageMaker", **payload):
        with pytest.raises(ServiceError) as caught:
            self.call(operation, now, prefix, **payload)
        return caught.value.code, caught.value.message

    def create(self, operation, name, now=0.0, instance_type="ml.m5.large", **more):
        """Create a resource of the kind that an operation lists, and return its ARN."""
        if operation == "ListModels":
            container = {"Image": "i"}
            answer = self.call("CreateModel", now, ModelName=name, PrimaryContainer=container, **more)
        elif operation == "ListEndpointConfigs":
            config = endpoint_config() | {"EndpointConfigName": name}
            answer = self.call("CreateEndpointConfig", now, **config, **more)
        elif operation == "ListEndpoints":
            if "config" not in self.arns:
                self.arns["config"] = self.create("ListEndpointConfigs", "config")
            answer = self.call("CreateEndpoint", now, EndpointName=name, EndpointConfigName="config", **more)
        else:
            cluster = {"InstanceCount": 1, "InstanceType": instance_type, "VolumeSizeInGB": 1}
            answer = self.call(
                "CreateProcessingJob",
                now,
                ProcessingJobName=name,
                ProcessingResources={"ClusterConfig": cluster},
                AppSpecification={"ImageUri": "i"},
                RoleArn=ROLE,
                **more,
            )
        (arn,) = answer.values()
        return arn

    def names(self, operation, **asked):
        rows, member = ROWS[operation]
        return [row[member] for row in self.call(operation, 1e9, **asked)[rows]]


@pytest.fixture
def account():
    return Account()


def documented_default(operation, member):
    """Return the default that the service model's documentation of a member states."""
    text = input_shape("sagemaker", operation).members[member].documentation
    return text.partition("The default is <code>")[2].partition("</code>")[0]


@pytest.mark.parametrize("operation", ROWS)
def test_order_and_filters_have_the_documented_defaults(account, operation):
    """Without members, a list has the order that the model documents; an instant of creation is in a list "after" it
    where the model says "greater than or equal", and never in one "before" it.
    """
    for number in range(3):
        account.create(operation, f"made-{number}", 1e6 + number)
    assert documented_default(operation, "SortBy") == "CreationTime"
    names = ["made-0", "made-1", "made-2"]
    expected = names if documented_default(operation, "SortOrder") == "Ascending" else names[::-1]
    assert account.names(operation, NameContains="made-") == expected
    text = input_shape("sagemaker", operation).members["CreationTimeAfter"].documentation
    after = names[1:] if "greater than or equal" in text else names[2:]
    ascending = {"NameContains": "made-", "SortOrder": "Ascending"}
    assert account.names(operation, **ascending, CreationTimeAfter=1e6 + 1) == after
    assert account.names(operation, **ascending, CreationTimeBefore=1e6 + 1) == names[:1]
    assert account.names(operation, **ascending, MaxResults=2, SortBy="Name") == names[:2]
    assert account.names(operation, NameContains="MADE-1") == ["made-1"]


@pytest.mark.parametrize("operation", ROWS)
@pytest.mark.parametrize(
    "asked",
    [
        *({"SortBy": "Size"}, {"SortOrder": "ascending"}, {"StatusEquals": "Nope"}, {"MaxResults": 0}),
        *({"MaxResults": 101}, {"MaxResults": "3"}, {"NextToken": "made up"}, {"CreationTimeAfter": "yesterday"}),
        *({"SortBy": "Status"}, {"NameContains": "a" * 64}, {"StatusEquals": ["Failed"]}),
    ],
    ids=str,
)
def test_a_value_outside_of_the_model_is_refused(account, operation, asked):
    """Unknown members of an enumeration, sizes outside of 1 to 100 and wrong types are errors, if the model has the
    member; a member that the operation does not have is ignored.
    """
    (name, value), members = next(iter(asked.items())), input_shape("sagemaker", operation).members
    allowed = members[name].metadata if name in members else {}
    is_ignored = name not in members or value in allowed.get("enum", ()) or (allowed == {} and name == "NameContains")
    if is_ignored:
        account.call(operation, **asked)
    else:
        assert account.error(operation, **asked)[0] in ("ValidationException", "SerializationException")


@pytest.mark.parametrize("operation", ROWS)
def test_every_resource_has_tags_that_can_be_listed_added_and_removed(account, operation):
    """Models, configurations, endpoints and Processing jobs keep the tags of their creation, and take more."""
    arn = account.create(operation, "tagged", Tags=[{"Key": "a", "Value": "1"}])
    account.call("AddTags", ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "3"}])
    listed = account.call("ListTags", ResourceArn=arn)["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in listed} == {"a": "3", "b": "2"}
    account.call("DeleteTags", ResourceArn=arn, TagKeys=["a", "none"])
    assert account.call("ListTags", ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert "Could not find" in account.error("ListTags", ResourceArn=arn.replace("tagged", "other"))[1]


@pytest.mark.parametrize("operation", ROWS)
@pytest.mark.parametrize(
    "tags",
    [
        [{"Key": f"k{number}", "Value": ""} for number in range(51)],
        [{"Key": "aws:cloudformation", "Value": ""}],
        [{"Key": "Run", "Value": ""}, {"Key": "run", "Value": ""}],
        [{"Key": "k" * 129, "Value": ""}],
        [{"Key": "", "Value": ""}],
        [{"Key": "k", "Value": "v" * 257}],
        [{"Key": "k"}],
    ],
    ids=["51", "aws:", "case", "long key", "empty key", "long value", "no value"],
)
def test_tags_that_a_resource_cannot_have_are_refused_whole(account, operation, tags):
    """A creation with them creates nothing; AddTags with them leaves the tags as they are."""
    account.error(operation.replace("List", "Create").removesuffix("s"), **creation(operation), Tags=tags)
    assert "refused" not in account.names(operation)
    arn = account.create(operation, "kept", Tags=[{"Key": "a", "Value": "1"}])
    account.error("AddTags", ResourceArn=arn, Tags=tags)
    assert account.call("ListTags", ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "1"}]


def creation(operation):
    """Return an input that would create a resource called `refused`."""
    recorded = {}
    recorder = Account()
    recorder.arns["config"] = ""
    recorder.call = lambda name, now, **payload: recorded.update(payload) or {"Arn": ""}
    recorder.create(operation, "refused")
    return recorded


def test_tags_add_up_to_fifty(account):
    """Two calls of 30 tags are one too many; the first call's tags stay, and replacing a value needs no room."""
    arn = account.create("ListModels", "m")
    many = [[{"Key": f"{letter}{number}", "Value": ""} for number in range(30)] for letter in "ab"]
    account.call("AddTags", ResourceArn=arn, Tags=many[0])
    account.error("AddTags", ResourceArn=arn, Tags=many[1])
    account.call("AddTags", ResourceArn=arn, Tags=many[1][:20])
    account.call("AddTags", ResourceArn=arn, Tags=many[0])
    assert len(account.call("ListTags", ResourceArn=arn)["Tags"]) == 50


@pytest.mark.parametrize(
    ("instance_type", "is_accepted"),
    [
        *(("ml.m5.large", True), ("ml.c99gn.48xlarge", True), ("ml.p6-b300.48xlarge", True), ("ml.z9.medium", True)),
        *(("m5.large", False), ("ml.m5.huge", False), ("ml.m5", False), ("", False), ("ml.m5.large\n", False)),
    ],
)
def test_instance_types_newer_than_the_sdk_are_accepted(account, instance_type, is_accepted):
    """What has the form of an instance type is one, whatever the installed SDK lists; anything else is refused."""
    if is_accepted:
        account.create("ListProcessingJobs", "job", instance_type=instance_type)
    else:
        with pytest.raises(ServiceError, match="Member must satisfy enum value set"):
            account.create("ListProcessingJobs", "job", instance_type=instance_type)


CLOUDWATCH = "GraniteServiceVersion20100801"


def put(account, name, value, at, unit="None", now=1e6):
    row = {"MetricName": name, "Value": value, "Timestamp": at, "Unit": unit}
    account.call("PutMetricData", now, CLOUDWATCH, Namespace="Mine", MetricData=[row])


@pytest.mark.parametrize("order", ["TimestampAscending", "TimestampDescending"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_data_that_arrives_between_two_pages_hides_and_repeats_no_point(account, order, size):
    """While older and newer minutes arrive, every point that was there before the first page comes exactly once, those
    of two units in one minute too.
    """
    start = 1e6 - 1e6 % 60
    for minute in range(2, 6):
        put(account, "A", float(minute), start + 60 * minute)
        put(account, "B", 10.0 + minute, start + 60 * minute, "Seconds")
        put(account, "B", 20.0 + minute, start + 60 * minute, "Count")
    queries = [
        {
            "Id": name.lower(),
            "MetricStat": {"Metric": {"Namespace": "Mine", "MetricName": name}, "Period": 60, "Stat": "Sum"},
        }
        for name in "AB"
    ]
    asked = {"MetricDataQueries": queries, "StartTime": start - 600, "EndTime": start + 6000, "ScanBy": order}
    seen, token = [], {}
    while token is not None:
        answer = account.call("GetMetricData", 2e6, CLOUDWATCH, **asked, MaxDatapoints=size, **token)
        page = [value for result in answer["MetricDataResults"] for value in result["Values"]]
        assert len(page) <= size
        seen += page
        token = {"NextToken": answer["NextToken"]} if "NextToken" in answer else None
        late = len(seen)
        put(account, "A", 100.0 + late, start - 60 * late, now=1e6)
        put(account, "B", 200.0 + late, start + 60 * (10 + late), "Count", now=1e6)
    before = [value for value in seen if value < 100]
    assert sorted(before) == [float(base + minute) for base in (0, 10, 20) for minute in range(2, 6)]
    assert len(seen) == len(set(seen))


def test_metrics_that_are_put_between_two_pages_hide_and_repeat_none(account):
    """Of 700 metrics, each comes once in two pages, although one before and one after the first page's end is put."""
    for number in range(700):
        put(account, f"M{number:03}", 1.0, 1e6)
    first = account.call("ListMetrics", 2e6, CLOUDWATCH)
    put(account, "L", 1.0, 1e6)
    put(account, "Z", 1.0, 1e6)
    second = account.call("ListMetrics", 2e6, CLOUDWATCH, NextToken=first["NextToken"])
    names = [row["MetricName"] for page in (first, second) for row in page["Metrics"]]
    assert names == [*(f"M{number:03}" for number in range(700)), "Z"]
    assert "NextToken" not in second


@pytest.mark.parametrize(
    "token", ["", "0", "5", "e30=", "WzFd", "bnVsbA==", "W1tdXQ==", "WyJhIiwgImIiLCBbWzFdXV0=", "9" * 5000]
)
@pytest.mark.parametrize("operation", ["ListMetrics", "GetMetricData"])
def test_a_token_of_another_origin_is_refused(account, operation, token):
    """A NextToken that the operation did not return is an InvalidNextToken, for both operations."""
    query = {"Id": "a", "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "M"}, "Period": 60, "Stat": "Sum"}}
    asked = {"MetricDataQueries": [query], "StartTime": 0, "EndTime": 60} if operation == "GetMetricData" else {}
    assert account.error(operation, 0.0, CLOUDWATCH, **asked, NextToken=token)[0] == "InvalidNextToken"
