"""Chart of the trade-off: the cost of each memory size against its latency, with the uncertainty of both."""

from collections.abc import Callable

from loadgen.analysis.recommendation import Recommendation
from loadgen.analysis.size_choice import SizeChoice
from loadgen.report.charts.vega import (
    BLUE,
    INK,
    MUTED_INK,
    TOOLTIP,
    WIDTH,
    Chart,
    Spec,
    mark,
    quantitative,
    render_vega,
)
from loadgen.report.content.table import Cell, milliseconds_cell, usd_cell
from loadgen.statistics.interval import Interval

_HEIGHT = 240  # pixels
_MARGIN = 0.12  # of the range of an axis, around the points


def trade_off_chart(recommendation: Recommendation | None, *, is_priced: bool, watermark: str) -> Chart | None:
    """Render cost against latency; None if fewer than two sizes were compared.

    Args:
        recommendation: the recommendation.
        is_priced: True if costs are in USD, False for GB-seconds.
        watermark: text that copies of the chart must show; may be empty.
    """
    choice = None if recommendation is None else recommendation.choice
    if recommendation is None or choice is None or len(choice.scores) < 2:
        return None
    unit = "cost of 1M calls (USD)" if is_priced else "GB-seconds of 1M calls"
    name = "median" if choice.latency_statistic == "p50" else choice.latency_statistic
    points = [_point(choice, size, is_efficient=size in recommendation.efficient) for size in sorted(choice.scores)]
    x = quantitative(
        "latency",
        title=f"{name} latency of warm calls (ms)",
        scale=_scale(points, "latency"),
        axis={"grid": False, "tickCount": 6},
    )
    y = quantitative("cost", title=unit, scale=_scale(points, "cost"), axis={"tickCount": 5})
    efficient = sorted((point for point in points if point["efficient"]), key=lambda point: point["latency"])
    fill = {"condition": {"test": "datum.recommended", "value": BLUE}, "value": "white"}
    position = {"x": x, "y": y}
    layers = [
        mark("line", efficient, position, color=MUTED_INK, strokeWidth=1.5, strokeDash=[4, 3]),
        mark("rule", points, {"x": x | {"field": "latency_low"}, "x2": {"field": "latency_high"}, "y": y}, color=BLUE),
        mark("rule", points, {"x": x, "y": y | {"field": "cost_low"}, "y2": {"field": "cost_high"}}, color=BLUE),
        mark("point", points, position | {"fill": fill}, size=110, strokeWidth=2, opacity=1, stroke=BLUE),
        mark(
            "text",
            points,
            position | {"text": {"field": "name"}},
            dx=12,
            align="left",
            baseline="middle",
            fontSize=12,
            color=INK,
        ),
        mark("point", points, position | {"description": TOOLTIP}, size=900, opacity=0, filled=True),
    ]
    explanation = "Filled: recommended. Lines: 95 % intervals. Dashed: sizes that no other one equals in both."
    view = {"width": WIDTH, "height": _HEIGHT, "layer": layers}
    return render_vega([view], "Cost against latency of the memory sizes", explanation, watermark)


def _point(choice: SizeChoice, size: int, *, is_efficient: bool) -> Spec:
    latency, cost = choice.latency[size].scaled(1e3), choice.cost[size].scaled(1e6)
    latency_ends, cost_ends = latency.ends or (latency.value,) * 2, cost.ends or (cost.value,) * 2
    is_recommended = size == choice.memory_mb
    tooltip = [
        f"{size} MB (recommended)" if is_recommended else f"{size} MB",
        f"latency {_range_text(choice.latency[size], milliseconds_cell)} ms",
        f"1M calls: {_range_text(cost, usd_cell)}",
    ]
    return {
        "name": f"{size} MB",
        "recommended": is_recommended,
        "efficient": is_efficient,
        "latency": latency.value,
        "latency_low": latency_ends[0],
        "latency_high": latency_ends[1],
        "cost": cost.value,
        "cost_low": cost_ends[0],
        "cost_high": cost_ends[1],
        "tooltip": "\n".join(tooltip),
    }


def _range_text(interval: Interval, cell: Callable[[float], Cell]) -> str:
    """Return a value with its interval, each as the cell of a table shows it."""
    text = cell(interval.value).text
    if interval.ends is None:
        return text
    low, high = (cell(end).text for end in interval.ends)
    return f"{text} ({low} to {high})"


def _scale(points: list[Spec], name: str) -> Spec:
    """Return a scale around all intervals, with room for the labels."""
    low, high = min(point[f"{name}_low"] for point in points), max(point[f"{name}_high"] for point in points)
    room = _MARGIN * (high - low) or _MARGIN * high or 1.0
    return {"domain": [max(0.0, low - room), high + 1.5 * room], "nice": False, "zero": False}
