"""What a reader wants to know first: the recommendation, and the few figures that go with it."""

from dataclasses import dataclass

from loadgen.analysis.findings import Findings, Row
from loadgen.report.content.labels import memory_of, rows_of
from loadgen.report.content.table import legible, milliseconds, percentile_name, usd


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the recommendation."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The recommendation in words.

    Args:
        answer: such as `2048 MB`.
        doubt: why it must not be relied on; empty when it may.
        reason: why this one.
        figures: what it costs, how fast it is, what it carries.
    """

    answer: str
    doubt: str
    reason: str
    figures: tuple[Figure, ...]


def choice_of(findings: Findings) -> Choice | None:
    """Return the recommendation of these findings; None when no stability benchmark was run."""
    found = findings.recommendation
    if found is None:
        return None
    doubt = "" if found.is_trustworthy else "It rests on an INVALID run: do not decide by it."
    reason = legible(found.reason, 1000)
    if found.memory_mb is None:
        return Choice("No memory size can be recommended", doubt, reason, ())
    rows = [row for row in rows_of(findings, "stability") if memory_of(row) == found.memory_mb]
    figures = [figure for row in rows[-1:] for figure in (*_latency(row), *_cost(row))]
    figures += [*_break_even(findings), *_slots(findings)]
    if found.runner_up is not None:
        figures.append(Figure("Runner-up", f"{found.runner_up} MB", f"by the objective {legible(found.objective)}"))
    return Choice(f"{found.memory_mb} MB", doubt, reason, tuple(figures))


def _latency(row: Row) -> list[Figure]:
    latency = row.summary.service
    if latency is None:
        return []
    # The highest percentile that this sample can carry.
    known = [(p, value) for p, value in latency.percentiles.items() if value is not None and 90 <= p <= 99]
    tail = max(known, default=None, key=lambda pair: pair[0])
    detail = f"of {latency.count:,} ok calls" if latency.count > 1 else "of a single call"
    if tail is not None:
        detail = f"{percentile_name(tail[0])} {milliseconds(tail[1].value).text} ms, {detail}"
    return [Figure("Median latency", f"{milliseconds(latency.median).text} ms", detail)]


def _cost(row: Row) -> list[Figure]:
    if row.cost is None:
        return []
    if row.cost.per_million is None:
        return [Figure("A million calls", "not known", legible(row.cost.unknown))]
    billed = f"{milliseconds(row.cost.billed).text} ms billed for each"
    return [Figure("A million calls", f"{usd(row.cost.per_million).text} USD", billed)]


def _break_even(findings: Findings) -> list[Figure]:
    savings = findings.savings
    if savings is None or savings.break_even is None:
        return []
    return [
        Figure(
            "Cheaper than an instance",
            f"below {rounded(savings.break_even)}",
            f"calls a month, {legible(savings.instance)}",
        )
    ]


def _slots(findings: Findings) -> list[Figure]:
    """Return the advice for the most clients that were carried without a throttle."""
    carried = [(a.clients, a.max_concurrency) for a in findings.advice if a.max_concurrency is not None]
    if not carried:
        return []
    clients, slots = max(carried)
    return [Figure("MaxConcurrency", f"{slots}", f"carried {clients} clients without throttles")]


def rounded(n: float) -> str:
    """Write a large count to three digits.

    Example:
        >>> rounded(16_131_160), rounded(1_234_567), rounded(45_678), rounded(120)
        ('16.1 million', '1.23 million', '45,700', '120')
    """
    if n >= 999_500:
        return f"{n / 1e6:.3g} million" if n < 999.5e6 else f"{n / 1e6:,.0f} million"
    return f"{float(f'{n:.3g}'):,.0f}"
