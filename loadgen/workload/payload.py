"""Payload files: reads and writes the sample requests of a benchmark.

Three formats: JSON Lines of InvokeEndpoint arguments, a pickle of the same arguments (for binary bodies), and a
directory of files. Files are validated completely here, before anything is deployed.
"""

import base64
import binascii
import io
import mimetypes
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import orjson

from loadgen.errors import DataError, InputError, OutputError
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import PAYLOAD_LIMIT_BYTES

JSONL_NAME = "invoke_args_examples.jsonl"  # the predecessor's file names
PICKLE_NAME = "invoke_args_examples.pkl"
_BASE64_KEY = "BodyBase64"  # not an InvokeEndpoint argument, so it cannot collide with one
_MAX_FILE_BYTES = 1 << 30  # more than any benchmark needs, less than the memory of a small machine
_PLAIN_DATA = "only lists, tuples, dicts, str, bytes, bytearray and numbers are allowed"
_MAX_LISTED_ERRORS = 5  # bad lines shown before the rest is only counted


def read_requests(
    path: str | Path, *, content_type: str | None = None, limit_bytes: int = PAYLOAD_LIMIT_BYTES
) -> tuple[Request, ...]:
    """Read sample requests from a `.jsonl` file, a `.pkl` file, or a directory of files.

    Args:
        path: the file or directory. JSON Lines: one object of InvokeEndpoint arguments per line, with a text `Body`,
            or `BodyBase64` for a binary one. An `EndpointName` is ignored: the target names the endpoint. Pickle: a
            list of such objects, with `Body` as bytes or bytearray; a pickle that imports or calls anything else is
            rejected, and nothing in it is executed. Directory: each file is one body,
            in the order of their names; hidden files are skipped.
        content_type: content type of all files of a directory; guessed from the file names when it is None.
        limit_bytes: maximum size of a body; the limit of SageMaker Serverless is 4 MB.

    Raises:
        InputError: the path is missing or cannot be read.
        DataError: the content is invalid; the message contains the position.
    """
    path = Path(path)
    try:
        if "\0" in str(path) or (path.exists() and not (path.is_dir() or path.is_file())):
            # Reading from a pipe would block until a process writes to it.
            raise InputError(f"{str(path)!r} is neither a file nor a directory", hint="use a file of examples")
        if path.is_file() and path.stat().st_size > _MAX_FILE_BYTES:
            raise DataError(
                f"{path} has {path.stat().st_size:,} bytes; the limit is {_MAX_FILE_BYTES:,}",
                hint="use fewer examples: all are kept in memory, and each is sent many times",
            )
        if path.is_dir():
            requests = _read_directory(path, content_type)
        elif path.suffix in {".pkl", ".pickle"}:
            requests = _read_pickle(path)
        else:
            requests = _read_jsonl(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="check the path and its permissions") from error
    if not requests:
        raise DataError(f"{path} contains no requests", hint="at least one example is required")
    for number, request in enumerate(requests, 1):
        if len(request.body) > limit_bytes:
            raise DataError(
                f"{path}: request {number} has a body of {len(request.body):,} bytes; the limit is {limit_bytes:,}",
                hint="SageMaker Serverless rejects larger bodies; set read_requests(..., limit_bytes=...)",
            )
    return tuple(requests)


def _read_jsonl(path: Path) -> list[Request]:
    raw = path.read_bytes()
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16", hint="save it as UTF-8")
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8",
            hint="use BodyBase64 or a .pkl file for binary bodies",
        ) from error
    requests: list[Request] = []
    bad: list[str] = []
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            requests.append(_parse_line(line))
        except orjson.JSONDecodeError as error:
            bad.append(f"line {number}, column {error.colno}: {error.msg}")
        except DataError as error:
            bad.append(f"line {number}: {error}")
    if bad:
        more = [f"and {len(bad) - _MAX_LISTED_ERRORS} more"] if len(bad) > _MAX_LISTED_ERRORS else []
        raise DataError(
            f"{path}: {len(bad)} of {len(bad) + len(requests)} lines are invalid",
            hint="each line must be a JSON object of InvokeEndpoint arguments",
            details=[*bad[:_MAX_LISTED_ERRORS], *more],
        )
    return requests


def _parse_line(line: bytes) -> Request:
    arguments = orjson.loads(line)
    if not isinstance(arguments, dict):
        raise DataError(f"a JSON value of type {type(arguments).__name__}, not an object")
    if _BASE64_KEY in arguments:
        if "Body" in arguments:
            raise DataError(f"both Body and {_BASE64_KEY} are present")
        try:
            arguments["Body"] = base64.b64decode(arguments.pop(_BASE64_KEY), validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise DataError(f"{_BASE64_KEY} is not valid base64: {error}") from error
    return Request.from_arguments(arguments)


# Source: CPython Lib/pickle.py (3.13), save_bytes and save_bytearray: before protocol 3 bytes are written as a call of
# _codecs.encode(text, "latin1") or of bytes(), before protocol 5 a bytearray as bytearray(...). Python 2's names too.
# Instances without attributes: a pickle can set attributes of a function.
class _TextEncoder:
    __slots__ = ()

    def __call__(self, *arguments: object) -> bytes:
        match arguments:
            case (str(text), "latin1" | "latin-1"):
                return text.encode("latin-1")
        raise DataError("it calls _codecs.encode with other arguments than text and 'latin1'", hint=_PLAIN_DATA)


class _BytesBuilder:
    __slots__ = ()

    def __call__(self, *arguments: object) -> bytes:
        match arguments:
            case ():
                return b""
            case (bytes(content) | bytearray(content),):
                return bytes(content)
            case (str(text), "latin1" | "latin-1"):  # a bytearray of Python 2
                return text.encode("latin-1")
        # bytes(10**12) would take a terabyte.
        raise DataError("it calls bytes or bytearray with other arguments than bytes", hint=_PLAIN_DATA)


_PLAIN_CALLS: Mapping[tuple[str, str], Callable[..., bytes]] = {
    ("_codecs", "encode"): _TextEncoder(),
    **{(module, name): _BytesBuilder() for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
}


class _RestrictedUnpickler(pickle.Unpickler):
    """Loads only plain data: dict, list, tuple, str, bytes, bytearray and numbers; nothing is imported."""

    def find_class(self, module: str, name: str) -> Callable[..., bytes]:
        try:
            return _PLAIN_CALLS[module, name]
        except KeyError:
            raise DataError(f"it imports {module}.{name}", hint=_PLAIN_DATA) from None

    def persistent_load(self, pid: object) -> NoReturn:  # noqa: ARG002 - the name is pickle's
        raise DataError("it contains a persistent ID", hint=_PLAIN_DATA)


def _read_pickle(path: Path) -> list[Request]:
    raw = path.read_bytes()
    try:
        examples = _RestrictedUnpickler(io.BytesIO(raw)).load()
    except DataError as error:
        raise DataError(f"{path} is rejected: {error.message}", hint=error.hint) from error
    # A damaged pickle can raise almost any exception.
    except Exception as error:  # noqa: BLE001
        raise DataError(
            f"{path} is not a complete pickle file: {error}", hint="write it with convert_invoke_args_to_pkl"
        ) from None
    if not isinstance(examples, (list, tuple)):
        raise DataError(f"{path} contains an object of type {type(examples).__name__}, not a list")
    return [_parse_example(path, number, example) for number, example in enumerate(examples, 1)]


def _parse_example(path: Path, number: int, example: object) -> Request:
    if not isinstance(example, dict):
        raise DataError(f"{path}: example {number} is of type {type(example).__name__}, not dict")
    try:
        return Request.from_arguments(example)
    except DataError as error:
        raise DataError(f"{path}: example {number}: {error.message}", hint=error.hint) from error


def _read_directory(path: Path, content_type: str | None) -> list[Request]:
    files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    odd = [file.name for file in files if not file.is_file()]
    if odd:
        raise DataError(
            f"{path} has entries that are not files", hint="use a flat directory", details=odd[:_MAX_LISTED_ERRORS]
        )
    types = {mimetypes.guess_type(file.name)[0] for file in files}
    if content_type is None and files:
        if len(types) > 1 or types == {None}:
            raise DataError(
                f"{path}: the content type cannot be derived from the file names",
                hint='set it, such as read_requests(..., content_type="image/jpeg")',
            )
        content_type = types.pop()
    return [Request(file.read_bytes(), content_type=content_type) for file in files]


def convert_invoke_args_to_jsonl(
    invoke_args_examples: Sequence[Mapping[str, Any]], output_path: str | Path = "."
) -> Path:
    """Write InvokeEndpoint arguments as JSON Lines into a directory and return the path of the file.

    A body of bytes is written in base64 as `BodyBase64`.

    Raises:
        DataError: an example is not a valid set of InvokeEndpoint arguments.
        OutputError: the file cannot be written.
    """
    lines = []
    for example in _validate_examples(invoke_args_examples):
        line = dict(example)
        if not isinstance(line["Body"], str):
            line[_BASE64_KEY] = base64.b64encode(line.pop("Body")).decode("ascii")
        lines.append(orjson.dumps(line) + b"\n")
    return _write_file(Path(output_path) / JSONL_NAME, b"".join(lines))


def convert_invoke_args_to_pkl(
    invoke_args_examples: Sequence[Mapping[str, Any]], output_path: str | Path = "."
) -> Path:
    """Write InvokeEndpoint arguments as a pickle into a directory and return the path of the file.

    Raises:
        DataError: an example is not a valid set of InvokeEndpoint arguments.
        OutputError: the file cannot be written.
    """
    rows = []
    for example in _validate_examples(invoke_args_examples):
        body = example["Body"]
        rows.append({**example, "Body": body if isinstance(body, (str, bytes)) else bytes(body)})
    return _write_file(Path(output_path) / PICKLE_NAME, pickle.dumps(rows, protocol=4))


def _validate_examples(examples: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    if not examples:
        raise DataError("no examples to write", hint="at least one set of InvokeEndpoint arguments is required")
    for number, example in enumerate(examples, 1):
        try:
            Request.from_arguments(example)
        except DataError as error:
            raise DataError(f"example {number}: {error.message}", hint=error.hint) from error
    return examples


def _write_file(path: Path, content: bytes) -> Path:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}", hint="check the directory and its permissions"
        ) from error
    return path
