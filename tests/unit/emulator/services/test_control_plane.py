"""The control plane: life cycle, error texts, quotas, lists and tags, in virtual time and without a server."""

import base64

import pytest

from loadgen.emulator.behaviour.ledger import Ledger
from loadgen.emulator.faults import Faults
from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.services.control_plane import ControlPlane
from loadgen.emulator.settings import AccountQuotas, Settings
from tests.support.emulator import QUICK, endpoint_config

ARN = "arn:aws:sagemaker:us-east-1:123456789012"


def plane(**changes):
    settings = Settings(**{"models": {"quick": QUICK}, **changes})
    return ControlPlane(settings, Faults(), Ledger(), 0.0)


def faulty_plane(*faults):
    switched = Faults()
    for fault in faults:
        switched.add(fault)
    return ControlPlane(Settings(), switched, Ledger(), 0.0)


def token_of(content):
    return base64.b64encode(content).decode()


def begin(control, name="e", now=0.0, **config):
    """Create a configuration and an endpoint of one name."""
    control.create_endpoint_config({**endpoint_config(**config), "EndpointConfigName": name}, now)
    return control.create_endpoint({"EndpointName": name, "EndpointConfigName": name}, now)


def status(control, now, name="e"):
    return control.describe_endpoint({"EndpointName": name}, now)["EndpointStatus"]


def error_of(call, payload, now=0.0):
    """Return code and message of the error that a call must raise."""
    with pytest.raises(ServiceError) as caught:
        call(payload, now)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


def test_a_deployment_takes_its_time():
    """mobilenet-v2 takes 150 s at scale 1: Creating until then, InService from then on, and only then serving."""
    control = plane()
    begin(control, model="mobilenet-v2", now=1000.0)
    assert status(control, 1149.9) == "Creating"
    assert control.find_serving("e", 1149.9) is None
    assert status(control, 1150.0) == "InService"
    assert control.find_serving("e", 1150.0) is not None


def test_time_scale_divides_deploys_and_deletes():
    """At a scale of 10 the 150 s become 15 and the 20 s of a delete 2."""
    control = plane(time_scale=10.0)
    begin(control, model="mobilenet-v2")
    assert (status(control, 14.9), status(control, 15.0)) == ("Creating", "InService")
    control.delete_endpoint({"EndpointName": "e"}, 100.0)
    assert status(control, 101.9) == "Deleting"
    text = f'Could not find endpoint "{ARN}:endpoint/e".'
    assert error_of(control.describe_endpoint, {"EndpointName": "e"}, 102.0) == ("ValidationException", text)


def test_describe_endpoint_returns_pending_and_deployed_variants():
    """Creating has a PendingDeploymentSummary; InService has the variant with both serverless configurations."""
    control = plane()
    begin(control, model="mobilenet-v2", max_concurrency=4, memory_mb=3072)
    creating = control.describe_endpoint({"EndpointName": "e"}, 1.0)
    assert "ProductionVariants" not in creating
    assert creating["PendingDeploymentSummary"]["EndpointConfigName"] == "e"
    ready = control.describe_endpoint({"EndpointName": "e"}, 150.0)
    serverless = {"MemorySizeInMB": 3072, "MaxConcurrency": 4}
    (variant,) = ready["ProductionVariants"]
    assert variant["CurrentServerlessConfig"] == variant["DesiredServerlessConfig"] == serverless
    assert (ready["CreationTime"], ready["LastModifiedTime"]) == (0.0, 150.0)


def test_a_failed_deployment_has_a_failure_reason():
    """The model fails-to-deploy is Creating for 24 minutes and then Failed; the endpoint can be deleted."""
    control = plane()
    begin(control, model="fails-to-deploy")
    assert status(control, 1439.0) == "Creating"
    shown = control.describe_endpoint({"EndpointName": "e"}, 1440.0)
    assert shown["EndpointStatus"] == "Failed"
    assert shown["FailureReason"].startswith(
        "The primary container for production variant AllTraffic did not pass the ping health check."
    )
    assert control.find_serving("e", 1440.0) is None
    control.delete_endpoint({"EndpointName": "e"}, 1441.0)


def test_an_endpoint_in_progress_cannot_be_deleted_or_updated():
    """While Creating, Updating or Deleting, both are rejected with AWS's text."""
    control = plane()
    begin(control, model="mobilenet-v2")
    expected = ("ValidationException", f'Cannot update in-progress endpoint "{ARN}:endpoint/e".')
    update = {"EndpointName": "e", "EndpointConfigName": "e"}
    assert error_of(control.delete_endpoint, {"EndpointName": "e"}, 1.0) == expected
    assert error_of(control.update_endpoint, update, 1.0) == expected
    control.update_endpoint(update, 200.0)
    assert error_of(control.delete_endpoint, {"EndpointName": "e"}, 201.0) == expected
    control.delete_endpoint({"EndpointName": "e"}, 400.0)
    assert error_of(control.delete_endpoint, {"EndpointName": "e"}, 401.0) == expected


def test_an_update_serves_the_old_configuration_until_the_new_one_is_ready():
    """The fleet is the same while Updating, and afterwards a new one with the new capacity."""
    control = plane()
    begin(control, model="mobilenet-v2", max_concurrency=2)
    old = control.find_serving("e", 150.0).fleet
    control.create_endpoint_config({**endpoint_config("mobilenet-v2", 4096, 8), "EndpointConfigName": "new"}, 150.0)
    control.update_endpoint({"EndpointName": "e", "EndpointConfigName": "new"}, 200.0)
    assert status(control, 300.0) == "Updating"
    assert control.find_serving("e", 300.0).fleet is old
    new = control.find_serving("e", 350.0).fleet
    assert (new.memory_mb, new.max_concurrency) == (4096, 8)
    assert control.describe_endpoint({"EndpointName": "e"}, 351.0)["EndpointConfigName"] == "new"


def test_capacities_change_in_place():
    """UpdateEndpointWeightsAndCapacities changes the running fleet's slots and keeps its instances and memory."""
    control = plane()
    begin(control, model="mobilenet-v2", max_concurrency=2)
    fleet = control.find_serving("e", 150.0).fleet
    desired = {
        "VariantName": "AllTraffic",
        "ServerlessUpdateConfig": {"MaxConcurrency": 9, "ProvisionedConcurrency": 3},
    }
    control.update_capacities({"EndpointName": "e", "DesiredWeightsAndCapacities": [desired]}, 150.0)
    (variant,) = control.describe_endpoint({"EndpointName": "e"}, 151.0)["ProductionVariants"]
    assert variant["CurrentServerlessConfig"]["MaxConcurrency"] == 2
    assert variant["DesiredServerlessConfig"]["MaxConcurrency"] == 9
    assert control.find_serving("e", 400.0).fleet is fleet
    assert (fleet.max_concurrency, fleet.provisioned) == (9, 3)


def test_an_endpoint_name_in_use_is_rejected_in_any_case():
    """Endpoint names are compared without regard to case, until the old endpoint is deleted."""
    control = plane()
    begin(control, "Name")
    again = {"EndpointName": "nAME", "EndpointConfigName": "Name"}
    expected = ("ValidationException", f'Cannot create already existing endpoint "{ARN}:endpoint/name".')
    assert error_of(control.create_endpoint, again, 1.0) == expected
    control.delete_endpoint({"EndpointName": "Name"}, 10.0)
    assert error_of(control.create_endpoint, again, 29.0) == expected
    control.create_endpoint(again, 30.0)


@pytest.mark.parametrize(
    ("operation", "payload", "text"),
    [
        ("CreateModel", {"ModelName": "quick", "PrimaryContainer": {}}, "Cannot create already existing model"),
        ("DescribeModel", {"ModelName": "none"}, f'Could not find model "{ARN}:model/none".'),
        ("DeleteModel", {"ModelName": "none"}, f'Could not find model "{ARN}:model/none".'),
        (
            "CreateEndpointConfig",
            {**endpoint_config("none"), "EndpointConfigName": "c"},
            f'Could not find model "{ARN}:model/none".',
        ),
        ("CreateEndpointConfig", endpoint_config(), "Cannot create already existing endpoint configuration"),
        (
            "DescribeEndpointConfig",
            {"EndpointConfigName": "none"},
            f'Could not find endpoint configuration "{ARN}:endpoint-config/none".',
        ),
        (
            "CreateEndpoint",
            {"EndpointName": "e", "EndpointConfigName": "none"},
            "Could not find endpoint configuration",
        ),
        ("UpdateEndpoint", {"EndpointName": "none", "EndpointConfigName": "config"}, "Could not find endpoint "),
        ("DeleteEndpoint", {"EndpointName": "none"}, f'Could not find endpoint "{ARN}:endpoint/none".'),
        ("CreateModel", {"ModelName": "m"}, "You must specify either PrimaryContainer or Containers."),
        ("CreateModel", {"ModelName": "a_b", "PrimaryContainer": {}}, "satisfy regular expression pattern"),
        ("CreateModel", {"ModelName": "-a", "PrimaryContainer": {}}, "satisfy regular expression pattern"),
        ("CreateModel", {"ModelName": "a" * 64, "PrimaryContainer": {}}, "have length less than or equal to 63"),
        ("CreateModel", {"PrimaryContainer": {}}, "Value null at 'modelName' failed to satisfy constraint"),
        ("DescribeEndpoint", {}, "Value null at 'endpointName' failed to satisfy constraint: Member must not be null"),
        ("CreateEndpointConfig", {"EndpointConfigName": "c"}, "'productionVariants'"),
        ("CreateEndpointConfig", {"EndpointConfigName": "c", "ProductionVariants": []}, "greater than or equal to 1"),
        ("CreateEndpointConfig", endpoint_config(memory_mb=512), "greater than or equal to 1024"),
        ("CreateEndpointConfig", endpoint_config(memory_mb=7168), "less than or equal to 6144"),
        ("CreateEndpointConfig", endpoint_config(memory_mb=1500), "1024, 2048, 3072, 4096, 5120, 6144"),
        ("CreateEndpointConfig", endpoint_config(max_concurrency=0), "greater than or equal to 1"),
        ("CreateEndpointConfig", endpoint_config(max_concurrency=201), "less than or equal to 200"),
        (
            "CreateEndpointConfig",
            endpoint_config(max_concurrency=2, ProvisionedConcurrency=3),
            "less than or equal to MaxC",
        ),
        (
            "CreateEndpointConfig",
            {**endpoint_config(), "EnableNetworkIsolation": True},
            "EnableNetworkIsolation is not supported for serverless endpoints.",
        ),
        ("ListEndpoints", {"MaxResults": 101}, "less than or equal to 100"),
        ("ListEndpoints", {"SortBy": "Colour"}, "enum value set"),
        ("ListEndpoints", {"NextToken": "made up"}, "Invalid NextToken"),
        ("ListEndpoints", {"NextToken": token_of(b'["Name","a","a"]')}, "Invalid NextToken"),
        ("ListEndpoints", {"NextToken": token_of(b'["CreationTime","a","a"]')}, "Invalid NextToken"),
        ("ListEndpoints", {"NextToken": token_of(b'["CreationTime",' + b"9" * 5000 + b',"a"]')}, "Invalid NextToken"),
        ("ListEndpoints", {"NextToken": token_of(b"at 7")}, "Invalid NextToken"),
        ("AddTags", {"ResourceArn": f"{ARN}:endpoint/none", "Tags": []}, "Could not find resource"),
    ],
)
def test_invalid_inputs_are_rejected_with_the_texts_of_aws(operation, payload, text):
    """Each invalid input gets ValidationException 400 with a text that names the fault, and creates nothing."""
    control = plane()
    control.create_endpoint_config(endpoint_config(), 0.0)
    code, message = error_of(control.operations[operation], payload)
    assert code == "ValidationException"
    assert text in message
    assert control.list_endpoints({}, 0.0)["Endpoints"] == []


@pytest.mark.parametrize(
    ("operation", "payload"),
    [
        ("DescribeEndpoint", {"EndpointName": 7}),
        ("CreateEndpointConfig", {"EndpointConfigName": "c", "ProductionVariants": "one"}),
        ("CreateEndpointConfig", endpoint_config(memory_mb="2048")),
        ("CreateModel", {"ModelName": "m", "PrimaryContainer": []}),
        ("ListEndpoints", {"CreationTimeAfter": "yesterday"}),
    ],
)
def test_a_member_of_the_wrong_type_is_a_serialization_exception(operation, payload):
    """An input that the protocol cannot decode gets SerializationException."""
    assert error_of(plane().operations[operation], payload)[0] == "SerializationException"


def test_memory_above_the_quota_is_rejected_at_create_endpoint():
    """With quotas "ordinary" a configuration of 4096 MB is created; its endpoint is ResourceLimitExceeded with AWS's text."""
    control = plane(quotas="ordinary")
    control.create_endpoint_config(endpoint_config(memory_mb=4096), 0.0)
    code, message = error_of(control.create_endpoint, {"EndpointName": "e", "EndpointConfigName": "config"})
    assert code == "ResourceLimitExceeded"
    assert message == (
        "The account-level service limit 'Memory size in MB per serverless endpoint' is 3072 MBs, with current "
        "utilization of 0 MBs and a request delta of 4096 MBs. Please use AWS Service Quotas to request an increase for "
        "this quota. If AWS Service Quotas is not available, contact AWS support to request an increase for this quota."
    )


def test_concurrency_adds_up_over_endpoints_until_they_are_deleted():
    """Of a quota of 10, endpoints of 6 and 4 fit; one more is rejected until the 4 are deleted."""
    control = plane(quotas="ordinary")
    begin(control, "a", max_concurrency=6)
    begin(control, "b", max_concurrency=4)
    control.create_endpoint_config({**endpoint_config(), "EndpointConfigName": "c"}, 0.0)
    wanted = {"EndpointName": "c", "EndpointConfigName": "c"}
    code, message = error_of(control.create_endpoint, wanted, 1.0)
    assert code == "ResourceLimitExceeded"
    assert (
        "across all serverless endpoints' is 10 Units, with current utilization of 10 Units and a request delta of 1 "
        in message
    )
    control.delete_endpoint({"EndpointName": "b"}, 10.0)
    error_of(control.create_endpoint, wanted, 29.0)
    control.create_endpoint(wanted, 30.0)


def test_the_number_of_endpoints_is_limited():
    """With quotas "ordinary" a sixth endpoint is rejected."""
    control = plane(quotas="ordinary")
    for name in "abcde":
        begin(control, name)
    control.create_endpoint_config({**endpoint_config(), "EndpointConfigName": "f"}, 0.0)
    code, message = error_of(control.create_endpoint, {"EndpointName": "f", "EndpointConfigName": "f"})
    assert code == "ResourceLimitExceeded"
    assert "'Number of serverless endpoints' is 5 Units" in message


def test_an_update_counts_its_difference_against_the_quota():
    """An update from 6 to 8 of 10 is allowed, from 8 to 11 is rejected with the difference in the message."""
    control = plane(quotas=AccountQuotas(total_concurrency=10, endpoints=5, memory_mb=6144))
    begin(control, max_concurrency=6)

    def ask(most, now):
        row = {"VariantName": "AllTraffic", "ServerlessUpdateConfig": {"MaxConcurrency": most}}
        return {"EndpointName": "e", "DesiredWeightsAndCapacities": [row]}, now

    control.update_capacities(*ask(8, 10.0))
    assert status(control, 10.0) == "InService"
    message = error_of(control.update_capacities, *ask(11, 20.0))[1]
    assert "current utilization of 8 Units and a request delta of 3 Units" in message


def test_lists_filter_sort_and_page():
    """Over 12 endpoints the filters select, pages join to the whole, and the default order is newest first."""
    control = plane()
    for number in range(12):
        begin(control, f"run-{number:02}", now=float(number))
    control.delete_endpoint({"EndpointName": "run-03"}, 100.0)

    def names(**payload):
        return [row["EndpointName"] for row in control.list_endpoints(payload, 101.0)["Endpoints"]]

    everything = [f"run-{number:02}" for number in range(12)]
    assert names() == everything[:1:-1]
    assert names(SortOrder="Ascending", MaxResults=100) == everything
    assert names(NameContains="RUN-1", SortBy="Name", SortOrder="Ascending") == ["run-10", "run-11"]
    assert names(StatusEquals="Deleting") == ["run-03"]
    assert names(CreationTimeAfter=9.5) == ["run-11", "run-10"]
    assert names(CreationTimeBefore=1.5) == ["run-01", "run-00"]
    assert names(LastModifiedTimeAfter=50.0) == ["run-03"]
    first = control.list_endpoints({"SortOrder": "Ascending", "MaxResults": 7}, 101.0)
    second = control.list_endpoints({"SortOrder": "Ascending", "MaxResults": 7, "NextToken": first["NextToken"]}, 101.0)
    assert [row["EndpointName"] for row in first["Endpoints"] + second["Endpoints"]] == everything
    assert "NextToken" not in second
    assert len(control.list_endpoint_configs({"MaxResults": 100}, 101.0)["EndpointConfigs"]) == 12
    assert "quick" in [row["ModelName"] for row in control.list_models({"NameContains": "qui"}, 101.0)["Models"]]


def test_tags_are_kept_changed_and_removed():
    """Tags given at creation are kept; AddTags changes and adds, DeleteTags removes, deletion drops all."""
    control = plane()
    control.create_endpoint_config(endpoint_config(), 0.0)
    tags = [{"Key": "run", "Value": "1"}, {"Key": "owner", "Value": "me"}]
    arn = control.create_endpoint({"EndpointName": "e", "EndpointConfigName": "config", "Tags": tags}, 0.0)[
        "EndpointArn"
    ]
    control.add_tags({"ResourceArn": arn, "Tags": [{"Key": "run", "Value": "2"}]}, 1.0)
    control.delete_tags({"ResourceArn": arn, "TagKeys": ["owner", "nothing"]}, 1.0)
    assert control.list_tags({"ResourceArn": arn}, 1.0) == {"Tags": [{"Key": "run", "Value": "2"}]}
    control.delete_endpoint({"EndpointName": "e"}, 2.0)
    assert error_of(control.list_tags, {"ResourceArn": arn}, 100.0)[0] == "ValidationException"


def test_a_models_environment_names_its_profile():
    """LOADGEN_PROFILE selects a created model's profile, else the account's default; an unknown one is rejected."""
    control = plane(profile="xgboost")
    control.create_model({"ModelName": "plain", "PrimaryContainer": {"Image": "i"}}, 0.0)
    container = {"Image": "i", "Environment": {"LOADGEN_PROFILE": "huggingface"}}
    control.create_model({"ModelName": "chosen", "PrimaryContainer": container}, 0.0)
    for name, profile in (("plain", "xgboost"), ("chosen", "huggingface"), ("mobilenet-v2", "mobilenet-v2")):
        begin(control, f"of-{name}", model=name)
        assert control.find_serving(f"of-{name}", 10_000.0).fleet.profile.name == profile
    wrong = {"ModelName": "wrong", "PrimaryContainer": {"Environment": {"LOADGEN_PROFILE": "resnet"}}}
    assert "mobilenet-v2" in error_of(control.create_model, wrong)[1]


def test_deployment_faults_fail_or_hang():
    """fail_deploy makes the matching endpoint Failed with the given reason; status_stuck keeps one Creating."""
    control = faulty_plane(
        {
            "operation": "CreateEndpoint",
            "kind": "fail_deploy",
            "message": "Image size 13 is greater",
            "endpoint_contains": "bad",
        },
        {"operation": "CreateEndpoint", "kind": "status_stuck", "endpoint_contains": "hung"},
        {"operation": "DeleteEndpoint", "kind": "status_stuck"},
    )
    for name in ("good", "bad", "hung"):
        begin(control, name, model="xgboost")
    later = 1e6
    assert [status(control, later, name) for name in ("good", "bad", "hung")] == ["InService", "Failed", "Creating"]
    assert control.describe_endpoint({"EndpointName": "bad"}, later)["FailureReason"] == "Image size 13 is greater"
    control.delete_endpoint({"EndpointName": "good"}, later)
    assert status(control, 2 * later, "good") == "Deleting"


def test_names_that_differ_only_in_case_are_one_name():
    """A second model or configuration whose name differs only in case is refused, and the first keeps its tags."""
    control = plane()
    model = {"PrimaryContainer": {"Image": "i"}}
    tags = [{"Key": "k", "Value": "v"}]
    control.create_model({"ModelName": "Mine", **model, "Tags": tags}, 0.0)
    assert error_of(control.create_model, {"ModelName": "mINE", **model}, 0.0)[0] == "ValidationException"
    config = endpoint_config()
    control.create_endpoint_config({**config, "EndpointConfigName": "Mine", "Tags": tags}, 0.0)
    again = {**config, "EndpointConfigName": "mine"}
    assert error_of(control.create_endpoint_config, again, 0.0)[0] == "ValidationException"
    for kind in ("model", "endpoint-config"):
        assert control.list_tags({"ResourceArn": f"{ARN}:{kind}/mine"}, 0.0) == {"Tags": tags}
