"""Instants from a file: the times at which requests came, one for each line, for an open loop to replay."""

import math
from datetime import UTC, datetime
from pathlib import Path

from loadgen.errors import DataError, InputError

_MAX_LISTED_ERRORS = 5  # bad lines shown before the rest is only counted


def read_timestamps(path: str | Path) -> tuple[float, ...]:
    """Read a file of timestamps: a number of seconds, or an ISO 8601 time (UTC unless it says), on each line.

    Blank lines and lines that begin with `#` are left out; the order does not matter to `trace`.

    Raises:
        InputError: it is missing or cannot be read.
        DataError: a line is no timestamp, or there is none; the message says where.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="check the path and its permissions") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path} is no text of timestamps: {error}", hint="one timestamp on each line") from error
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
            f"{path}: {len(bad)} lines are no timestamps" if bad else f"{path} holds no timestamps",
            hint="give seconds or an ISO 8601 time on each line",
            details=[*bad[:_MAX_LISTED_ERRORS], *more],
        )
    return tuple(instants)


def _parse_timestamp(text: str) -> float:
    """Return one timestamp in seconds; ValueError when it is none."""
    try:
        seconds = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds):
        raise ValueError(text)
    return seconds
