"""Validation of inputs against botocore's service models: types, required members, bounds, patterns, enumerations.

Checks that need the account's state or that the model does not express (existence, quotas, memory sizes) are in the
services. Members that the model does not have are dropped, as AWS ignores them; a null member counts as absent.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property, lru_cache
from typing import Any

from loadgen.emulator.protocol.errors import (
    NOT_NULL,
    InputErrors,
    JsonInputErrors,
    MemberPath,
    QueryInputErrors,
    ServiceError,
    Violation,
)
from loadgen.emulator.protocol.service_models import input_shape

# An operation takes its input and the time (epoch seconds) and returns its output; None is an empty body.
Operation = Callable[[Mapping[str, Any], float], dict[str, Any] | None]

_INPUT_ERRORS: Mapping[str, InputErrors] = {
    "sagemaker": JsonInputErrors(),
    "sagemaker-runtime": JsonInputErrors("ValidationError"),
    "service-quotas": JsonInputErrors("IllegalArgumentException"),
    "cloudwatch": QueryInputErrors(),
    "sts": QueryInputErrors(),
}


def validated(service: str, operations: Mapping[str, Operation]) -> dict[str, Operation]:
    """Wrap each operation so that it receives its input validated.

    Args:
        service: botocore's name of the service.
        operations: operation name -> operation.
    """
    return {name: _validated(service, name, operation) for name, operation in operations.items()}


def _validated(service: str, name: str, operation: Operation) -> Operation:
    def call(payload: Mapping[str, Any], now: float) -> dict[str, Any] | None:
        return operation(validate_input(service, name, payload), now)

    return call


def validate_input(service: str, operation: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of an input that the service model has; timestamps are epoch seconds.

    Raises:
        ServiceError: a member has the wrong type, or breaks a constraint.

    Example:
        >>> validate_input("sagemaker", "DescribeModel", {"ModelName": "m", "Unknown": 1})
        {'ModelName': 'm'}
    """
    shape = input_shape(service, operation)
    if shape is None:
        return {}
    errors = _INPUT_ERRORS[service]
    reader = _InputReader()
    try:
        read: dict[str, Any] = reader.read(shape, payload, ())
    except _WrongTypeError as error:
        raise errors.wrong_type(error.path, error.expected) from error
    if reader.violations:
        raise errors.broken_constraints(reader.violations)
    return read


class HeaderValidator:
    """Validates the members of a REST operation that travel in headers.

    Args:
        service: botocore's name of the service.
        operation: such as `InvokeEndpoint`.

    On the path of every request: about 1 us for nine headers.
    """

    def __init__(self, service: str, operation: str) -> None:
        self._service = service
        self._operation = operation
        self._errors = _INPUT_ERRORS[service]
        # The requests of a run have the same headers: two kinds of look-up replace the validation.
        self._constrained = lru_cache(maxsize=256)(self._find_constrained)
        self._violations = lru_cache(maxsize=256)(self._find_violations)

    @cached_property
    def _members(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        return {
            shape.serialization["name"].lower(): (name, shape.metadata)
            for name, shape in input_shape(self._service, self._operation).members.items()
            if shape.serialization.get("location") == "header"
        }

    def error(self, headers: Mapping[str, str]) -> ServiceError | None:
        """Return the error of headers that break a constraint, or None. O(headers), no await."""
        for header in self._constrained(tuple(headers)):
            if violations := self._violations(header, headers[header]):
                return self._errors.broken_constraints(violations)
        return None

    def _find_constrained(self, headers: tuple[str, ...]) -> list[str]:
        return [header for header in headers if header.lower() in self._members]

    def _find_violations(self, header: str, value: str) -> list[Violation]:
        member, metadata = self._members[header.lower()]
        return [Violation((member,), value, rule) for rule in _broken_constraints(metadata, value)]


class _WrongTypeError(Exception):
    def __init__(self, path: MemberPath, expected: str) -> None:
        super().__init__(path, expected)
        self.path = path
        self.expected = expected


class _InputReader:
    """Reads one input; broken constraints are collected, a wrong type ends the reading."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def read(self, shape: Any, value: Any, path: MemberPath) -> Any:
        """Return the value as its shape types it.

        Raises:
            _WrongTypeError: it has another type.
        """
        kind = shape.type_name
        if kind == "structure":
            return self._read_structure(shape, _expect(value, Mapping, path, "a structure"), path)
        read: Any
        if kind == "list":
            members = _expect(value, list, path, "a list")
            read = [self.read(shape.member, member, (*path, number)) for number, member in enumerate(members, 1)]
        elif kind == "map":
            # To AWS, keys and values have the path of their map.
            entries = _expect(value, Mapping, path, "a map")
            read = {
                self.read(shape.key, key, path): self.read(shape.value, entry, path) for key, entry in entries.items()
            }
        else:
            expected, read_scalar = _SCALARS[kind]
            read = read_scalar(value)
            if read is None:
                raise _WrongTypeError(path, expected)
        self.violations += [Violation(path, read, rule) for rule in _broken_constraints(shape.metadata, read)]
        return read

    def _read_structure(self, shape: Any, members: Mapping[str, Any], path: MemberPath) -> dict[str, Any]:
        for name in shape.required_members:
            if members.get(name) is None:
                self.violations.append(Violation((*path, name), None, NOT_NULL))
        return {
            name: self.read(member, members[name], (*path, name))
            for name, member in shape.members.items()
            if members.get(name) is not None
        }


def _expect(value: Any, kind: type, path: MemberPath, expected: str) -> Any:
    if not isinstance(value, kind):
        raise _WrongTypeError(path, expected)
    return value


def _integer(bits: int) -> Callable[[Any], int | None]:
    def read(value: Any) -> int | None:
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        return value if is_integer and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1) else None

    return read


def _number(value: Any) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    # Not infinite, and small enough that a sum of many cannot become so.
    return float(value) if abs(value) < 1e300 else None


def _timestamp(value: Any) -> float | None:
    seconds = _number(value)
    # The years 1 to 9999: what a datetime, and ISO 8601, can express.
    return seconds if seconds is not None and -62_135_596_800 <= seconds < 253_402_300_800 else None


# Type of a botocore shape -> what a message calls it, and how it is read; None is another type.
_SCALARS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "string": ("a string", lambda value: value if isinstance(value, str) else None),
    "boolean": ("a boolean", lambda value: value if isinstance(value, bool) else None),
    "integer": ("an integer", _integer(32)),
    "long": ("an integer", _integer(64)),
    "float": ("a number", _number),
    "double": ("a number", _number),
    "timestamp": ("a timestamp", _timestamp),
}


# An instance type that is newer than the installed botocore is not in its enumeration: what has the form of one passes.
_INSTANCE_TYPE = re.compile(r"ml\.[a-z][a-z0-9-]*\.(?:[0-9]*x?large|medium|metal(?:-[0-9]+xl)?)", re.ASCII)


def _broken_constraints(metadata: Mapping[str, Any], value: Any) -> Iterator[str]:
    allowed = metadata.get("enum")
    if allowed and value not in allowed and not ("ml.m5.large" in allowed and _INSTANCE_TYPE.fullmatch(value)):
        yield f"satisfy enum value set: [{', '.join(allowed)}]"
    size, noun = (len(value), "length") if hasattr(value, "__len__") else (value, "value")
    if (least := metadata.get("min")) is not None and size < least:
        yield f"have {noun} greater than or equal to {least}"
    if (most := metadata.get("max")) is not None and size > most:
        yield f"have {noun} less than or equal to {most}"
    # A string that is too long is not matched: the patterns were checked for their time on bounded strings only.
    elif (pattern := metadata.get("pattern")) and (compiled := _compile(pattern)) and not compiled.fullmatch(value):
        yield f"satisfy regular expression pattern: {pattern}"


# What the models' patterns take from Java and Python's `re` does not have: character classes by their members. \w
# includes the underscore, which every pattern with \p{L} allows as well.
_JAVA_CLASSES = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\w",
    r"\p{Z}": r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
    r"\p{ASCII}": r"\x00-\x7f",
    r"\p{Print}": r"\x20-\x7e",
}


@cache
def _compile(pattern: str) -> re.Pattern[str] | None:
    """Compile a pattern of the service model, or return None if `re` cannot express it."""
    parts, in_class = [], False
    for part in re.findall(r"\\p\{\w+\}|\\.|.", pattern, re.DOTALL):
        if part in "[]":
            in_class = part == "["
        members = _JAVA_CLASSES.get(part)
        parts.append(part.replace(r"\z", r"\Z") if members is None else members if in_class else f"[{members}]")
    try:
        return re.compile("".join(parts))
    except re.error:
        return None
