"""Reading the control plane's input: what is missing, malformed or out of bounds is refused in AWS's own words.

Pure. Bounds and patterns are those of the botocore service model sagemaker 2017-07-24.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from loadgen.emulator.protocol.responses import AwsError

NAME = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
ROLE_ARN = r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"
# Matches what NAME matches, without its nested repetition, which takes exponential time on a hostile name.
_NAME_CHECK = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?")


def invalid(message: str) -> AwsError:
    """Build the control plane's refusal of an input."""
    return AwsError("ValidationException", message)


def constraint(value: object, place: str, rule: str) -> AwsError:
    """Build the refusal of a value that breaks a bound of the service model."""
    shown = "null" if value is None else f"'{value}'"
    return invalid(
        f"1 validation error detected: Value {shown} at '{place}' failed to satisfy constraint: Member must {rule}"
    )


def _wrong_type(place: str, wanted: str) -> AwsError:
    return AwsError("SerializationException", f"{place} must be {wanted}")


def lower_camel(member: str) -> str:
    """Spell a member as the service does in its messages.

    Example:
        >>> lower_camel("EndpointName")
        'endpointName'
    """
    return member[:1].lower() + member[1:]


def text(payload: Mapping[str, Any], member: str, *, place: str = "", longest: int = 1024) -> str:
    """Read a required text.

    Raises:
        AwsError: it is missing, no text, or too long.
    """
    place = place or lower_camel(member)
    value = payload.get(member)
    if value is None:
        raise constraint(None, place, "not be null")
    if not isinstance(value, str):
        raise _wrong_type(place, "a string")
    if len(value) > longest:
        raise constraint(value[:80], place, f"have length less than or equal to {longest}")
    return value


def name(payload: Mapping[str, Any], member: str, *, place: str = "") -> str:
    """Read a required resource name.

    Raises:
        AwsError: it is missing, too long or has characters that names cannot have.
    """
    value = text(payload, member, place=place, longest=63)
    if not _NAME_CHECK.fullmatch(value):
        raise constraint(value, place or lower_camel(member), f"satisfy regular expression pattern: {NAME}")
    return value


def whole(payload: Mapping[str, Any], member: str, *, place: str, least: int, most: int) -> int:
    """Read a required whole number within bounds.

    Raises:
        AwsError: it is missing, none, or out of bounds.
    """
    value = payload.get(member)
    if value is None:
        raise constraint(None, place, "not be null")
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(place, "an integer")
    if value < least:
        raise constraint(value, place, f"have value greater than or equal to {least}")
    if value > most:
        raise constraint(value, place, f"have value less than or equal to {most}")
    return value


def structure(payload: Mapping[str, Any], member: str, *, place: str = "") -> dict[str, Any] | None:
    """Read an optional structure; None when it is not there.

    Raises:
        AwsError: it is something else.
    """
    value = payload.get(member)
    if value is not None and not isinstance(value, dict):
        raise _wrong_type(place or lower_camel(member), "a structure")
    return value


def structures(payload: Mapping[str, Any], member: str, *, most: int) -> list[dict[str, Any]]:
    """Read an optional list of structures; empty when it is not there.

    Raises:
        AwsError: it is something else, or too long.
    """
    value = payload.get(member)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise _wrong_type(lower_camel(member), "a list of structures")
    if len(value) > most:
        raise constraint(f"[{len(value)} members]", lower_camel(member), f"have length less than or equal to {most}")
    return value


def choice(payload: Mapping[str, Any], member: str, allowed: Sequence[str], default: str) -> str:
    """Read an optional word out of a closed list.

    Raises:
        AwsError: it is another word.
    """
    value = payload.get(member, default)
    if value not in allowed:
        raise constraint(value, lower_camel(member), f"satisfy enum value set: [{', '.join(allowed)}]")
    return str(value)


def instant(payload: Mapping[str, Any], member: str) -> float | None:
    """Read an optional time stamp, epoch seconds on the wire.

    Raises:
        AwsError: it is no number.
    """
    value = payload.get(member)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong_type(lower_camel(member), "a timestamp")
    return float(value)


def tags(payload: Mapping[str, Any]) -> dict[str, str]:
    """Read the optional member Tags.

    Raises:
        AwsError: a tag without key or value, a key twice, or more than 50.
    """
    read: dict[str, str] = {}
    for row in structures(payload, "Tags", most=50):
        key = text(row, "Key", place="tags.member.key", longest=128)
        if not key:
            raise constraint(key, "tags.member.key", "have length greater than or equal to 1")
        if key in read:
            raise invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        read[key] = text(row, "Value", place="tags.member.value", longest=256)
    return read
