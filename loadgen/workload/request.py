"""Request and Reply: the arguments of one InvokeEndpoint call and its result, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from loadgen.errors import DataError

# Member -> (InvokeEndpoint argument, longest value). Source: botocore service model sagemaker-runtime 2017-05-13.
_ARGUMENTS: dict[str, tuple[str, int]] = {
    "content_type": ("ContentType", 1024),
    "accept": ("Accept", 1024),
    "custom_attributes": ("CustomAttributes", 1024),
    "target_model": ("TargetModel", 1024),
    "target_variant": ("TargetVariant", 63),
    "target_container_hostname": ("TargetContainerHostname", 63),
    "inference_id": ("InferenceId", 64),
    "enable_explanations": ("EnableExplanations", 64),
    "inference_component_name": ("InferenceComponentName", 63),
    "session_id": ("SessionId", 256),
}
_NOT_MEMBERS = ("Body", "EndpointName")  # of InvokeEndpoint's arguments
_MEMBERS = {argument: member for member, (argument, _) in _ARGUMENTS.items()}


@dataclass(frozen=True, slots=True, weakref_slot=True)  # weak references: a transport caches its prepared requests
class Request:
    """The arguments of one InvokeEndpoint call, without the endpoint's name.

    Each field except `body` is the InvokeEndpoint argument of the same name; None omits it.

    Args:
        body: the payload, sent unchanged.
        content_type: MIME type of the payload.
        accept: MIME type of the reply.
        custom_attributes: passed to the model container.
        target_model: model to invoke on a multi-model endpoint.
        target_variant: production variant to invoke.
        target_container_hostname: container to invoke on a multi-container endpoint.
        inference_id: identifies the request in data capture.
        enable_explanations: expression that enables SageMaker Clarify explanations.
        inference_component_name: inference component to invoke.
        session_id: stateful session to use.

    Raises:
        DataError: a value is too long or is not printable ASCII; a line break could inject a header.

    Example:
        >>> Request(b"1,2,3", content_type="text/csv").arguments()
        {'Body': b'1,2,3', 'ContentType': 'text/csv'}
    """

    body: bytes
    content_type: str | None = None
    accept: str | None = None
    custom_attributes: str | None = None
    target_model: str | None = None
    target_variant: str | None = None
    target_container_hostname: str | None = None
    inference_id: str | None = None
    enable_explanations: str | None = None
    inference_component_name: str | None = None
    session_id: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.body, bytes):
            raise DataError(f"Request body is of type {type(self.body).__name__}, not bytes", hint="encode it first")
        for member, (argument, longest) in _ARGUMENTS.items():
            value = getattr(self, member)
            if value is None:
                continue
            if not isinstance(value, str):
                raise DataError(f"{argument} is of type {type(value).__name__}, not str")
            if len(value) > longest:
                raise DataError(f"{argument} has {len(value)} characters; InvokeEndpoint allows {longest}")
            if not (value.isascii() and value.isprintable()):
                raise DataError(f"{argument} contains characters that a header cannot contain: {value[:60]!a}")

    def __repr__(self) -> str:
        # The payload may be confidential: the size is shown, the bytes are not.
        return f"Request({len(self.body)} bytes, content_type={self.content_type!r})"

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments for InvokeEndpoint, without those that are None."""
        named = {_ARGUMENTS[f.name][0]: getattr(self, f.name) for f in fields(self) if f.name != "body"}
        return {"Body": self.body} | {name: value for name, value in named.items() if value is not None}

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> "Request":
        """Build a request from InvokeEndpoint's keyword arguments; a text body is encoded as UTF-8.

        `EndpointName` is ignored, since the target names the endpoint.

        Raises:
            DataError: an argument is unknown, of the wrong type, or `Body` is missing.
        """
        if "Body" not in arguments:
            raise DataError("the argument 'Body' is missing", hint="each example needs a Body")
        body = arguments["Body"]
        if isinstance(body, str):
            try:
                body = body.encode()
            except UnicodeEncodeError as error:
                raise DataError(f"Body is not valid Unicode at character {error.start}", hint="use bytes") from error
        elif isinstance(body, (bytearray, memoryview)):
            body = bytes(body)
        elif isinstance(body, (dict, list)):
            raise DataError(
                f"Body is of type {type(body).__name__}, not text", hint='write it as text: "Body": json.dumps(...)'
            )
        unknown = sorted(str(name) for name in arguments if name not in _MEMBERS and name not in _NOT_MEMBERS)
        if unknown:
            raise DataError(
                f"unknown InvokeEndpoint arguments: {', '.join(unknown)}", hint=f"known: {', '.join(_MEMBERS)}"
            )
        return cls(body, **{_MEMBERS[name]: value for name, value in arguments.items() if name not in _NOT_MEMBERS})


class Reply(NamedTuple):
    """The reply to one request. Instants are `time.perf_counter()` seconds of this process.

    Attributes:
        status: HTTP status; 0 when there was none.
        sent: when the signed request was written to its connection.
        first_byte: when the first bytes of the reply arrived.
        done: when the last byte of the reply was read.
        response_bytes: size of the reply's body.
        code: the AWS error code; empty for a successful reply.
        message: the error's message.
        body: the reply's body; not every transport keeps it.
        original_status: the status that the model container returned with a ModelError: 0 if it did not answer; None if
            the response names none.
        pool_wait: seconds that the request waited for a free connection before `sent`.
        is_new_connection: True when a connection was opened for this request during the run.
        request_id: the service's identifier of the request; empty when there was none.
    """

    status: int
    sent: float
    first_byte: float
    done: float
    response_bytes: int = 0
    code: str = ""
    message: str = ""
    body: bytes = b""
    original_status: int | None = None
    pool_wait: float = 0.0
    is_new_connection: bool = False
    request_id: str = ""
