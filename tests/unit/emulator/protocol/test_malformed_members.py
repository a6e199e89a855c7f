"""Malformed members of every operation: no input gives an internal failure, or spoils what is read afterwards."""

from functools import cache

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.responses import json_response, xml_response
from loadgen.emulator.protocol.service_models import input_shape
from loadgen.emulator.server import Emulator, EpochClock, Settings

PREFIXES = {"SageMaker": "sagemaker", "GraniteServiceVersion20100801": "cloudwatch"}
PREFIXES["ServiceQuotasV20190624"] = "service-quotas"
# Reads that must work whatever was sent before.
READS = [
    *(("SageMaker", f"List{kind}", {}) for kind in ("Models", "EndpointConfigs", "Endpoints", "ProcessingJobs")),
    ("GraniteServiceVersion20100801", "ListMetrics", {}),
    ("ServiceQuotasV20190624", "ListServiceQuotas", {"ServiceCode": "sagemaker"}),
]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [
            *(0, -1, 1, 2**31, 2**63 - 1, 1e299, -1e299, 5e-324, 1.5, "", "a", "A=B", "a" * 5000, "\0", "9" * 5000),
            *(
                "NaN",
                "Average",
                "s3://b/k",
                "\N{SUPERSCRIPT TWO}",
                [],
                {},
                [[]],
                [None],
                {"": None},
                [1],
                ["a"],
                "xgboost",
            ),
        ]
    ),
)


@cache
def operations():
    emulator = Emulator(Settings(), EpochClock())
    return [(prefix, name) for prefix, (named, _) in emulator._targets.items() for name in named]


def values(shape, depth=0):
    """Return values of a shape, with odd ones anywhere."""
    kind, odd = shape.type_name, ODD
    if depth > 6:
        return odd
    regular = {
        "string": st.sampled_from(shape.metadata.get("enum") or ["a", "xgboost", "a-1", "s3://b/k", "p99"]),
        "integer": st.sampled_from([1, 60, 1024]),
        "long": st.sampled_from([1, 60, 1024]),
        "float": st.sampled_from([0, 1, -1, 0.5, 1e300]),
        "double": st.sampled_from([0, 1, -1, 0.5, 1e299]),
        "boolean": st.booleans(),
        "timestamp": st.sampled_from([0, 1e9, 2e9, 9e11, 1e299, -62_135_596_800]),
    }.get(kind)
    if kind == "structure":
        required = {name: values(shape.members[name], depth + 1) for name in shape.required_members}
        optional = {name: values(member, depth + 1) for name, member in shape.members.items() if name not in required}
        regular = st.fixed_dictionaries(required, optional=optional if depth < 4 else {})
    elif kind == "list":
        regular = st.lists(values(shape.member, depth + 1), max_size=2)
    elif kind == "map":
        regular = st.dictionaries(st.sampled_from(["A", "A=B", "", "LOADGEN_PROFILE"]), values(shape.value, depth + 1))
    if regular is None:
        return odd
    return st.integers(0, 29).flatmap(lambda draw: odd if draw == 0 else regular)


def status_of(emulator, prefix, name, payload):
    """Call an operation as the server does, encode its response in each protocol, and return the status."""
    table, content_type = emulator._targets[prefix]
    try:
        result = table[name](orjson.loads(orjson.dumps(payload)), emulator.clock())
    except ServiceError as error:
        return error.status
    json_response(result, content_type)
    xml_response(name, result or {}, namespace="n", request_id="r")
    return 200


def metric_reads(emulator):
    """Return a read of every statistic of every metric that is stored."""
    for namespace, name, dimensions, unit in emulator.metrics.series:
        yield {
            "Namespace": namespace,
            "MetricName": name,
            "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions],
            "Unit": unit,
            "StartTime": emulator.clock() - 1e8,
            "EndTime": emulator.clock() + 1e8,
            "Period": 86400 * 365,
            "Statistics": ["Average", "Sum", "Minimum", "Maximum", "SampleCount"],
            "ExtendedStatistics": ["p0", "p50", "p100", "IQM", "TM(10%:20%)"],
        }


@pytest.mark.parametrize(("prefix", "name"), operations(), ids=str)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_member_gives_an_internal_failure_or_spoils_a_later_read(prefix, name, data):
    """Odd values in any member get a result or an error of status 4xx, and every List operation works afterwards."""
    emulator = Emulator(Settings(), EpochClock())
    shape = input_shape(PREFIXES[prefix], name)
    for _ in range(2):
        payload = data.draw(values(shape))
        if isinstance(payload, dict):
            status = status_of(emulator, prefix, name, payload)
            assert status == 200 or 400 <= status < 500
    for read in READS:
        assert status_of(emulator, *read) == 200
    for payload in metric_reads(emulator):
        assert status_of(emulator, "GraniteServiceVersion20100801", "GetMetricStatistics", payload) == 200
