"""Recorded timestamps, read from a file or given as numbers, times or arrays, so that an open loop can replay them."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import DataError, InputError, UsageError
from loadgen.validation import is_number, to_tuple

# Seconds since 1970 reach this number in the year 5138; milliseconds reached it in 1973, nanoseconds after 100 s.
_MAX_SECONDS = 1e11
_ALLOWED = "give numbers of seconds, ISO 8601 texts, or datetimes"
_MAX_LISTED_ERRORS = 5  # bad lines shown before the rest is only counted


def read_timestamps(path: str | Path) -> tuple[float, ...]:
    """Read a file with one timestamp per line: seconds, or an ISO 8601 time (UTC unless it has an offset).

    A number of 1e11 or more is refused with its probable unit: seconds since 1970 are smaller.
    Blank lines and lines that start with `#` are skipped. The timestamps may be in any order.

    Raises:
        InputError: the file is missing or cannot be read.
        DataError: a line is not a timestamp in seconds, with its line number, or the file has no timestamps.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="check the path and its permissions") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path} is not a text file: {error}", hint="one timestamp per line, in UTF-8") from error
    instants: list[float] = []
    bad: list[str] = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        try:
            instants.append(_parse_timestamp(line))
        except DataError as error:
            bad.append(f"line {number}: {line[:60]!a}: {error.message}")
        except ValueError:
            bad.append(f"line {number}: {line[:60]!a}")
    if bad or not instants:
        more = [f"and {len(bad) - _MAX_LISTED_ERRORS} more"] if len(bad) > _MAX_LISTED_ERRORS else []
        raise DataError(
            f"{path}: {len(bad)} lines are not timestamps" if bad else f"{path} contains no timestamps",
            hint="each line must be a number of seconds below 1e11, or an ISO 8601 time",
            details=[*bad[:_MAX_LISTED_ERRORS], *more],
        )
    return tuple(instants)


def _parse_timestamp(text: str) -> float:
    """Return a timestamp in seconds since the epoch.

    Raises:
        DataError: the number is too large for seconds; the message has the probable unit.
        ValueError: the text is not a timestamp.
    """
    try:
        seconds = float(text)
        if math.isfinite(seconds) and (unit := probable_unit(seconds)):
            raise DataError(unit)
    except ValueError:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds):
        raise ValueError(text)
    return seconds


def to_instants(values: Iterable[Any], name: str) -> NDArray[np.float64]:
    """Return timestamps in seconds, shape (n,), in the order given.

    Args:
        values: numbers of seconds, ISO 8601 texts, datetimes and timedeltas of Python, numpy or pandas; times without
            an offset are UTC.
        name: of the values, for the message.

    Raises:
        UsageError: a value is none of these, not finite, or too large for seconds.
    """
    array = values if isinstance(values, np.ndarray) else None
    if array is None:
        values = to_tuple(values, name)
        array = np.array(values) if all(map(is_number, values)) else None
    if array is not None and array.ndim == 1 and array.dtype.kind in "iuf":
        seconds = array.astype(np.float64)
    elif array is not None and array.ndim == 1 and array.dtype.kind in "mM":
        zero = np.timedelta64(0, "s") if array.dtype.kind == "m" else np.datetime64(0, "s")
        seconds = (array - zero) / np.timedelta64(1, "s")
    else:
        seconds = np.array([_to_instant(value, name) for value in values], dtype=np.float64)
    if not np.isfinite(seconds).all():
        raise UsageError(f"{name} contains an instant that is not finite")
    for extreme in (seconds.max(initial=0.0), seconds.min(initial=0.0)):
        if unit := probable_unit(float(extreme)):
            raise UsageError(f"{name} contains the instant {extreme:.0f}: {unit}", hint="give seconds")
    return seconds


def _to_instant(value: Any, name: str) -> float:
    if isinstance(value, np.datetime64):
        return float((value - np.datetime64(0, "s")) / np.timedelta64(1, "s"))
    if isinstance(value, np.timedelta64):
        return float(value / np.timedelta64(1, "s"))
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        if isinstance(value, str):
            return _parse_timestamp(value)
        if is_number(value):
            return float(value)
    except DataError as error:
        raise UsageError(f"{name} contains {value!r:.60}: {error.message}", hint="give seconds") from error
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{name} contains {value!r:.60}", hint=_ALLOWED) from error
    raise UsageError(f"{name} contains {value!r:.60}", hint=_ALLOWED)


def probable_unit(timestamp: float) -> str:
    """Return what a number that is too large for seconds since 1970 probably is; empty for one that is not.

    Example:
        >>> probable_unit(1772359200000)
        'milliseconds? divide by 1,000 to give seconds'
    """
    number = abs(timestamp)
    digits = f"{number:.0f}"
    if number < _MAX_SECONDS:
        return ""
    if len(digits) == 14 and digits[:2] in {"19", "20"}:  # 20260301100000
        return "a date and time without separators? give ISO 8601, such as 2026-03-01T10:00:00"
    for unit, per_second in (("milliseconds", 1e3), ("microseconds", 1e6)):
        if number < _MAX_SECONDS * per_second:
            return f"{unit}? divide by {per_second:,.0f} to give seconds"
    return "nanoseconds? divide by 1,000,000,000 to give seconds"
