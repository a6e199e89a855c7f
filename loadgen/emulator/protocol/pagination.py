"""The List operations' common part: filters, order and pages. Pure."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from loadgen.emulator.protocol import input_validation

# Source: API reference of ListEndpoints: "The default value for MaxResults is 10"; the model's range is 1 to 100.
_DEFAULT_PAGE_SIZE = 10
_MAX_PAGE_SIZE = 100


class Listable(Protocol):
    """What can be listed. Instants are epoch seconds."""

    @property
    def name(self) -> str:
        """As it was created."""
        ...

    @property
    def created(self) -> float:
        """When."""
        ...

    @property
    def modified(self) -> float:
        """When it last changed."""
        ...

    @property
    def status(self) -> str:
        """Its state; empty where there is none."""
        ...


T = TypeVar("T", bound=Listable)
_SORT_KEYS: Mapping[str, Callable[[Any], tuple[Any, str]]] = {
    "Name": lambda item: (item.name, item.name),
    "CreationTime": lambda item: (item.created, item.name),
    "Status": lambda item: (item.status, item.name),
}
_TIMESTAMP_FIELDS: Mapping[str, Callable[[Any], float]] = {
    "CreationTime": lambda item: item.created,
    "LastModifiedTime": lambda item: item.modified,
}


def paginate(
    items: Iterable[T], payload: Mapping[str, Any], *, sort_fields: tuple[str, ...]
) -> tuple[list[T], dict[str, str]]:
    """Choose one page of items as a List operation's input asks.

    Args:
        items: all there are.
        payload: NameContains, StatusEquals, CreationTime and LastModifiedTime bounds, SortBy, SortOrder, MaxResults,
            NextToken.
        sort_fields: what SortBy may be.

    Returns:
        The page, and `{"NextToken": ...}` when there is more.

    Raises:
        ServiceError: an input that the service refuses.
    """
    order = input_validation.get_enum(payload, "SortBy", sort_fields, "CreationTime")
    is_descending = (
        input_validation.get_enum(payload, "SortOrder", ("Ascending", "Descending"), "Descending") == "Descending"
    )
    size = _DEFAULT_PAGE_SIZE
    if payload.get("MaxResults") is not None:
        size = input_validation.require_int(
            payload, "MaxResults", member_path="maxResults", minimum=1, maximum=_MAX_PAGE_SIZE
        )
    bounds = [
        (
            read,
            input_validation.get_timestamp(payload, f"{member}Before"),
            input_validation.get_timestamp(payload, f"{member}After"),
        )
        for member, read in _TIMESTAMP_FIELDS.items()
    ]
    kept = [
        item
        for item in items
        if _matches_filters(item, payload) and all(_in_range(read(item), *b) for read, *b in bounds)
    ]
    kept.sort(key=_SORT_KEYS[order], reverse=is_descending)
    first = _start_index(payload)
    more = {"NextToken": base64.b64encode(f"at {first + size}".encode()).decode()} if len(kept) > first + size else {}
    return kept[first : first + size], more


def _matches_filters(item: Listable, payload: Mapping[str, Any]) -> bool:
    wanted = payload.get("NameContains")
    if wanted is not None and str(wanted).lower() not in item.name.lower():
        return False
    return payload.get("StatusEquals") in (None, item.status)


def _in_range(value: float, before: float | None, after: float | None) -> bool:
    return (before is None or value < before) and (after is None or value > after)


def _start_index(payload: Mapping[str, Any]) -> int:
    token = payload.get("NextToken")
    if token is None:
        return 0
    try:
        word, _, number = base64.b64decode(str(token), validate=True).decode("ascii").partition(" ")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise input_validation.validation_error("Invalid NextToken") from error
    if word != "at" or not number.isdecimal():
        raise input_validation.validation_error("Invalid NextToken")
    return int(number)
