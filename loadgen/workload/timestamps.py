"""Reads recorded request timestamps from a file, so that an open loop can replay them."""

import math
from datetime import UTC, datetime
from pathlib import Path

from loadgen.errors import DataError, InputError

_MAX_LISTED_ERRORS = 5  # bad lines shown before the rest is only counted


def read_timestamps(path: str | Path) -> tuple[float, ...]:
    """Read a file with one timestamp per line: seconds, or an ISO 8601 time (UTC unless it has an offset).

    Blank lines and lines that start with `#` are skipped. The timestamps may be in any order.

    Raises:
        InputError: the file is missing or cannot be read.
        DataError: a line is not a timestamp, with its line number, or the file has no timestamps.
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
        except ValueError:
            bad.append(f"line {number}: {line[:60]!a}")
    if bad or not instants:
        more = [f"and {len(bad) - _MAX_LISTED_ERRORS} more"] if len(bad) > _MAX_LISTED_ERRORS else []
        raise DataError(
            f"{path}: {len(bad)} lines are not timestamps" if bad else f"{path} contains no timestamps",
            hint="each line must be a number of seconds or an ISO 8601 time",
            details=[*bad[:_MAX_LISTED_ERRORS], *more],
        )
    return tuple(instants)


def _parse_timestamp(text: str) -> float:
    """Return a timestamp in seconds since the epoch.

    Raises:
        ValueError: the text is not a timestamp.
    """
    try:
        seconds = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds):
        raise ValueError(text)
    return seconds
