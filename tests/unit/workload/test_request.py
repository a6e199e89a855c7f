"""Requests: what InvokeEndpoint takes goes through unchanged, what it does not is refused."""

import pytest
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import DataError
from loadgen.workload.request import Request

HEADERS = (
    *("ContentType", "Accept", "CustomAttributes", "TargetModel", "TargetVariant", "TargetContainerHostname"),
    *("InferenceId", "EnableExplanations", "InferenceComponentName", "SessionId"),
)


def model():
    service = Session().get_service_model("sagemaker-runtime")
    return service.operation_model("InvokeEndpoint").input_shape


def test_every_argument_of_the_service_is_known():
    """The members of InvokeEndpoint's input in botocore's own model are ours, the endpoint's name apart."""
    assert set(model().members) - {"EndpointName"} == {"Body", *HEADERS}


@pytest.mark.parametrize("argument", HEADERS)
def test_an_argument_may_be_as_long_as_the_service_allows(argument):
    """The longest value of botocore's model passes, one character more is refused and named."""
    longest = model().members[argument].metadata.get("max", 1024)
    assert Request.from_arguments({"Body": b"", argument: "a" * longest}).arguments()[argument] == "a" * longest
    with pytest.raises(DataError, match=argument):
        Request.from_arguments({"Body": b"", argument: "a" * (longest + 1)})


printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


@given(st.binary(), st.dictionaries(st.sampled_from(HEADERS), printable))
def test_arguments_come_out_as_they_went_in(body, headers):
    """Any printable values survive the way into a Request and out again."""
    arguments = {"Body": body, **headers}
    assert Request.from_arguments(arguments).arguments() == arguments


@pytest.mark.parametrize("body", ["text", "ünïcödé", bytearray(b"x"), memoryview(b"x")])
def test_bodies_become_bytes(body):
    """Text is sent as UTF-8, views as the bytes they show."""
    expected = body.encode() if isinstance(body, str) else bytes(body)
    assert Request.from_arguments({"Body": body}).body == expected


@pytest.mark.parametrize("evil", ["a\r\nX-Injected: 1", "a\nb", "a\rb", "\0", "\x7f", "ü", "\u2028", "a\tb"])
@pytest.mark.parametrize("argument", HEADERS)
def test_no_header_can_be_injected(argument, evil):
    """C41: line breaks, control characters and what is not ASCII never reach a socket."""
    with pytest.raises(DataError, match=argument):
        Request.from_arguments({"Body": b"", argument: evil})


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"ContentType": "text/csv"},
        {"Body": None},
        {"Body": 5},
        {"Body": ["x"]},
        {"Body": "\ud800"},
        {"Body": b"", "contentType": "x"},
        {"Body": b"", "Contenttype": "x"},
        {"Body": b"", 5: "x"},
        {"Body": b"", "ContentType": 5},
        {"Body": b"", "ContentType": b"text/csv"},
    ],
)
def test_what_is_no_set_of_arguments_is_refused(arguments):
    """Missing bodies, wrong types, unknown names and text that is no Unicode are DataErrors."""
    with pytest.raises(DataError):
        Request.from_arguments(arguments)


def test_a_request_does_not_show_its_payload():
    """Its representation tells the size, never the bytes: a payload may be a customer's."""
    assert repr(Request(b"secret", content_type="text/plain")) == "Request(6 bytes, content_type='text/plain')"
