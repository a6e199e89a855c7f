"""What a reader wants to know first: the recommendation, and the few figures that go with it."""

from dataclasses import dataclass

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.report.content.labels import memory_mb_of, runs_in_phase
from loadgen.report.content.table import milliseconds_cell, percentile_name, sanitize_text, usd_cell


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One figure of the recommendation."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True)
class RecommendationView:
    """The recommendation in words.

    Args:
        answer: such as `2048 MB`.
        warning: why it must not be relied on; empty when it may.
        reason: why this one.
        key_figures: what it costs, how fast it is, what it carries.
    """

    answer: str
    warning: str
    reason: str
    key_figures: tuple[KeyFigure, ...]


def recommendation_view(analysis: Analysis) -> RecommendationView | None:
    """Return the recommendation of these analysis; None when no stability benchmark was run."""
    found = analysis.recommendation
    if found is None:
        return None
    doubt = "" if found.is_trustworthy else "It rests on an INVALID run: do not decide by it."
    reason = sanitize_text(found.reason, 1000)
    if found.memory_mb is None:
        return RecommendationView("No memory size can be recommended", doubt, reason, ())
    rows = [row for row in runs_in_phase(analysis, "stability") if memory_mb_of(row) == found.memory_mb]
    figures = [figure for row in rows[-1:] for figure in (*_latency_figures(row), *_cost_figures(row))]
    figures += [*_break_even_figures(analysis), *_max_concurrency_figures(analysis)]
    if found.runner_up is not None:
        figures.append(
            KeyFigure("Runner-up", f"{found.runner_up} MB", f"by the objective {sanitize_text(found.objective)}")
        )
    return RecommendationView(f"{found.memory_mb} MB", doubt, reason, tuple(figures))


def _latency_figures(row: RunAnalysis) -> list[KeyFigure]:
    latency = row.summary.service
    if latency is None:
        return []
    # The highest percentile that this sample can carry.
    known = [(p, value) for p, value in latency.percentiles.items() if value is not None and 90 <= p <= 99]
    tail = max(known, default=None, key=lambda pair: pair[0])
    detail = f"of {latency.count:,} ok calls" if latency.count > 1 else "of a single call"
    if tail is not None:
        detail = f"{percentile_name(tail[0])} {milliseconds_cell(tail[1].value).text} ms, {detail}"
    return [KeyFigure("Median latency", f"{milliseconds_cell(latency.median).text} ms", detail)]


def _cost_figures(row: RunAnalysis) -> list[KeyFigure]:
    if row.cost is None:
        return []
    if row.cost.per_million is None:
        return [KeyFigure("A million calls", "not known", sanitize_text(row.cost.unavailable_reason))]
    billed = f"{milliseconds_cell(row.cost.billed_duration).text} ms billed for each"
    return [KeyFigure("A million calls", f"{usd_cell(row.cost.per_million).text} USD", billed)]


def _break_even_figures(analysis: Analysis) -> list[KeyFigure]:
    savings = analysis.savings
    if savings is None or savings.break_even is None:
        return []
    return [
        KeyFigure(
            "Cheaper than an instance",
            f"below {rounded_count(savings.break_even)}",
            f"calls a month, {sanitize_text(savings.instance)}",
        )
    ]


def _max_concurrency_figures(analysis: Analysis) -> list[KeyFigure]:
    """Return the advice for the most clients that were carried without a throttle."""
    carried = [
        (a.clients, a.max_concurrency) for a in analysis.concurrency_recommendations if a.max_concurrency is not None
    ]
    if not carried:
        return []
    clients, slots = max(carried)
    return [KeyFigure("MaxConcurrency", f"{slots}", f"carried {clients} clients without throttles")]


def rounded_count(n: float) -> str:
    """Write a large count to three digits.

    Example:
        >>> rounded_count(16_131_160), rounded_count(1_234_567), rounded_count(45_678), rounded_count(120)
        ('16.1 million', '1.23 million', '45,700', '120')
    """
    if n >= 999_500:
        return f"{n / 1e6:.3g} million" if n < 999.5e6 else f"{n / 1e6:,.0f} million"
    return f"{float(f'{n:.3g}'):,.0f}"
