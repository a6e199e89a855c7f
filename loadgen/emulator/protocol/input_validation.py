"""Reading the control plane's input: what is missing, malformed or out of bounds is refused in AWS's own words.

Pure. Bounds and patterns are those of the botocore service model sagemaker 2017-07-24.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from loadgen.emulator.protocol.responses import ServiceError

NAME_PATTERN = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
ROLE_ARN_PATTERN = r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"
# Matches what NAME matches, without its nested repetition, which takes exponential time on a hostile name.
_NAME_CHECK = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?")


def validation_error(message: str) -> ServiceError:
    """Build the control plane's refusal of an input."""
    return ServiceError("ValidationException", message)


def constraint_error(value: object, member_path: str, rule: str) -> ServiceError:
    """Build the refusal of a value that breaks a bound of the service model."""
    shown = "null" if value is None else f"'{value}'"
    return validation_error(
        f"1 validation error detected: Value {shown} at '{member_path}' failed to satisfy constraint: Member must {rule}"
    )


def _type_error(member_path: str, expected: str) -> ServiceError:
    return ServiceError("SerializationException", f"{member_path} must be {expected}")


def lower_camel(member: str) -> str:
    """Spell a member as the service does in its messages.

    Example:
        >>> lower_camel("EndpointName")
        'endpointName'
    """
    return member[:1].lower() + member[1:]


def require_str(payload: Mapping[str, Any], member: str, *, member_path: str = "", max_length: int = 1024) -> str:
    """Read a required text.

    Raises:
        ServiceError: it is missing, no text, or too long.
    """
    member_path = member_path or lower_camel(member)
    value = payload.get(member)
    if value is None:
        raise constraint_error(None, member_path, "not be null")
    if not isinstance(value, str):
        raise _type_error(member_path, "a string")
    if len(value) > max_length:
        raise constraint_error(value[:80], member_path, f"have length less than or equal to {max_length}")
    return value


def require_name(payload: Mapping[str, Any], member: str, *, member_path: str = "") -> str:
    """Read a required resource name.

    Raises:
        ServiceError: it is missing, too long or has characters that names cannot have.
    """
    value = require_str(payload, member, member_path=member_path, max_length=63)
    if not _NAME_CHECK.fullmatch(value):
        raise constraint_error(
            value, member_path or lower_camel(member), f"satisfy regular expression pattern: {NAME_PATTERN}"
        )
    return value


def require_int(payload: Mapping[str, Any], member: str, *, member_path: str, minimum: int, maximum: int) -> int:
    """Read a required whole number within bounds.

    Raises:
        ServiceError: it is missing, none, or out of bounds.
    """
    value = payload.get(member)
    if value is None:
        raise constraint_error(None, member_path, "not be null")
    if not isinstance(value, int) or isinstance(value, bool):
        raise _type_error(member_path, "an integer")
    if value < minimum:
        raise constraint_error(value, member_path, f"have value greater than or equal to {minimum}")
    if value > maximum:
        raise constraint_error(value, member_path, f"have value less than or equal to {maximum}")
    return value


def get_struct(payload: Mapping[str, Any], member: str, *, member_path: str = "") -> dict[str, Any] | None:
    """Read an optional structure; None when it is not there.

    Raises:
        ServiceError: it is something else.
    """
    value = payload.get(member)
    if value is not None and not isinstance(value, dict):
        raise _type_error(member_path or lower_camel(member), "a structure")
    return value


def get_struct_list(payload: Mapping[str, Any], member: str, *, max_items: int) -> list[dict[str, Any]]:
    """Read an optional list of structures; empty when it is not there.

    Raises:
        ServiceError: it is something else, or too long.
    """
    value = payload.get(member)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise _type_error(lower_camel(member), "a list of structures")
    if len(value) > max_items:
        raise constraint_error(
            f"[{len(value)} members]", lower_camel(member), f"have length less than or equal to {max_items}"
        )
    return value


def get_enum(payload: Mapping[str, Any], member: str, allowed: Sequence[str], default: str) -> str:
    """Read an optional word out of a closed list.

    Raises:
        ServiceError: it is another word.
    """
    value = payload.get(member, default)
    if value not in allowed:
        raise constraint_error(value, lower_camel(member), f"satisfy enum value set: [{', '.join(allowed)}]")
    return str(value)


def get_timestamp(payload: Mapping[str, Any], member: str) -> float | None:
    """Read an optional time stamp, epoch seconds on the wire.

    Raises:
        ServiceError: it is no number.
    """
    value = payload.get(member)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _type_error(lower_camel(member), "a timestamp")
    return float(value)


def get_tags(payload: Mapping[str, Any]) -> dict[str, str]:
    """Read the optional member Tags.

    Raises:
        ServiceError: a tag without key or value, a key twice, or more than 50.
    """
    read: dict[str, str] = {}
    for row in get_struct_list(payload, "Tags", max_items=50):
        key = require_str(row, "Key", member_path="tags.member.key", max_length=128)
        if not key:
            raise constraint_error(key, "tags.member.key", "have length greater than or equal to 1")
        if key in read:
            raise validation_error("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        read[key] = require_str(row, "Value", member_path="tags.member.value", max_length=256)
    return read
