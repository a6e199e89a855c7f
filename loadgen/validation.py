"""Validators for numbers that several values share; each error names the value and the allowed range."""

import math

import numpy as np

from loadgen.errors import UsageError


def validate_int(value: object, minimum: int, name: str) -> None:
    """Check that a value is an integer of at least `minimum`; booleans and floats are not integers here.

    Raises:
        UsageError: the value is of another type or too small.
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < minimum:
        raise UsageError(f"{name} is {value!r}", hint=f"must be an integer of at least {minimum}")


def validate_duration(value: float, *, allow_zero: bool = False) -> float:
    """Return a duration in seconds as a float.

    Raises:
        UsageError: the value is NaN, infinite or negative, or 0 without `allow_zero`.
    """
    if not math.isfinite(value) or value < 0 or (value == 0 and not allow_zero):
        limit = "of at least 0" if allow_zero else "above 0"
        raise UsageError(f"duration is {value!r} seconds", hint=f"must be finite and {limit}")
    return float(value)
