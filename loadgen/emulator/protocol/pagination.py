"""Filters, order and pages of the List operations. Pure."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

import orjson

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
    "CreationTime": lambda item: (float(item.created), item.name),
    "Status": lambda item: (item.status, item.name),
}


def paginate(
    items: Iterable[T],
    payload: Mapping[str, Any],
    *,
    default_order: str = "Descending",
    is_after_inclusive: bool = True,
) -> tuple[list[T], dict[str, str]]:
    """Return the page of items that a List operation's input requests.

    Args:
        items: all items.
        payload: validated input: NameContains, StatusEquals, bounds of CreationTime and LastModifiedTime, SortBy,
            SortOrder, MaxResults, NextToken.
        default_order: SortOrder of an input that has none.
        is_after_inclusive: whether CreationTimeAfter includes its own instant.

    Returns:
        The page, and `{"NextToken": ...}` if there is another one.

    Raises:
        ServiceError: NextToken is not one that this function returned.
    """
    size = payload.get("MaxResults", _DEFAULT_PAGE_SIZE)
    sort_by = payload.get("SortBy", "CreationTime")
    sort_key = _SORT_KEYS[sort_by]
    is_descending = payload.get("SortOrder", default_order) == "Descending"
    matching = (item for item in items if _matches_filters(item, payload, is_after_inclusive=is_after_inclusive))
    kept = sorted(matching, key=sort_key, reverse=is_descending)
    if (last := _read_token(payload.get("NextToken"), sort_by)) is not None:
        kept = [item for item in kept if (sort_key(item) < last if is_descending else sort_key(item) > last)]
    more = {"NextToken": _write_token(sort_by, sort_key(kept[size - 1]))} if len(kept) > size else {}
    return kept[:size], more


def _matches_filters(item: Listable, payload: Mapping[str, Any], *, is_after_inclusive: bool) -> bool:
    if is_after_inclusive and payload.get("CreationTimeAfter") == item.created:
        payload = {name: value for name, value in payload.items() if name != "CreationTimeAfter"}
    return (
        payload.get("NameContains", "").lower() in item.name.lower()
        and payload.get("StatusEquals") in (None, item.status)
        and _in_range(item.created, payload, "CreationTime")
        and _in_range(item.modified, payload, "LastModifiedTime")
    )


def _in_range(value: float, payload: Mapping[str, Any], member: str) -> bool:
    before, after = payload.get(f"{member}Before"), payload.get(f"{member}After")
    return (before is None or value < before) and (after is None or value > after)


# A token holds the sort key of its page's last item, not an offset: what is created or deleted between two pages does
# not hide or repeat another item.


def encode_token(key: object) -> str:
    """Return the token of a page whose last item has this key, a JSON value."""
    return base64.b64encode(orjson.dumps(key)).decode("ascii")


def decode_token(token: str) -> Any:
    """Return the key that a token holds.

    Raises:
        ValueError: the token is not one of `encode_token`.
    """
    try:
        return orjson.loads(base64.b64decode(token, validate=True))
    except binascii.Error as error:
        raise ValueError("the token is not base64") from error


def _write_token(sort_by: str, key: tuple[Any, str]) -> str:
    return encode_token([sort_by, *key])


def _read_token(token: str | None, sort_by: str) -> tuple[Any, str] | None:
    if token is None:
        return None
    try:
        read = decode_token(token)
    except ValueError as error:
        raise validation_error("Invalid NextToken") from error
    value_type = float if sort_by == "CreationTime" else str
    match read:
        case [str() as written_for, value, str() as name] if written_for == sort_by and isinstance(value, value_type):
            return value, name
    raise validation_error("Invalid NextToken")
