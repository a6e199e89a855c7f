"""Tables: what the terminal and the page both show, as plain values; and how each kind of number is written.

Every column names its unit; what is not known is a dash, never a zero. Which tables there are is decided elsewhere in
this package; putting them on paper is text.py's and html.py's.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.summary import Percentile
from loadgen.measurement.order_statistics import calls_needed

DASH = "–"


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure or word in a table; `detail` is the small print below it, such as an interval."""

    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column and what must be known to read it.

    Args:
        name: its heading.
        unit: such as `ms`; empty for words and counts.
        meaning: for the glossary; empty where the name says it.
        is_wide: left out where there is no room (a terminal).
        is_text: words, aligned to the left.
    """

    name: str
    unit: str = ""
    meaning: str = ""
    is_wide: bool = False
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption and footnotes.

    Args:
        title: what it shows.
        columns: from left to right.
        rows: as many cells as columns.
        notes: footnotes.
        wide_notes: those on columns that are left out where there is no room.
        highlighted_row: index of the row to stand out; None for none.
        is_scrollable: True when its rows may scroll inside a box of their own.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    highlighted_row: int | None = None
    is_scrollable: bool = False
    wide_notes: tuple[str, ...] = ()


MISSING_CELL = Cell(DASH)


def sanitize_text(text: str, max_length: int = 300) -> str:
    r"""Return text from a server or a file fit for a person: one line, nothing invisible, nothing that steers a screen.

    Control characters, line breaks, direction overrides and lone surrogates become U+FFFD; the rest stays as it is.

    Example:
        >>> sanitize_text("a\x1b[31mb")
        'a�[31mb'
    """
    seen = "".join("\ufffd" if unicodedata.category(c) in _UNPRINTABLE_CATEGORIES else c for c in text[:max_length])
    return seen + " ..." if len(text) > max_length else seen


# Unicode general categories: controls, format characters (direction overrides among them), surrogates, line and
# paragraph separators. Source: Unicode Standard, section 4.5.
_UNPRINTABLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def number_cell(value: float | None) -> Cell:
    """Write a figure with about four significant digits; a dash for None or what is not finite.

    Example:
        >>> [number_cell(v).text for v in (None, 0.0, 0.004, 4.5567, 102.44, 2500.0)]
        ['–', '0', '<0.01', '4.56', '102.4', '2,500']
    """
    if value is None or not math.isfinite(value):
        return MISSING_CELL
    if value == 0:
        return Cell("0")
    if abs(value) < 0.01:
        return Cell("<0.01" if value > 0 else ">-0.01")
    return Cell(f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}")


def milliseconds_cell(seconds: float | None) -> Cell:
    """Write seconds as milliseconds."""
    return number_cell(None if seconds is None else seconds * 1000)


def percentile_cell(value: Percentile | None) -> Cell:
    """Write a percentile in milliseconds, its 95 % interval below it."""
    if value is None:
        return MISSING_CELL
    return Cell(
        milliseconds_cell(value.value).text,
        f"{milliseconds_cell(value.low).text} to {milliseconds_cell(value.high).text}",
    )


def count_cell(n: float | None) -> Cell:
    """Write a count."""
    return MISSING_CELL if n is None or not math.isfinite(n) else Cell(f"{n:,.0f}")


def percent_cell(part: float, whole: float) -> Cell:
    """Write a share in percent; a dash when there is nothing to share."""
    if not whole:
        return MISSING_CELL
    percent = 100 * part / whole
    if 0 < percent < 0.01:
        return Cell("<0.01")
    return Cell("0" if percent == 0 else f"{percent:.2f}" if percent < 10 else f"{percent:.1f}")


def usd_cell(value: float | None) -> Cell:
    """Write dollars: cents from a dollar up, three significant digits below.

    Example:
        >>> [usd_cell(v).text for v in (None, 4.5, 0.00000455, 1234.5)]
        ['–', '4.50', '0.00000455', '1,234.50']
    """
    if value is None or not math.isfinite(value):
        return MISSING_CELL
    if value == 0 or abs(value) >= 1:
        return Cell(f"{value:,.2f}")
    return Cell(f"{value:.{2 - math.floor(math.log10(abs(value)))}f}")


def text_cell(text: str) -> Cell:
    """Show text, made fit to be shown; a dash when there is none."""
    return Cell(sanitize_text(text)) if text else MISSING_CELL


def percentile_name(percent: float) -> str:
    """Return the name of a percentile, such as p99 or p99.9."""
    return f"p{percent:g}"


def dash_note(missing: Sequence[float]) -> tuple[str, ...]:
    """Explain the dashes of the percentiles that a sample was too small for; nothing when there are none."""
    if not missing:
        return ()
    needs = ", ".join(f"{percentile_name(p)} from {calls_needed(p):,} ok calls" for p in sorted(set(missing)))
    return (f"{DASH}: too few calls for a 95 % interval, which exists for {needs} on.",)
