"""Tables as values, shared by the terminal and the HTML page, and the formatting of numbers in their cells.

Every column names its unit. An unknown value is a dash, never 0.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.latency import Percentile
from loadgen.statistics.interval import Interval
from loadgen.statistics.order_statistics import calls_needed

DASH = "–"
MAX_DEPENDENT_SHARE = 0.8  # of the calls; below it, the effective number is shown: chance gives 0.85 too


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell; `detail` is shown below it in small print, such as an interval."""

    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A table column.

    Args:
        name: heading.
        unit: unit such as `ms`; empty for text and counts.
        meaning: explanation for the glossary; empty if the name is enough.
        is_wide: True to omit the column in a terminal.
        is_text: True for text, aligned to the left.
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
        title: caption.
        columns: columns from left to right.
        rows: one cell per column each.
        notes: footnotes.
        highlighted_row: index of the highlighted row; None for none.
        is_scrollable: True if the rows may scroll in a box.
        wide_notes: footnotes of the columns that are omitted in a terminal.
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
    r"""Return text from a server or a file as one line without control characters, at most `max_length` long.

    Control characters, line breaks, direction overrides and lone surrogates become U+FFFD.

    Example:
        >>> sanitize_text("a\x1b[31mb")
        'a�[31mb'
    """
    clean = "".join("\ufffd" if unicodedata.category(c) in _UNPRINTABLE_CATEGORIES else c for c in text[:max_length])
    return clean + " ..." if len(text) > max_length else clean


# Unicode general categories of controls, format characters such as direction overrides, surrogates, line and paragraph
# separators. Source: Unicode Standard, section 4.5.
_UNPRINTABLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def number_cell(value: float | None) -> Cell:
    """Format a number with about four significant digits; a dash for None, NaN and infinity.

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
    """Format seconds as milliseconds."""
    return number_cell(None if seconds is None else seconds * 1000)


def percentile_cell(value: Percentile | None) -> Cell:
    """Format a percentile in milliseconds, with its 95 % interval as detail."""
    if value is None:
        return MISSING_CELL
    return Cell(
        milliseconds_cell(value.value).text,
        f"{milliseconds_cell(value.low).text} to {milliseconds_cell(value.high).text}",
    )


def interval_cell(interval: Interval | None, *, factor: float = 1.0) -> Cell:
    """Format a value with its 95 % interval as detail; `factor` converts the unit, such as 1000 to milliseconds.

    Example:
        >>> interval_cell(Interval(0.05, 0.0025, 0.222, 20, 20.0), factor=100)
        Cell(text='5.00', detail='0.25 to 22.2')
    """
    if interval is None:
        return MISSING_CELL
    scaled = interval.scaled(factor)
    detail = "" if scaled.ends is None else " to ".join(number_cell(end).text for end in scaled.ends)
    return Cell(number_cell(scaled.value).text, detail)


def independent_count_cell(count: int, effective_count: float | None) -> Cell:
    """Format a number of calls; detail: of how many independent ones they carry as much, if these are fewer.

    Example:
        >>> independent_count_cell(1000, 52.6)
        Cell(text='1,000', detail='as 53 independent')
    """
    is_less = effective_count is not None and effective_count < MAX_DEPENDENT_SHARE * count
    return Cell(f"{count:,}", f"as {effective_count:,.0f} independent" if is_less else "")


def count_cell(n: float | None) -> Cell:
    """Format a count."""
    return MISSING_CELL if n is None or not math.isfinite(n) else Cell(f"{n:,.0f}")


def optional_cell(value: object) -> Cell:
    """Format a value as text; a dash for None."""
    return MISSING_CELL if value is None else Cell(str(value))


def percent_cell(part: float, whole: float) -> Cell:
    """Format a share in percent; a dash if `whole` is 0."""
    if not whole:
        return MISSING_CELL
    percent = 100 * part / whole
    if 0 < percent < 0.01:
        return Cell("<0.01")
    return Cell("0" if percent == 0 else f"{percent:.2f}" if percent < 10 else f"{percent:.1f}")


def usd_cell(value: float | None) -> Cell:
    """Format US dollars: two decimals from 1 USD up, three significant digits below.

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
    """Format text without control characters; a dash for empty text."""
    return Cell(sanitize_text(text)) if text else MISSING_CELL


def percentile_name(percent: float) -> str:
    """Return the name of a percentile, such as p99 or p99.9."""
    return f"p{percent:g}"


def percentile_note(missing: Sequence[float]) -> tuple[str, ...]:
    """Explain the dashes of percentiles with too few calls; empty if none is missing."""
    if not missing:
        return ()
    needs = ", ".join(f"{percentile_name(p)} needs {calls_needed(p):,} ok calls" for p in sorted(set(missing)))
    return (f"{DASH}: too few independent calls for a 95 % interval: {needs}.",)
