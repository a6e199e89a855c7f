"""Validators for numbers and sequences that several values share; each error names the value and the allowed range."""

import math
import numbers
import operator
from collections.abc import Iterable
from typing import Any, SupportsIndex

from loadgen.errors import UsageError


def to_int(value: SupportsIndex, name: str, minimum: int, maximum: int | None = None) -> int:
    """Return an integer of any type, such as one of numpy's, as an int; booleans and floats are not integers here.

    Args:
        value: whatever `operator.index` accepts.
        name: of the value, for the message.
        minimum: smallest allowed value.
        maximum: largest allowed value; None for no limit.

    Raises:
        UsageError: the value is of another type or out of range.

    Example:
        >>> to_int(8, "clients", 1)
        8
    """
    allowed = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    try:
        number = operator.index(value)
    except TypeError as error:
        raise UsageError(f"{name} is {value!r:.80}", hint=f"must be an integer {allowed}") from error
    if isinstance(value, bool) or number < minimum or (maximum is not None and number > maximum):
        raise UsageError(f"{name} is {value!r:.80}", hint=f"must be an integer {allowed}")
    return number


def to_tuple(value: Iterable[Any], name: str) -> tuple[Any, ...]:
    """Return the items of a list, an array, a generator or another iterable, which is read once.

    Raises:
        UsageError: the value is a single item, text, or a mapping.
    """
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
        raise UsageError(f"{name} is of type {type(value).__name__}", hint="must be a list of values")
    try:
        return tuple(value)
    except TypeError as error:  # an array without dimensions is iterable by its type only
        raise UsageError(f"{name} is {value!r:.80}", hint="must be a list of values") from error


def to_bool(value: Any, name: str) -> bool:
    """Return a boolean, numpy's included, as a bool; text such as "no", which Python takes as true, is refused.

    Raises:
        UsageError: the value is of another type.
    """
    if type(value).__name__ not in {"bool", "bool_"}:  # numpy's types, by name: numpy is expensive to import
        raise UsageError(f"{name} is {value!r:.80}", hint="must be True or False")
    return bool(value)


def is_number(value: object) -> bool:
    """Return whether a value is a real number, numpy's included; booleans are none here.

    Example:
        >>> [is_number(value) for value in (1, 0.5, "1", True)]
        [True, True, False, False]
    """
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def to_seconds(value: Any, name: str) -> float:
    """Return a number of seconds, finite and at least 0, as a float.

    Raises:
        UsageError: the value is no number or out of range.
    """
    if not (is_number(value) and 0 <= value < math.inf):
        raise UsageError(f"{name} is {value!r:.80} seconds", hint="must be finite and at least 0")
    return float(value)


def validate_duration(value: float, *, allow_zero: bool = False) -> float:
    """Return a duration in seconds as a float.

    Raises:
        UsageError: the value is NaN, infinite or negative, or 0 without `allow_zero`.
    """
    if not math.isfinite(value) or value < 0 or (value == 0 and not allow_zero):
        limit = "of at least 0" if allow_zero else "above 0"
        raise UsageError(f"duration is {value!r} seconds", hint=f"must be finite and {limit}")
    return float(value)
