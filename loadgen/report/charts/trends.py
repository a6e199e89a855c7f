"""Charts of cost and latency against memory, and of responses against time."""

import math
from collections.abc import Sequence

import numpy as np

from loadgen.analysis.cost import Cost
from loadgen.measurement.run import Run
from loadgen.report.charts.vega import (
    BLUE,
    INK,
    ORANGE,
    TOOLTIP,
    VERMILION,
    WIDTH,
    Chart,
    Spec,
    fixed_pixel,
    mark,
    quantitative,
    render_vega,
)
from loadgen.report.content.table import milliseconds_cell, number_cell, usd_cell

_HEIGHT = 150  # pixels
_MAX_BARS = 160
_CATEGORY_COLORS = {"ok": BLUE, "throttled": ORANGE, "failed": VERMILION}


def cost_vs_performance(costs: Sequence[Cost], recommended_mb: int | None, watermark: str) -> Chart | None:
    """Render the cost of a million calls and the average latency against memory; None without costs.

    Args:
        costs: cost per memory size, ascending.
        recommended_mb: the recommended size, drawn filled.
        watermark: text that copies of the chart must show; may be empty.
    """
    points = [_memory_point(cost, is_recommended=cost.memory_mb == recommended_mb) for cost in costs]
    priced = [point for point in points if point["cost"] is not None]
    views = [_memory_view(priced, "cost", "cost of 1M calls (USD)", VERMILION, is_last=False)] if priced else []
    if not points:
        return None
    views.append(_memory_view(points, "latency", "average latency (ms)", BLUE, is_last=True))
    explanation = "Filled: recommended size. Latency: billed duration of a warm call (model latency and overhead)."
    return render_vega(views, "Cost and performance against memory", explanation, watermark)


def _memory_point(cost: Cost, *, is_recommended: bool) -> Spec:
    size, latency = f"{cost.memory_mb} MB", milliseconds_cell(cost.billed_duration).text
    price = "price unavailable" if cost.per_million is None else f"1M calls: {usd_cell(cost.per_million).text} USD"
    tooltip = (f"{size} (recommended)" if is_recommended else size, price, f"average latency: {latency} ms")
    return {
        "memory": size,
        "recommended": is_recommended,
        "tooltip": "\n".join(tooltip),
        "cost": cost.per_million,
        "cost_text": usd_cell(cost.per_million).text,
        "latency": cost.billed_duration * 1000,
        "latency_text": latency,
    }


def _memory_view(points: list[Spec], name: str, title: str, color: str, *, is_last: bool) -> Spec:
    axis = {
        "title": "memory size" if is_last else None,
        "labels": is_last,
        "labelAngle": 0,
        "ticks": False,
        "grid": False,
    }
    x = {"field": "memory", "type": "nominal", "sort": None, "axis": axis}
    # Not 0: a scale without extent has no axis.
    maximum = max(point[name] for point in points) or 1.0
    y = quantitative(name, title=title, scale={"domain": [0, maximum * 1.22], "nice": False}, axis={"tickCount": 4})
    fill = {"condition": {"test": "datum.recommended", "value": color}, "value": "white"}
    position = {"x": x, "y": y}
    layers = [
        mark("line", points, position, color=color, strokeWidth=2),
        mark("point", points, position | {"fill": fill}, size=90, strokeWidth=2, opacity=1, stroke=color),
        mark("text", points, position | {"text": {"field": f"{name}_text"}}, dy=-15, fontSize=12, color=INK),
        mark(
            "bar",
            points,
            {"x": x, "y": fixed_pixel(0), "y2": fixed_pixel(_HEIGHT), "description": TOOLTIP},
            opacity=0,
            width={"band": 1},
        ),
    ]
    return {"width": WIDTH, "height": _HEIGHT, "layer": layers}


def timeline(run: Run, title: str, watermark: str) -> Chart | None:
    """Render the responses per second over the time of a run, by category; None without responses.

    The last bar may be low because the run ended within its interval.
    """
    if not run.window_counts.any():
        return None
    windows_per_bar = math.ceil(len(run.window_counts) / _MAX_BARS)
    bar_seconds = windows_per_bar * run.window
    sums = np.add.reduceat(run.window_counts, np.arange(0, len(run.window_counts), windows_per_bar), axis=0)
    bars: list[Spec] = []
    tooltips: list[Spec] = []
    for i, rates in enumerate((sums / bar_seconds).tolist()):
        span = {"from": i * bar_seconds, "to": (i + 1) * bar_seconds}
        base = 0.0
        for kind, rate in zip(_CATEGORY_COLORS, rates, strict=True):
            if rate:
                bars.append(span | {"base": base, "top": base + rate, "kind": kind})
                base += rate
        texts = [f"{kind}: {number_cell(rate).text}/s" for kind, rate in zip(_CATEGORY_COLORS, rates, strict=True)]
        tooltips.append(span | {"tooltip": "\n".join([f"{span['from']:g} to {span['to']:g} s", *texts])})
    x = quantitative(
        "from", title="seconds from the start", axis={"grid": False, "tickCount": 8}, scale={"nice": False}
    )
    y = quantitative("base", title="responses per second", axis={"tickCount": 4})
    color = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": list(_CATEGORY_COLORS), "range": list(_CATEGORY_COLORS.values())},
        "legend": {"title": None, "orient": "top", "direction": "horizontal"},
    }
    interval = {"x": x, "x2": {"field": "to"}}
    layers = [
        mark("rect", bars, interval | {"y": y, "y2": {"field": "top"}, "color": color}),
        mark(
            "rect",
            tooltips,
            interval | {"y": fixed_pixel(0), "y2": fixed_pixel(_HEIGHT), "description": TOOLTIP},
            opacity=0,
        ),
    ]
    return render_vega([{"width": WIDTH, "height": _HEIGHT, "layer": layers}], title, "", watermark)
