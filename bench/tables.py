"""Tables: what the accuracy bench found, in plain text for a terminal or a README."""

from collections.abc import Mapping, Sequence
from typing import Any

_COMPARISON_COLUMNS = ("true ", "", "error ")
_TRAILING_COLUMNS = ["CPU us/call", "oracle late", "verdict"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return (
            "| "
            + " | ".join(
                f"{c:<{w}}" if i == 0 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(cells, widths, strict=True))
            )
            + " |"
        )

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *(line(row) for row in rows)])


def ms(seconds: float | None, digits: int = 2) -> str:
    """Return milliseconds as text, a dash for what is not known."""
    return "-" if seconds is None else f"{seconds * 1e3:.{digits}f}"


def _signed(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:+.2f}"


def _closed(found: Mapping[str, Any]) -> str:
    percents = (50.0, 90.0, 99.0)
    head = ["client", "callers", "calls", *(f"{w}p{p:g}" for p in percents for w in _COMPARISON_COLUMNS)]
    rows = [
        [c.client, str(c.callers), str(c.calls)]
        + [text for p in percents for text in (ms(c.true[p]), ms(c.reported[p]), _signed(c.error(p)))]
        + [f"{c.cpu * 1e6:.0f}", ms(c.oracle_lateness), c.verdict]
        for c in found["closed"]
    ]
    return table([*head, *_TRAILING_COLUMNS], rows)


def _mixture(found: Mapping[str, Any]) -> str:
    percents = (50.0, 90.0, 99.0, 99.9)
    head = ["client", "calls", *(f"{w}p{p:g}" for p in percents for w in ("true ", ""))]
    rows = [
        [m.cell.client, str(m.cell.calls)]
        + [text for p in percents for text in (ms(m.cell.true[p]), ms(m.cell.reported[p]))]
        + [f"{m.cell.cpu * 1e6:.0f}", ms(m.cell.oracle_lateness), m.cell.verdict]
        for m in found["mixture"]
    ]
    return table([*head, *_TRAILING_COLUMNS], rows)


def _overhead(found: Mapping[str, Any]) -> str:
    head = ["client", "added p50", "added p99", "added p99.9", "lag p50", "lag p99", "lag max"]
    rows = [
        [m.cell.client, *(ms(m.overhead[p]) for p in (50.0, 99.0, 99.9)), *(ms(v) for v in m.lag.values())]
        for m in found["mixture"]
    ]
    return table(head, rows)


def _degradations(found: Mapping[str, Any]) -> str:
    head = ["illness", "calls", "percentile", "expected", "reported", "off", "closed loop said", *_TRAILING_COLUMNS[1:]]
    rows = [
        [
            *(sick.name, str(sick.calls), f"p{p:g}", ms(expected, 0), ms(sick.reported[p], 0)),
            *(f"{(sick.reported[p] / expected - 1):+.1%}", ms(sick.closed.get(p), 0), ms(sick.oracle_lateness)),
            sick.verdict,
        ]
        for sick in found["illnesses"]
        for p, expected in sick.expected.items()
    ]
    return table(head, rows)


def print_tables(found: Mapping[str, Any], *, seconds: float) -> None:
    """Print everything the accuracy bench found. `oracle late` is the machine's doing: the 99th percentile of it."""
    for title, rows in (
        ("Closed loop, a target of 20 ms: true and reported, milliseconds. A dash: too few calls", _closed(found)),
        ("Open loop at 200/s, a mixture of 5, 20, 80 and 300 ms: milliseconds", _mixture(found)),
        ("In those runs, what the client adds to the server's own time, and how late requests leave", _overhead(found)),
        ("Five illnesses, open loop: response time expected on paper and reported, milliseconds", _degradations(found)),
    ):
        print(f"{title}.\n\n{rows}\n")
    print(f"{seconds:.0f} s in all.")
