"""Payload files: reading and writing the sample requests of a benchmark.

Three forms: JSON Lines of InvokeEndpoint arguments, the same as a pickle of plain data (for binary bodies), and a
directory of files. Everything wrong with a file is found here, before anything is deployed.
"""

import base64
import binascii
import io
import mimetypes
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import orjson

from loadgen.errors import DataError, InputError, OutputError
from loadgen.workload.request import Request
from loadgen.workload.serverless_config import PAYLOAD_LIMIT_BYTES

JSONL_NAME = "invoke_args_examples.jsonl"  # the predecessor's file names
PICKLE_NAME = "invoke_args_examples.pkl"
_BASE64_KEY = "BodyBase64"  # InvokeEndpoint has no such argument: it can only be meant for us
_MAX_FILE_BYTES = 1 << 30  # bytes: more than a benchmark's examples can mean, less than a small machine has
_MAX_LISTED_ERRORS = 5  # bad lines shown before the rest is only counted


def read_requests(
    path: str | Path, *, content_type: str | None = None, limit_bytes: int = PAYLOAD_LIMIT_BYTES
) -> tuple[Request, ...]:
    """Read sample requests from a `.jsonl` file, a `.pkl` file, or a directory of files.

    Args:
        path: what to read. JSON Lines: an object of InvokeEndpoint arguments on each line, `Body` as text or
            `BodyBase64` for binary. Pickle: a list of such objects, `Body` as bytes; only plain data is read, a file
            that would import or call anything is refused and nothing in it is executed. Directory: each file is a
            body, in the order of their names; hidden files are left out.
        content_type: of every file of a directory; guessed from the names when not given.
        limit_bytes: the largest body; SageMaker Serverless takes 4 MB.

    Raises:
        InputError: it is missing or cannot be read.
        DataError: its content is wrong; the message says where.
    """
    path = Path(path)
    try:
        if "\0" in str(path) or (path.exists() and not (path.is_dir() or path.is_file())):
            # Reading from a pipe would wait for whoever writes into it.
            raise InputError(f"{str(path)!r} is neither a file nor a directory", hint="give a file of examples")
        if path.is_file() and path.stat().st_size > _MAX_FILE_BYTES:
            raise DataError(
                f"{path} has {path.stat().st_size:,} bytes; examples are kept in memory, at most {_MAX_FILE_BYTES:,}",
                hint="a sample of them is enough: each is sent many times",
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
        raise DataError(f"{path} holds no requests", hint="give at least one example")
    for number, request in enumerate(requests, 1):
        if len(request.body) > limit_bytes:
            raise DataError(
                f"{path}: request {number} has a body of {len(request.body):,} bytes; the limit is {limit_bytes:,}",
                hint="SageMaker Serverless refuses larger ones; raise it with read_requests(..., limit_bytes=...)",
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
            hint="give binary bodies as BodyBase64, or use a .pkl file",
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
            f"{path}: {len(bad)} of {len(bad) + len(requests)} lines are wrong",
            hint="each line is a JSON object of InvokeEndpoint arguments",
            details=[*bad[:_MAX_LISTED_ERRORS], *more],
        )
    return requests


def _parse_line(line: bytes) -> Request:
    arguments = orjson.loads(line)
    if not isinstance(arguments, dict):
        raise DataError(f"a JSON {type(arguments).__name__}, not an object of arguments")
    if _BASE64_KEY in arguments:
        if "Body" in arguments:
            raise DataError(f"both Body and {_BASE64_KEY}")
        try:
            arguments["Body"] = base64.b64decode(arguments.pop(_BASE64_KEY), validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise DataError(f"{_BASE64_KEY} is not base64: {error}") from error
    return Request.from_arguments(arguments)


class _RestrictedUnpickler(pickle.Unpickler):
    """Builds what pickle can say without naming anything to import: dict, list, tuple, str, bytes, numbers."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise DataError(
            f"it would import {module}.{name}", hint="only plain data is read: lists, dicts, text and bytes"
        )

    def persistent_load(self, pid: object) -> NoReturn:  # noqa: ARG002 - the name is pickle's
        raise DataError("it refers to something outside the file", hint="only plain data is read")


def _read_pickle(path: Path) -> list[Request]:
    raw = path.read_bytes()
    try:
        examples = _RestrictedUnpickler(io.BytesIO(raw)).load()
    except DataError as error:
        raise DataError(f"{path} is refused: {error.message}", hint=error.hint) from error
    # A damaged pickle raises nearly anything; nothing of ours runs inside load().
    except Exception as error:  # noqa: BLE001
        raise DataError(
            f"{path} is not a whole pickle file: {error}", hint="write it with convert_invoke_args_to_pkl"
        ) from None
    if not isinstance(examples, (list, tuple)):
        raise DataError(f"{path} holds a {type(examples).__name__}, not a list of arguments")
    return [_parse_example(path, number, example) for number, example in enumerate(examples, 1)]


def _parse_example(path: Path, number: int, example: object) -> Request:
    if not isinstance(example, dict):
        raise DataError(f"{path}: example {number} is a {type(example).__name__}, not a dict of arguments")
    try:
        return Request.from_arguments(example)
    except DataError as error:
        raise DataError(f"{path}: example {number}: {error.message}", hint=error.hint) from error


def _read_directory(path: Path, content_type: str | None) -> list[Request]:
    files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    odd = [file.name for file in files if not file.is_file()]
    if odd:
        raise DataError(
            f"{path} holds what is not a file", hint="give a flat directory of files", details=odd[:_MAX_LISTED_ERRORS]
        )
    types = {mimetypes.guess_type(file.name)[0] for file in files}
    if content_type is None and files:
        if len(types) > 1 or types == {None}:
            raise DataError(
                f"{path}: the content type cannot be told from the file names",
                hint='name it: read_requests(..., content_type="image/jpeg")',
            )
        content_type = types.pop()
    return [Request(file.read_bytes(), content_type=content_type) for file in files]


def convert_invoke_args_to_jsonl(
    invoke_args_examples: Sequence[Mapping[str, Any]], output_path: str | Path = "."
) -> Path:
    """Write InvokeEndpoint arguments as JSON Lines into a directory, and return the file's path.

    A body of bytes is written as base64 under `BodyBase64`.

    Raises:
        DataError: an example is not a set of InvokeEndpoint arguments.
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
    """Write InvokeEndpoint arguments as a pickle of plain data into a directory, and return the file's path.

    Raises:
        DataError: an example is not a set of InvokeEndpoint arguments.
        OutputError: the file cannot be written.
    """
    plain = []
    for example in _validate_examples(invoke_args_examples):
        body = example["Body"]
        plain.append({**example, "Body": body if isinstance(body, (str, bytes)) else bytes(body)})
    return _write_file(Path(output_path) / PICKLE_NAME, pickle.dumps(plain, protocol=4))


def _validate_examples(examples: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    if not examples:
        raise DataError("no examples to write", hint="give at least one set of InvokeEndpoint arguments")
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
