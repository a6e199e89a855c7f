"""The recommendation and its key figures, shown first in a report."""

from dataclasses import dataclass

from loadgen.analysis.analysis import Analysis
from loadgen.analysis.recommendation import Recommendation, probability_text
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.report.content.labels import runs_in_phase
from loadgen.report.content.table import milliseconds_cell, percentile_name, sanitize_text, usd_cell


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One number of the recommendation."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True)
class RecommendationView:
    """The recommendation as text.

    Args:
        answer: the recommended size, such as `2048 MB`.
        warning: why it is not reliable; empty if it is.
        reason: the figures that decided.
        key_figures: latency, cost, break-even point and MaxConcurrency.
    """

    answer: str
    warning: str
    reason: str
    key_figures: tuple[KeyFigure, ...]


def recommendation_view(analysis: Analysis) -> RecommendationView | None:
    """Return the recommendation; None without a stability benchmark."""
    found = analysis.recommendation
    if found is None:
        return None
    warning = "" if found.is_trustworthy else "Based on an INVALID run; do not rely on it."
    reason = sanitize_text(found.reason, 1000)
    if found.memory_mb is None:
        return RecommendationView("No memory size can be recommended", warning, reason, ())
    rows = [row for row in runs_in_phase(analysis, "stability") if row.memory_mb == found.memory_mb]
    figures = [figure for row in rows[-1:] for figure in (*_latency_figures(row), *_cost_figures(row))]
    figures[:0] = _certainty_figures(found)
    figures += [*_break_even_figures(analysis), *_max_concurrency_figures(analysis)]
    if found.runner_up is not None:
        figures.append(KeyFigure("Runner-up", f"{found.runner_up} MB", f"objective: {sanitize_text(found.objective)}"))
    return RecommendationView(f"{found.memory_mb} MB", warning, reason, tuple(figures))


def _certainty_figures(found: Recommendation) -> list[KeyFigure]:
    if found.probability is None:
        return []
    detail = "that no other size is better by more than the margin"
    return [KeyFigure("Probability", probability_text(found.probability), detail)]


def _latency_figures(row: RunAnalysis) -> list[KeyFigure]:
    latency = row.summary.service
    if latency is None:
        return []
    # The highest percentile with enough calls.
    known = [(p, value) for p, value in latency.percentiles.items() if value is not None and 90 <= p <= 99]
    tail = max(known, default=None, key=lambda pair: pair[0])
    detail = f"{latency.count:,} ok calls" if latency.count > 1 else "1 ok call"
    if tail is not None:
        detail = f"{percentile_name(tail[0])} {milliseconds_cell(tail[1].value).text} ms, {detail}"
    return [KeyFigure("Median latency", f"{milliseconds_cell(latency.median).text} ms", detail)]


def _cost_figures(row: RunAnalysis) -> list[KeyFigure]:
    if row.cost is None:
        return []
    if row.cost.per_million is None:
        return [KeyFigure("1M calls", "unknown", sanitize_text(row.cost.unavailable_reason))]
    billed = f"{milliseconds_cell(row.cost.billed_duration).text} ms billed per call"
    return [KeyFigure("1M calls", f"{usd_cell(row.cost.per_million).text} USD", billed)]


def _break_even_figures(analysis: Analysis) -> list[KeyFigure]:
    savings = analysis.savings
    if savings is None or savings.break_even is None:
        return []
    return [
        KeyFigure(
            "Cheaper than an instance",
            f"below {rounded_count(savings.break_even)}",
            f"calls per month, {sanitize_text(savings.instance)}",
        )
    ]


def _max_concurrency_figures(analysis: Analysis) -> list[KeyFigure]:
    """Return the MaxConcurrency for the largest number of clients that was served without throttles."""
    served = [
        (r.clients, r.max_concurrency) for r in analysis.concurrency_recommendations if r.max_concurrency is not None
    ]
    if not served:
        return []
    clients, slots = max(served)
    return [KeyFigure("MaxConcurrency", f"{slots}", f"served {clients} clients without throttles")]


def rounded_count(n: float) -> str:
    """Format a large count with three significant digits.

    Example:
        >>> rounded_count(16_131_160), rounded_count(1_234_567), rounded_count(45_678), rounded_count(120)
        ('16.1 million', '1.23 million', '45,700', '120')
    """
    if n >= 999_500:
        return f"{n / 1e6:.3g} million" if n < 999.5e6 else f"{n / 1e6:,.0f} million"
    return f"{float(f'{n:.3g}'):,.0f}"
