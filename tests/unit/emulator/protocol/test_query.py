"""The query protocol's request side: nesting, lists and typed values."""

import pytest

from loadgen.emulator.protocol.errors import ServiceError
from loadgen.emulator.protocol.query import decode_query, parse_query
from loadgen.emulator.protocol.service_models import input_shape


def decode(operation, body):
    return decode_query(input_shape("cloudwatch", operation), parse_query(body))


def test_numbered_members_become_lists_in_the_order_of_their_numbers():
    """Dots become structures, numbered members lists, and parameters that the model does not have are dropped."""
    queries = b"MetricDataQueries.member."
    body = b"Action=GetMetricData&" + b"&".join(
        queries + part for part in (b"2.Id=b", b"10.Id=c", b"1.MetricStat.Unit=a%26b")
    )
    assert decode("GetMetricData", body) == {
        "MetricDataQueries": [{"MetricStat": {"Unit": "a&b"}}, {"Id": "b"}, {"Id": "c"}]
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"Period=60", {"Period": 60}),
        (b"Period=sixty", {"Period": "sixty"}),
        (b"Period=" + b"9" * 5000, {"Period": "9" * 5000}),
        (b"StartTime=1970-01-01T00:01:00Z", {"StartTime": 60.0}),
        (b"StartTime=1970-01-01T00:01:00", {"StartTime": 60.0}),
        (b"StartTime=1970-01-01T00:01:00%2B01:00", {"StartTime": -3540.0}),
        (b"StartTime=61.5", {"StartTime": 61.5}),
        (b"StartTime=soon", {"StartTime": "soon"}),
        (b"Statistics=", {"Statistics": None}),
        (b"Statistics.member.1=Sum", {"Statistics": ["Sum"]}),
        (b"Statistics=Sum", {"Statistics": "Sum"}),
        (b"MetricName.x=M", {"MetricName": {"x": "M"}}),
    ],
)
def test_a_value_has_the_type_of_its_member(text, value):
    """Text becomes what the model says; what does not have that form is left for the validation to reject."""
    assert decode("GetMetricStatistics", text) == value


def test_booleans_and_doubles_are_decoded():
    """ReturnData is a boolean in any case, Value a double."""
    assert decode("GetMetricData", b"MetricDataQueries.member.1.ReturnData=False") == {
        "MetricDataQueries": [{"ReturnData": False}]
    }
    assert decode("PutMetricData", b"MetricData.member.1.Value=1e3") == {"MetricData": [{"Value": 1000.0}]}


@pytest.mark.parametrize(
    "body",
    [
        b"\xff=1",
        b"a=1&a.b=2",
        b"Statistics.member.one=1&Statistics.member.2=2",
        b"Statistics.member." + b"9" * 5000 + b"=1",
        b"&".join([b"a=1"] * 20_001),
    ],
)
def test_malformed_query_parameters_are_rejected(body):
    """Bytes that are not UTF-8, contradicting parameters, unnumbered lists and floods get MalformedQueryString."""
    with pytest.raises(ServiceError, match="MalformedQueryString"):
        decode("GetMetricStatistics", body)


def test_deep_nesting_does_not_exhaust_the_stack():
    """A parameter of 5000 names is read: only the members that the model has are followed."""
    assert decode("ListMetrics", b".".join([b"a"] * 5000) + b"=1") == {}
