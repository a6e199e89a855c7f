"""Input validation against the service models: types, constraints, AWS's texts, and every operation's model."""

import time

import pytest
from botocore.validate import ParamValidator

from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.input_validation import _SCALARS, HeaderValidator, _compile, validate_input
from loadgen.emulator.protocol.service_models import input_shape
from loadgen.emulator.server import Emulator, EpochClock, Settings

ROLE = "arn:aws:iam::123456789012:role/role"
# The one pattern that `re` cannot express: it spells surrogate pairs as Java does.
UNTRANSLATED = {r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*"}


def offered_operations():
    """Return (service, operation) of every operation that the emulator offers."""
    emulator = Emulator(Settings(), EpochClock())
    names = {"SageMaker": "sagemaker", "GraniteServiceVersion20100801": "cloudwatch"}
    names["ServiceQuotasV20190624"] = "service-quotas"
    yield "sagemaker-runtime", "InvokeEndpoint"
    for prefix, (operations, _) in emulator._targets.items():
        yield from ((names[prefix], operation) for operation in operations)
    for service, operations in emulator._query_services.values():
        yield from ((service, operation) for operation in operations)


def shapes_of(shape):
    """Yield a shape and all shapes within it."""
    yield shape
    members = list(shape.members.values()) if shape.type_name == "structure" else []
    members += [shape.member] if shape.type_name == "list" else []
    members += [shape.key, shape.value] if shape.type_name == "map" else []
    for member in members:
        yield from shapes_of(member)


ALL_SHAPES = [shape for names in offered_operations() for shape in shapes_of(input_shape(*names))]


def error_of(service, operation, payload):
    """Return code and message of the error for an input."""
    with pytest.raises(ServiceError) as caught:
        validate_input(service, operation, payload)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


def test_every_type_of_the_models_can_be_read():
    """Each operation that the emulator offers is in botocore's model, and its members have types that are validated."""
    types = {shape.type_name for shape in ALL_SHAPES}
    assert {"structure", "string", "integer", "timestamp"} <= types
    assert types - {"structure", "list", "map", "blob"} <= set(_SCALARS)


def test_every_pattern_of_the_models_is_compiled():
    """A pattern that Python cannot express would silently not be checked: there is one, and it is known."""
    patterns = {shape.metadata["pattern"] for shape in ALL_SHAPES if "pattern" in shape.metadata}
    assert {pattern for pattern in patterns if _compile(pattern) is None} == UNTRANSLATED


def test_no_pattern_takes_exponential_time():
    """Strings made to backtrack, as long as the models allow, are matched at once: this test ends."""
    for shape in ALL_SHAPES:
        pattern = _compile(shape.metadata.get("pattern", ".*"))
        if shape.type_name == "string" and pattern is not None:
            length = min(shape.metadata.get("max", 2000), 2000)
            for part in ("a", "a-", "-", "a/", "arn:aws:", "s3://", " ", "1_"):
                began = time.process_time()
                pattern.fullmatch((part * length)[: length - 1] + "!")
                assert time.process_time() - began < 5, (shape.name, part)  # exponential time would be years


@pytest.mark.parametrize(
    ("operation", "payload", "message"),
    [
        ("DescribeModel", {}, "Value null at 'modelName' failed to satisfy constraint: Member must not be null"),
        ("DescribeModel", {"ModelName": None}, "Value null at 'modelName' failed to satisfy constraint: Member must"),
        (
            "DescribeEndpoint",
            {"EndpointName": "a_b"},
            (
                "1 validation error detected: Value 'a_b' at 'endpointName' failed to satisfy constraint: Member must satisfy "
                "regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
            ),
        ),
        ("DescribeEndpoint", {"EndpointName": "a\n"}, "Member must satisfy regular expression pattern"),
        (
            "DescribeEndpoint",
            {"EndpointName": "a" * 64},
            (
                f"1 validation error detected: Value '{'a' * 64}' at 'endpointName' failed to satisfy constraint: Member must "
                "have length less than or equal to 63"
            ),
        ),
        (
            "UpdateEndpointWeightsAndCapacities",
            {
                "EndpointName": "e",
                "DesiredWeightsAndCapacities": [
                    {"VariantName": "v", "ServerlessUpdateConfig": {"MaxConcurrency": 0, "ProvisionedConcurrency": 201}}
                ],
            },
            (
                "2 validation errors detected: Value '0' at "
                "'desiredWeightsAndCapacities.1.member.serverlessUpdateConfig.maxConcurrency' failed to satisfy constraint: "
                "Member must have value greater than or equal to 1; Value '201' at "
                "'desiredWeightsAndCapacities.1.member.serverlessUpdateConfig.provisionedConcurrency' failed to satisfy "
                "constraint: Member must have value less than or equal to 200"
            ),
        ),
        (
            "ListEndpoints",
            {"SortOrder": "Up"},
            (
                "1 validation error detected: Value 'Up' at 'sortOrder' failed to satisfy constraint: Member must satisfy enum "
                "value set: [Ascending, Descending]"
            ),
        ),
        (
            "AddTags",
            {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:model/m", "Tags": [{"Key": "a", "Value": "b\0"}]},
            "at 'tags.1.member.value' failed to satisfy constraint: Member must satisfy regular expression pattern",
        ),
        (
            "DeleteTags",
            {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:model/m", "TagKeys": ["a", ""]},
            (
                "1 validation error detected: Value '[]' at 'tagKeys' failed to satisfy constraint: Member must satisfy "
                "constraint: [Member must have length greater than or equal to 1]"
            ),
        ),
        (
            "CreateModel",
            {"ModelName": "m", "Containers": [{}] * 16},
            "at 'containers' failed to satisfy constraint: Member must have length less than or equal to 15",
        ),
    ],
)
def test_a_broken_constraint_has_the_text_of_aws(operation, payload, message):
    """The control plane's error names value, member and constraint, for every constraint that is broken."""
    code, text = error_of("sagemaker", operation, payload)
    assert code == "ValidationException"
    assert message in text


@pytest.mark.parametrize(
    ("operation", "payload", "message"),
    [
        ("DescribeEndpoint", {"EndpointName": 7}, "endpointName must be a string"),
        ("ListEndpoints", {"MaxResults": True}, "maxResults must be an integer"),
        ("ListEndpoints", {"MaxResults": 1.0}, "maxResults must be an integer"),
        ("ListEndpoints", {"MaxResults": 2**31}, "maxResults must be an integer"),
        ("ListEndpoints", {"CreationTimeAfter": "2026-01-01"}, "creationTimeAfter must be a timestamp"),
        ("ListEndpoints", {"CreationTimeAfter": 9e11}, "creationTimeAfter must be a timestamp"),
        ("CreateModel", {"ModelName": "m", "PrimaryContainer": []}, "primaryContainer must be a structure"),
        ("CreateModel", {"ModelName": "m", "Containers": {}}, "containers must be a list"),
        ("CreateModel", {"ModelName": "m", "Containers": [None]}, "containers.1.member must be a structure"),
        ("CreateModel", {"ModelName": "m", "EnableNetworkIsolation": 1}, "enableNetworkIsolation must be a boolean"),
        (
            "CreateModel",
            {"ModelName": "m", "PrimaryContainer": {"Environment": ["A"]}},
            "primaryContainer.environment must be a map",
        ),
    ],
)
def test_a_member_of_another_type_is_a_serialization_exception(operation, payload, message):
    """The error names the member and the type that the service model has for it."""
    assert error_of("sagemaker", operation, payload) == ("SerializationException", message)


@pytest.mark.parametrize(
    ("payload", "code", "message"),
    [
        ({}, "MissingParameter", "The parameter Namespace is required."),
        ({"Namespace": ":x"}, "InvalidParameterValue", "The value :x for parameter Namespace is invalid."),
        ({"Namespace": "N", "MetricData": 5}, "InvalidParameterValue", "The parameter MetricData must be a list."),
        ({"Namespace": "N", "MetricData": [{}]}, "MissingParameter", "MetricData.member.1.MetricName is required."),
        (
            {"Namespace": "N", "MetricData": [{"MetricName": "M", "Values": [1, "x"]}]},
            "InvalidParameterValue",
            "The parameter MetricData.member.1.Values.member.2 must be a number.",
        ),
        (
            {"Namespace": "N", "MetricData": [{"MetricName": "M", "Unit": "Parsecs"}]},
            "InvalidParameterValue",
            "The value Parsecs for parameter MetricData.member.1.Unit is invalid.",
        ),
    ],
)
def test_cloudwatch_has_the_codes_of_the_query_protocol(payload, code, message):
    """CloudWatch's errors name the parameter as a query spells it."""
    found, text = error_of("cloudwatch", "PutMetricData", payload)
    assert found == code
    assert message in text


def test_an_input_is_reduced_to_the_members_of_the_model():
    """Unknown members and nulls are dropped at every level, numbers that are timestamps become floats."""
    payload = {"ModelName": "m", "Colour": 1, "Tags": None, "PrimaryContainer": {"Image": "i", "Shape": 2}}
    assert validate_input("sagemaker", "CreateModel", payload) == {
        "ModelName": "m",
        "PrimaryContainer": {"Image": "i"},
    }
    assert validate_input("sagemaker", "ListModels", {"CreationTimeAfter": 1}) == {"CreationTimeAfter": 1.0}
    assert validate_input("sts", "GetCallerIdentity", {"Action": "GetCallerIdentity"}) == {}


@pytest.mark.parametrize(
    ("operation", "payload"),
    [
        ("CreateModel", {"ModelName": "m", "ExecutionRoleArn": ROLE}),
        ("CreateModel", {"ModelName": "m", "Containers": [{"Image": 3}]}),
        ("CreateModel", {"ModelName": "m", "Containers": "all"}),
        ("CreateEndpoint", {"EndpointName": "e"}),
        ("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c", "Tags": [{"Key": "k"}]}),
        ("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c", "Tags": [{"Key": "k", "Value": "v"}]}),
        ("CreateEndpointConfig", {"EndpointConfigName": "c", "ProductionVariants": []}),
        ("ListEndpoints", {"MaxResults": 0}),
        ("ListEndpoints", {"MaxResults": 1}),
    ],
)
def test_the_sdks_own_validation_agrees(operation, payload):
    """What botocore's client would not send (missing, mistyped, too small) is rejected, what it sends is not."""
    report = ParamValidator().validate(payload, input_shape("sagemaker", operation))
    try:
        validate_input("sagemaker", operation, payload)
    except ServiceError:
        assert report.has_errors()
    else:
        assert not report.has_errors()


def test_headers_are_validated_as_the_model_says():
    """A header at its limit passes; one above it, or with other characters, is a ValidationError."""
    validator = HeaderValidator("sagemaker-runtime", "InvokeEndpoint")
    prefix = "X-Amzn-SageMaker-"
    assert validator.error({f"{prefix}custom-attributes": "a" * 1024, "x-other": "a" * 2000}) is None
    for headers in (
        {f"{prefix}custom-attributes": "a" * 1025},
        {f"{prefix}custom-attributes": "ä"},
        {f"{prefix}inference-id": " leading"},
        {f"{prefix}target-variant": "-"},
    ):
        error = validator.error(headers)
        assert error is not None
        assert error.code == "ValidationError"
