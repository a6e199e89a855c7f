"""The List operations' common part: filters, order and pages. Pure."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from loadgen.emulator.protocol import input_validation

# Source: API reference of ListEndpoints: "The default value for MaxResults is 10"; the model's range is 1 to 100.
_DEFAULT_PAGE = 10
_MOST = 100


class Listed(Protocol):
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


T = TypeVar("T", bound=Listed)
_ORDERS: Mapping[str, Callable[[Any], tuple[Any, str]]] = {
    "Name": lambda item: (item.name, item.name),
    "CreationTime": lambda item: (item.created, item.name),
    "Status": lambda item: (item.status, item.name),
}
_INSTANTS: Mapping[str, Callable[[Any], float]] = {
    "CreationTime": lambda item: item.created,
    "LastModifiedTime": lambda item: item.modified,
}


def select(
    items: Iterable[T], payload: Mapping[str, Any], *, orders: tuple[str, ...]
) -> tuple[list[T], dict[str, str]]:
    """Choose one page of items as a List operation's input asks.

    Args:
        items: all there are.
        payload: NameContains, StatusEquals, CreationTime and LastModifiedTime bounds, SortBy, SortOrder, MaxResults,
            NextToken.
        orders: what SortBy may be.

    Returns:
        The page, and `{"NextToken": ...}` when there is more.

    Raises:
        AwsError: an input that the service refuses.
    """
    order = input_validation.choice(payload, "SortBy", orders, "CreationTime")
    is_descending = (
        input_validation.choice(payload, "SortOrder", ("Ascending", "Descending"), "Descending") == "Descending"
    )
    size = _DEFAULT_PAGE
    if payload.get("MaxResults") is not None:
        size = input_validation.whole(payload, "MaxResults", place="maxResults", least=1, most=_MOST)
    bounds = [
        (
            read,
            input_validation.instant(payload, f"{member}Before"),
            input_validation.instant(payload, f"{member}After"),
        )
        for member, read in _INSTANTS.items()
    ]
    kept = [item for item in items if _is_named(item, payload) and all(_lies(read(item), *b) for read, *b in bounds)]
    kept.sort(key=_ORDERS[order], reverse=is_descending)
    first = _first(payload)
    more = {"NextToken": base64.b64encode(f"at {first + size}".encode()).decode()} if len(kept) > first + size else {}
    return kept[first : first + size], more


def _is_named(item: Listed, payload: Mapping[str, Any]) -> bool:
    wanted = payload.get("NameContains")
    if wanted is not None and str(wanted).lower() not in item.name.lower():
        return False
    return payload.get("StatusEquals") in (None, item.status)


def _lies(value: float, before: float | None, after: float | None) -> bool:
    return (before is None or value < before) and (after is None or value > after)


def _first(payload: Mapping[str, Any]) -> int:
    token = payload.get("NextToken")
    if token is None:
        return 0
    try:
        word, _, number = base64.b64decode(str(token), validate=True).decode("ascii").partition(" ")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise input_validation.invalid("Invalid NextToken") from error
    if word != "at" or not number.isdecimal():
        raise input_validation.invalid("Invalid NextToken")
    return int(number)
