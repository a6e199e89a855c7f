"""Filters, order and pages of the List operations. Pure."""

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from loadgen.emulator.protocol.errors import validation_error

# Source: API reference of ListEndpoints: "The default value for MaxResults is 10".
_DEFAULT_PAGE_SIZE = 10


class Listable(Protocol):
    """A resource that can be listed. Instants are epoch seconds."""

    @property
    def name(self) -> str:
        """Name as it was created."""
        ...

    @property
    def created(self) -> float:
        """Time of creation."""
        ...

    @property
    def modified(self) -> float:
        """Time of the last change."""
        ...

    @property
    def status(self) -> str:
        """Status; empty for resources that have none."""
        ...


T = TypeVar("T", bound=Listable)
_SORT_KEYS: Mapping[str, Callable[[Any], tuple[Any, str]]] = {
    "Name": lambda item: (item.name, item.name),
    "CreationTime": lambda item: (item.created, item.name),
    "Status": lambda item: (item.status, item.name),
}


def paginate(items: Iterable[T], payload: Mapping[str, Any]) -> tuple[list[T], dict[str, str]]:
    """Return the page of items that a List operation's input requests.

    Args:
        items: all items.
        payload: validated input: NameContains, StatusEquals, bounds of CreationTime and LastModifiedTime, SortBy,
            SortOrder, MaxResults, NextToken.

    Returns:
        The page, and `{"NextToken": ...}` if there is another one.

    Raises:
        ServiceError: NextToken is not one that this function returned.
    """
    size = payload.get("MaxResults", _DEFAULT_PAGE_SIZE)
    kept = [item for item in items if _matches_filters(item, payload)]
    kept.sort(
        key=_SORT_KEYS[payload.get("SortBy", "CreationTime")],
        reverse=payload.get("SortOrder", "Descending") == "Descending",
    )
    first = _start_index(payload)
    more = {"NextToken": base64.b64encode(f"at {first + size}".encode()).decode()} if len(kept) > first + size else {}
    return kept[first : first + size], more


def _matches_filters(item: Listable, payload: Mapping[str, Any]) -> bool:
    return (
        payload.get("NameContains", "").lower() in item.name.lower()
        and payload.get("StatusEquals") in (None, item.status)
        and _in_range(item.created, payload, "CreationTime")
        and _in_range(item.modified, payload, "LastModifiedTime")
    )


def _in_range(value: float, payload: Mapping[str, Any], member: str) -> bool:
    before, after = payload.get(f"{member}Before"), payload.get(f"{member}After")
    return (before is None or value < before) and (after is None or value > after)


def _start_index(payload: Mapping[str, Any]) -> int:
    token = payload.get("NextToken")
    if token is None:
        return 0
    try:
        prefix, _, number = base64.b64decode(token, validate=True).decode("ascii").partition(" ")
        start = int(number)
    except ValueError as error:
        raise validation_error("Invalid NextToken") from error
    if prefix != "at" or start < 0:
        raise validation_error("Invalid NextToken")
    return start
