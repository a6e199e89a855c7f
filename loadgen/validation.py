"""Checks that values share: what is a whole number, what is a duration. Each refuses in words, with what is allowed."""

import math

import numpy as np

from loadgen.errors import UsageError


def validate_int(value: object, minimum: int, name: str) -> None:
    """Refuse what is not a whole number of at least `minimum`: 1.5 clients, a seed of "x".

    Raises:
        UsageError: with what is allowed.
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < minimum:
        raise UsageError(f"{name} {value!r}", hint=f"a whole number, at least {minimum}")


def validate_duration(value: float, *, allow_zero: bool = False) -> float:
    """Return a duration in seconds, or refuse what is none: NaN, below 0, or 0 unless `allow_zero` allows it.

    Raises:
        UsageError: with what is allowed.
    """
    if not math.isfinite(value) or value < 0 or (value == 0 and not allow_zero):
        raise UsageError(f"a duration of {value!r} seconds", hint="durations must be finite and above 0")
    return float(value)
