"""The request side of the query protocol: `Action=...&MetricData.member.1.Value=1` as typed values. Pure."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from loadgen.emulator.protocol.errors import ServiceError

# Members in one request at most: GetMetricData takes 500 queries of about a dozen members each.
_MAX_MEMBERS = 20_000


def parse_query(body: bytes) -> dict[str, Any]:
    """Return the parameters of a form-encoded request, nested at their dots; all values are strings.

    Raises:
        ServiceError: MalformedQueryString: the body is not a form, or has contradicting parameters.

    Example:
        >>> parse_query(b"Action=A&Stat.member.1=Sum&Stat.member.2=Average")
        {'Action': 'A', 'Stat': {'member': {'1': 'Sum', '2': 'Average'}}}
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
                raise ServiceError("MalformedQueryString", f"The parameter {name[:80]} contradicts another.")
        node[leaf] = value
    return tree


def decode_query(shape: Any, node: Any) -> Any:
    """Return parsed parameters as the values that a JSON client would send.

    A value that does not have the form of its type is returned as it is, for the validation to reject.

    Args:
        shape: botocore's shape of the value.
        node: what `parse_query` returned for it.

    Raises:
        ServiceError: MalformedQueryString: the members of a list are not numbered.
    """
    if shape.type_name == "structure" and isinstance(node, dict):
        return {name: decode_query(member, node[name]) for name, member in shape.members.items() if name in node}
    if shape.type_name == "list" and node in ("", {"member": ""}):
        return None  # how botocore sends an empty list
    if shape.type_name == "list" and isinstance(node, dict) and isinstance(node.get("member"), dict):
        members = node["member"]
        if not all(re.fullmatch("[0-9]{1,9}", key) for key in members):
            raise ServiceError("MalformedQueryString", "The members of a list must be numbered.")
        return [decode_query(shape.member, members[key]) for key in sorted(members, key=int)]
    decode = _DECODERS.get(shape.type_name)
    return decode(node) if decode and isinstance(node, str) else node


def _decode_integer(text: str) -> int | str:
    return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text


def _decode_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _decode_boolean(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text.lower(), text)


def _decode_timestamp(text: str) -> float | str:
    # ISO 8601, UTC unless it has an offset; epoch seconds are accepted as well.
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return _decode_number(text)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


_DECODERS: Mapping[str, Callable[[str], Any]] = {
    "integer": _decode_integer,
    "long": _decode_integer,
    "float": _decode_number,
    "double": _decode_number,
    "boolean": _decode_boolean,
    "timestamp": _decode_timestamp,
}
