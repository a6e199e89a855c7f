"""The query protocol's request side: `Action=...&CloudWatchMetric.member.1.Name=...` as nested values.

Pure. Values stay text here; `number` and `timestamp` read them, and take what JSON clients send as well.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from loadgen.emulator.protocol.responses import ServiceError

# Members in one request at most: GetMetricData takes 500 queries of about a dozen members each.
_MAX_MEMBERS = 20_000


def parse_query(body: bytes) -> dict[str, Any]:
    """Return the nested parameters of a form-encoded request; `X.member.1.Y` becomes {"X": [{"Y": ...}]}.

    Raises:
        ServiceError: MalformedQueryString: not a form, or parameters that contradict each other.

    Example:
        >>> parse_query(b"Action=A&Stat.member.1=Sum&Stat.member.2=Average")
        {'Action': 'A', 'Stat': ['Sum', 'Average']}
    """
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MAX_MEMBERS)
    except ValueError as error:
        raise ServiceError("MalformedQueryString", "The query string is malformed.") from error
    tree: dict[str, Any] = {}
    for name, value in pairs:
        *path, leaf = name.split(".")
        node = tree
        for step in path:
            node = node.setdefault(step, {})
            if not isinstance(node, dict):
                raise ServiceError("MalformedQueryString", f"The parameter {name} contradicts another.")
        node[leaf] = value
    return {name: _to_lists(value) for name, value in tree.items()}


def _to_lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if set(node) == {"member"} and isinstance(node["member"], dict):
        members = node["member"]
        if not all(key.isdecimal() for key in members):
            raise ServiceError("MalformedQueryString", "A list's members must be numbered.")
        return [_to_lists(members[key]) for key in sorted(members, key=int)]
    if set(node) == {"member"} and node["member"] == "":
        return []
    return {name: _to_lists(value) for name, value in node.items()}


def number(parameters: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """Read a number that came as text or as a number.

    Raises:
        ServiceError: it is missing and has no default, or is none.
    """
    value = parameters.get(name)
    if value is None:
        if default is None:
            raise ServiceError("MissingParameter", f"The parameter {name} is required.")
        return default
    if not isinstance(value, (str, int, float)):
        raise ServiceError("InvalidParameterValue", f"The parameter {name} must be a number.")
    try:
        read = float(value)
    except ValueError as error:
        raise ServiceError("InvalidParameterValue", f"The parameter {name} must be a number.") from error
    if not abs(read) < 1e300:
        raise ServiceError("InvalidParameterValue", f"The parameter {name} must be a finite number.")
    return read


def timestamp(parameters: Mapping[str, Any], name: str) -> float:
    """Read an instant as epoch seconds, from a number or from ISO 8601 text (without an offset it is UTC).

    Raises:
        ServiceError: it is missing or none.
    """
    value = parameters.get(name)
    if value is None:
        raise ServiceError("MissingParameter", f"The parameter {name} is required.")
    if isinstance(value, str):
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            return number(parameters, name)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    return number(parameters, name)


def struct_list(parameters: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Read a list of structures; missing is empty.

    Raises:
        ServiceError: it is something else.
    """
    value = parameters.get(name) or []
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise ServiceError("InvalidParameterValue", f"The parameter {name} must be a list of structures.")
    return value


def str_list(parameters: Mapping[str, Any], name: str) -> list[str]:
    """Read a list of texts; missing is empty.

    Raises:
        ServiceError: it is something else.
    """
    value = parameters.get(name) or []
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ServiceError("InvalidParameterValue", f"The parameter {name} must be a list of texts.")
    return value
