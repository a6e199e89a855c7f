"""The charts of one figure against another: cost and latency against memory, answers against time."""

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
    """Draw the cost of a million calls and the average latency against memory; None when there is nothing to draw.

    Args:
        costs: of each memory size, ascending.
        recommended_mb: the recommended size, which is drawn filled.
        watermark: what a copy of the picture must say too; may be empty.
    """
    points = [_memory_point(cost, is_recommended=cost.memory_mb == recommended_mb) for cost in costs]
    priced = [point for point in points if point["cost"] is not None]
    views = [_memory_view(priced, "cost", "cost of 1M calls (USD)", VERMILION, is_last=False)] if priced else []
    if not points:
        return None
    views.append(_memory_view(points, "latency", "average latency (ms)", BLUE, is_last=True))
    how = "Filled: the recommended size. Latency: model latency and overhead of warm calls, which is what is billed."
    return render_vega(views, "Cost and performance against memory", how, watermark)


def _memory_point(cost: Cost, *, is_recommended: bool) -> Spec:
    size, latency = f"{cost.memory_mb} MB", milliseconds_cell(cost.billed_duration).text
    price = "price not known" if cost.per_million is None else f"1M calls: {usd_cell(cost.per_million).text} USD"
    said = (f"{size} (recommended)" if is_recommended else size, price, f"average latency: {latency} ms")
    return {
        "memory": size,
        "marked": is_recommended,
        "said": "\n".join(said),
        "cost": cost.per_million,
        "cost_text": usd_cell(cost.per_million).text,
        "latency": cost.billed_duration * 1000,
        "latency_text": latency,
    }


def _memory_view(points: list[Spec], name: str, title: str, colour: str, *, is_last: bool) -> Spec:
    axis = {
        "title": "memory size" if is_last else None,
        "labels": is_last,
        "labelAngle": 0,
        "ticks": False,
        "grid": False,
    }
    x = {"field": "memory", "type": "nominal", "sort": None, "axis": axis}
    # Above 0, whatever there is: an empty scale would be drawn without an axis.
    most = max(point[name] for point in points) or 1.0
    y = quantitative(name, title=title, scale={"domain": [0, most * 1.22], "nice": False}, axis={"tickCount": 4})
    fill = {"condition": {"test": "datum.marked", "value": colour}, "value": "white"}
    place = {"x": x, "y": y}
    layers = [
        mark("line", points, place, color=colour, strokeWidth=2),
        mark("point", points, place | {"fill": fill}, size=90, strokeWidth=2, opacity=1, stroke=colour),
        mark("text", points, place | {"text": {"field": f"{name}_text"}}, dy=-15, fontSize=12, color=INK),
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
    """Draw the answers per second over the time of a run, by column; None when there were none.

    The last bar may be low: the run ended within it.
    """
    if not run.window_counts.any():
        return None
    each = math.ceil(len(run.window_counts) / _MAX_BARS)
    wide = each * run.window
    sums = np.add.reduceat(run.window_counts, np.arange(0, len(run.window_counts), each), axis=0)
    bars: list[Spec] = []
    strips: list[Spec] = []
    for i, rates in enumerate((sums / wide).tolist()):
        span = {"from": i * wide, "to": (i + 1) * wide}
        base = 0.0
        for kind, rate in zip(_CATEGORY_COLORS, rates, strict=True):
            if rate:
                bars.append(span | {"base": base, "top": base + rate, "kind": kind})
                base += rate
        said = "\n".join(
            f"{kind}: {number_cell(rate).text} a second" for kind, rate in zip(_CATEGORY_COLORS, rates, strict=True)
        )
        strips.append(span | {"said": f"{span['from']:g} to {span['to']:g} s\n{said}"})
    x = quantitative(
        "from", title="seconds from the start", axis={"grid": False, "tickCount": 8}, scale={"nice": False}
    )
    y = quantitative("base", title="answers per second", axis={"tickCount": 4})
    colour = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": list(_CATEGORY_COLORS), "range": list(_CATEGORY_COLORS.values())},
        "legend": {"title": None, "orient": "top", "direction": "horizontal"},
    }
    across = {"x": x, "x2": {"field": "to"}}
    layers = [
        mark("rect", bars, across | {"y": y, "y2": {"field": "top"}, "color": colour}),
        mark(
            "rect",
            strips,
            across | {"y": fixed_pixel(0), "y2": fixed_pixel(_HEIGHT), "description": TOOLTIP},
            opacity=0,
        ),
    ]
    return render_vega([{"width": WIDTH, "height": _HEIGHT, "layer": layers}], title, "", watermark)
