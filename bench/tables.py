"""Tables: what the accuracy bench found, in plain text for a terminal or a README."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


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


def show(found: Mapping[str, Any], *, lateness: NDArray[np.float64], seconds: float) -> None:
    """Print everything the accuracy bench found."""
    print("Closed loop, a target of 20 ms: true and reported, milliseconds. A dash: too few calls.\n")
    print(
        table(
            [
                "client",
                "callers",
                "calls",
                "true p50",
                "p50",
                "error",
                "true p90",
                "p90",
                "error",
                "true p99",
                "p99",
                "error",
                "CPU us/call",
                "verdict",
            ],
            [
                [
                    c.client,
                    str(c.callers),
                    str(c.calls),
                    *(
                        text
                        for p in (50.0, 90.0, 99.0)
                        for text in (ms(c.true[p]), ms(c.reported[p]), _signed(c.error(p)))
                    ),
                    f"{c.cpu * 1e6:.0f}",
                    c.verdict,
                ]
                for c in found["closed"]
            ],
        )
    )
    print("\nOpen loop at 200/s, a mixture of 5, 20, 80 and 300 ms: milliseconds.\n")
    print(
        table(
            [
                "client",
                "calls",
                *(f"{w}p{p:g}" for p in (50.0, 90.0, 99.0, 99.9) for w in ("true ", "")),
                "CPU us/call",
                "verdict",
            ],
            [
                [
                    m.cell.client,
                    str(m.cell.calls),
                    *(text for p in (50.0, 90.0, 99.0, 99.9) for text in (ms(m.cell.true[p]), ms(m.cell.reported[p]))),
                    f"{m.cell.cpu * 1e6:.0f}",
                    m.cell.verdict,
                ]
                for m in found["mixture"]
            ],
        )
    )
    print(
        "\nWhat the client adds to the server's own time, and how late requests leave, in those runs: milliseconds.\n"
    )
    print(
        table(
            ["client", "added p50", "added p99", "added p99.9", "lag p50", "lag p99", "lag max"],
            [
                [m.cell.client, *(ms(m.overhead[p]) for p in (50.0, 99.0, 99.9)), *(ms(v) for v in m.lag.values())]
                for m in found["mixture"]
            ],
        )
    )
    print("\nFive illnesses of a server, open loop: response time expected on paper and reported, milliseconds.\n")
    print(
        table(
            ["illness", "calls", "percentile", "expected", "reported", "off", "closed loop said", "verdict"],
            [
                [
                    sick.name,
                    str(sick.calls),
                    f"p{p:g}",
                    ms(expected, 0),
                    ms(sick.reported[p], 0),
                    f"{(sick.reported[p] / expected - 1):+.1%}",
                    ms(sick.closed.get(p), 0),
                    sick.verdict,
                ]
                for sick in found["illnesses"]
                for p, expected in sick.expected.items()
            ],
        )
    )
    p50, p99 = np.percentile(lateness * 1e6, [50, 99])
    print(f"\nThe oracle itself was late by {p50:.0f} us (p50) and {p99:.0f} us (p99). {seconds:.0f} s in all.")
