"""Request and Reply: what is sent once, and what came back.

Values only. Reading them from files is payload.py's; judging a reply is outcome.py's.
"""

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
_MEMBERS = {argument: member for member, (argument, _) in _ARGUMENTS.items()}


@dataclass(frozen=True, slots=True, weakref_slot=True)  # a transport may remember what it made of a request
class Request:
    """One set of InvokeEndpoint arguments, without the endpoint's name.

    Args:
        body: the payload as it goes over the wire.
        content_type: and the rest: the argument of the same name, or None to leave it out.

    Raises:
        DataError: a value is too long, not printable ASCII, or holds a line break (which could inject a header).

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
            raise DataError(f"Request body is {type(self.body).__name__}, not bytes", hint="encode it first")
        for member, (argument, longest) in _ARGUMENTS.items():
            value = getattr(self, member)
            if value is None:
                continue
            if not isinstance(value, str):
                raise DataError(f"{argument} is {type(value).__name__}, not text")
            if len(value) > longest:
                raise DataError(f"{argument} has {len(value)} characters; InvokeEndpoint takes at most {longest}")
            if not (value.isascii() and value.isprintable()):
                raise DataError(f"{argument} holds characters that a header cannot carry: {value[:60]!a}")

    def __repr__(self) -> str:
        # A payload may be a customer's data: its size is shown, never its bytes.
        return f"Request({len(self.body)} bytes, content_type={self.content_type!r})"

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that InvokeEndpoint takes, leaving out what is not set."""
        named = {_ARGUMENTS[f.name][0]: getattr(self, f.name) for f in fields(self) if f.name != "body"}
        return {"Body": self.body} | {name: value for name, value in named.items() if value is not None}

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> "Request":
        """Build a request from InvokeEndpoint's keyword arguments; a text body is encoded as UTF-8.

        Raises:
            DataError: an argument is unknown, of the wrong type, or `Body` is missing.
        """
        if "Body" not in arguments:
            raise DataError("no 'Body' among the arguments", hint="each example needs at least a Body")
        body = arguments["Body"]
        if isinstance(body, str):
            try:
                body = body.encode()
            except UnicodeEncodeError as error:
                raise DataError(f"Body is not Unicode text at character {error.start}", hint="give bytes") from error
        elif isinstance(body, (bytearray, memoryview)):
            body = bytes(body)
        unknown = sorted(str(name) for name in arguments if name not in _MEMBERS and name != "Body")
        if unknown:
            raise DataError(
                f"not an argument of InvokeEndpoint: {', '.join(unknown)}", hint=f"known: {', '.join(_MEMBERS)}"
            )
        return cls(body, **{_MEMBERS[name]: value for name, value in arguments.items() if name != "Body"})


class Reply(NamedTuple):
    """What came back for one request. Instants are `time.perf_counter()` seconds of this process.

    `sent` is when the request's bytes were handed over (signing done, connection at hand); `first_byte` when the
    first bytes of the answer arrived; `done` when its last byte had been read. `code` is the AWS error code, empty
    when the status is 2xx. `pool_wait` is how long the request waited for a free connection before `sent`; `is_new_connection`
    tells that the request went out on a connection opened for it, during the run. `request_id` is the service's
    own name for the call, empty when it gave none.
    """

    status: int
    sent: float
    first_byte: float
    done: float
    response_bytes: int = 0
    code: str = ""
    message: str = ""
    body: bytes = b""
    original_status: int = 0
    pool_wait: float = 0.0
    is_new_connection: bool = False
    attempts: int = 1
    request_id: str = ""
