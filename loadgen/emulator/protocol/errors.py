"""Errors of the emulated services, and the texts in which each protocol reports an invalid input."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

NOT_NULL = "not be null"
_MAX_SHOWN_CHARACTERS = 80  # of an invalid value in a message
# Member names, and 1-based positions in lists.
MemberPath = tuple[str | int, ...]


class ServiceError(Exception):
    """An error response of a service.

    Args:
        code: error code, such as `ValidationException`.
        message: error message; None is sent as null.
        status: HTTP status.
        extra: further members of the JSON body.
    """

    def __init__(
        self, code: str, message: str | None, status: int = 400, extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status
        self.extra = dict(extra or {})


class Violation(NamedTuple):
    """One constraint of the service model that an input breaks.

    `value` is None if a required member is missing; `constraint` completes the sentence "Member must ...".
    """

    path: MemberPath
    value: object
    constraint: str


class InputErrors(Protocol):
    """Builds the errors by which one service rejects an input."""

    def wrong_type(self, path: MemberPath, expected: str) -> ServiceError:
        """Build the error for a member that cannot be decoded, such as a string where an integer is expected."""
        ...

    def broken_constraints(self, violations: Sequence[Violation]) -> ServiceError:
        """Build the error for constraints that are broken; there is at least one."""
        ...


class JsonInputErrors:
    """The errors of the JSON services, with the texts of AWS's validation framework.

    Args:
        code: error code of a broken constraint.
    """

    def __init__(self, code: str = "ValidationException") -> None:
        self._code = code

    def wrong_type(self, path: MemberPath, expected: str) -> ServiceError:
        """Build a SerializationException."""
        return ServiceError("SerializationException", f"{_json_path(path)} must be {expected}")

    def broken_constraints(self, violations: Sequence[Violation]) -> ServiceError:
        """Build one error that lists all violations.

        Example:
            >>> JsonInputErrors().broken_constraints([Violation(("Tags",), None, NOT_NULL)]).message
            "1 validation error detected: Value null at 'tags' failed to satisfy constraint: Member must not be null"
        """
        texts = [_violation_text(violation) for violation in violations]
        noun = "error" if len(texts) == 1 else "errors"
        return ServiceError(self._code, f"{len(texts)} validation {noun} detected: {'; '.join(texts)}")


class QueryInputErrors:
    """The errors of CloudWatch and STS, which keep the codes of the query protocol over JSON too."""

    def wrong_type(self, path: MemberPath, expected: str) -> ServiceError:
        """Build an InvalidParameterValue."""
        return ServiceError("InvalidParameterValue", f"The parameter {_query_path(path)} must be {expected}.")

    def broken_constraints(self, violations: Sequence[Violation]) -> ServiceError:
        """Build a MissingParameter or InvalidParameterValue for the first violation."""
        path, value, constraint = violations[0]
        if value is None:
            return missing_parameter(_query_path(path))
        return ServiceError(
            "InvalidParameterValue",
            f"The value {_shown(value)} for parameter {_query_path(path)} is invalid. Member must {constraint}.",
        )


def validation_error(message: str) -> ServiceError:
    """Build a ValidationException, the control plane's error for every invalid input."""
    return ServiceError("ValidationException", message)


def missing_member(*path: str | int) -> ServiceError:
    """Build the control plane's error for a required member that is missing."""
    return JsonInputErrors().broken_constraints([Violation(path, None, NOT_NULL)])


def missing_parameter(name: str) -> ServiceError:
    """Build the query services' error for a required parameter that is missing."""
    return ServiceError("MissingParameter", f"The parameter {name} is required.")


def _violation_text(violation: Violation) -> str:
    path, value, constraint = violation
    shown = "null" if value is None else f"'{_shown(value)}'"
    if isinstance(path[-1], int):
        # A list of scalars is one value to AWS: the constraint of its members is nested in that of the list.
        path, shown, constraint = path[:-1], f"'[{_shown(value)}]'", f"satisfy constraint: [Member must {constraint}]"
    return f"Value {shown} at '{_json_path(path)}' failed to satisfy constraint: Member must {constraint}"


def _shown(value: object) -> str:
    return str(value)[:_MAX_SHOWN_CHARACTERS]


def _json_path(path: MemberPath) -> str:
    return ".".join(f"{step}.member" if isinstance(step, int) else step[:1].lower() + step[1:] for step in path)


def _query_path(path: MemberPath) -> str:
    return ".".join(f"member.{step}" if isinstance(step, int) else step for step in path)
