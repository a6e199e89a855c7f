"""Markdown tables of the benches, and those of the accuracy bench."""

from collections.abc import Mapping, Sequence
from typing import Any

_COMPARISON_COLUMNS = ("true ", "", "error ")
_TRAILING_COLUMNS = ["CPU us/call", "oracle late", "verdict"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns: the first to the left, the others to the right."""
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
    """Return milliseconds as text, a dash for None."""
    return "-" if seconds is None else f"{seconds * 1e3:.{digits}f}"


def _signed(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:+.2f}"


def _closed_loop(found: Mapping[str, Any]) -> str:
    percents = (50.0, 90.0, 99.0)
    head = ["client", "callers", "calls", *(f"{w}p{p:g}" for p in percents for w in _COMPARISON_COLUMNS)]
    rows = [
        [c.client, str(c.callers), str(c.calls)]
        + [text for p in percents for text in (ms(c.true[p]), ms(c.reported[p]), _signed(c.error(p)))]
        + [f"{c.cpu * 1e6:.0f}", ms(c.oracle_lateness), c.verdict]
        for c in found["closed_loop"]
    ]
    return table([*head, *_TRAILING_COLUMNS], rows)


def _mixture(found: Mapping[str, Any]) -> str:
    percents = (50.0, 90.0, 99.0, 99.9)
    head = ["client", "calls", *(f"{w}p{p:g}" for p in percents for w in ("true ", ""))]
    rows = [
        [m.comparison.client, str(m.comparison.calls)]
        + [text for p in percents for text in (ms(m.comparison.true[p]), ms(m.comparison.reported[p]))]
        + [f"{m.comparison.cpu * 1e6:.0f}", ms(m.comparison.oracle_lateness), m.comparison.verdict]
        for m in found["mixture"]
    ]
    return table([*head, *_TRAILING_COLUMNS], rows)


def _overhead(found: Mapping[str, Any]) -> str:
    head = ["client", "added p50", "added p99", "added p99.9", "lag p50", "lag p99", "lag max"]
    rows = [
        [m.comparison.client, *(ms(m.overhead[p]) for p in (50.0, 99.0, 99.9)), *(ms(v) for v in m.lag.values())]
        for m in found["mixture"]
    ]
    return table(head, rows)


def _degradations(found: Mapping[str, Any]) -> str:
    head = ["degradation", "calls", "percentile", "expected", "reported", "off", "closed loop", *_TRAILING_COLUMNS[1:]]
    rows = [
        [
            *(row.name, str(row.calls), f"p{p:g}", ms(expected, 0), ms(row.reported[p], 0)),
            *(f"{(row.reported[p] / expected - 1):+.1%}", ms(row.closed_loop.get(p), 0), ms(row.oracle_lateness)),
            row.verdict,
        ]
        for row in found["degradations"]
        for p, expected in row.expected.items()
    ]
    return table(head, rows)


def print_tables(found: Mapping[str, Any], *, seconds: float) -> None:
    """Print all tables of the accuracy bench.

    `oracle late` is the 99th percentile of how late the oracle itself was, which the machine causes.
    """
    for title, rows in (
        (
            "Closed loop, a target of 20 ms: percentiles in milliseconds; a dash: too few calls",
            _closed_loop(found),
        ),
        (
            "Open loop at 200/s, a mixture of 5, 20, 80 and 300 ms: percentiles in milliseconds",
            _mixture(found),
        ),
        ("The same runs: what the client adds to the server's time, and send lag, milliseconds", _overhead(found)),
        ("Five degraded servers, open loop: response time calculated and reported, milliseconds", _degradations(found)),
    ):
        print(f"{title}.\n\n{rows}\n")
    print(f"Total: {seconds:.0f} s.")
