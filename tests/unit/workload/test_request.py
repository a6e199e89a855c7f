"""Requests: valid InvokeEndpoint arguments pass unchanged, others are rejected."""

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
    """The fields of Request are the members of InvokeEndpoint in botocore's model, without the endpoint name."""
    assert set(model().members) - {"EndpointName"} == {"Body", *HEADERS}


@pytest.mark.parametrize("argument", HEADERS)
def test_an_argument_may_be_as_long_as_the_service_allows(argument):
    """The longest value of botocore's model is accepted, and one character more is rejected with the argument's name."""
    longest = model().members[argument].metadata.get("max", 1024)
    assert Request.from_arguments({"Body": b"", argument: "a" * longest}).arguments()[argument] == "a" * longest
    with pytest.raises(DataError, match=argument):
        Request.from_arguments({"Body": b"", argument: "a" * (longest + 1)})


printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


@given(st.binary(), st.dictionaries(st.sampled_from(HEADERS), printable))
def test_arguments_survive_a_round_trip(body, headers):
    """Printable values are unchanged after conversion to a Request and back."""
    arguments = {"Body": body, **headers}
    assert Request.from_arguments(arguments).arguments() == arguments


@pytest.mark.parametrize("body", ["text", "ünïcödé", bytearray(b"x"), memoryview(b"x")])
def test_bodies_are_converted_to_bytes(body):
    """Text is encoded as UTF-8; bytearray and memoryview become bytes."""
    expected = body.encode() if isinstance(body, str) else bytes(body)
    assert Request.from_arguments({"Body": body}).body == expected


@pytest.mark.parametrize("evil", ["a\r\nX-Injected: 1", "a\nb", "a\rb", "\0", "\x7f", "ü", "\u2028", "a\tb"])
@pytest.mark.parametrize("argument", HEADERS)
def test_no_header_can_be_injected(argument, evil):
    """Line breaks, control characters and non-ASCII characters are rejected in every header (C41)."""
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
def test_invalid_arguments_are_rejected(arguments):
    """A missing body, a wrong type, an unknown name and invalid Unicode raise a DataError."""
    with pytest.raises(DataError):
        Request.from_arguments(arguments)


def test_a_request_does_not_show_its_payload():
    """repr() shows the payload's size but not its bytes, which may be confidential."""
    assert repr(Request(b"secret", content_type="text/plain")) == "Request(6 bytes, content_type='text/plain')"
