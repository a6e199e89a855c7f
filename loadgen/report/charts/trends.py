"""The charts of one figure against another: cost and latency against memory, answers against time."""

import math
from collections.abc import Sequence

import numpy as np

from loadgen.analysis.cost import Cost
from loadgen.measurement.run import Run
from loadgen.report.charts.vega import BLUE, INK, ORANGE, SAID, VERMILION, WIDTH, Chart, Spec, draw, field, mark, pixel
from loadgen.report.content.table import milliseconds, number, usd

_HEIGHT = 150  # pixels
_MOST_BARS = 160
_KINDS = {"ok": BLUE, "throttled": ORANGE, "failed": VERMILION}


def cost_vs_performance(costs: Sequence[Cost], chosen: int | None, remark: str) -> Chart | None:
    """Draw the cost of a million calls and the average latency against memory; None when there is nothing to draw.

    Args:
        costs: of each memory size, ascending.
        chosen: the recommended size, which is drawn filled.
        remark: what a copy of the picture must say too; may be empty.
    """
    points = [_point(cost, is_chosen=cost.memory_mb == chosen) for cost in costs]
    priced = [point for point in points if point["cost"] is not None]
    views = [_against_memory(priced, "cost", "cost of 1M calls (USD)", VERMILION, is_last=False)] if priced else []
    if not points:
        return None
    views.append(_against_memory(points, "latency", "average latency (ms)", BLUE, is_last=True))
    how = "Filled: the recommended size. Latency: model latency and overhead of warm calls, which is what is billed."
    return draw(views, "Cost and performance against memory", how, remark)


def _point(cost: Cost, *, is_chosen: bool) -> Spec:
    size, latency = f"{cost.memory_mb} MB", milliseconds(cost.billed).text
    price = "price not known" if cost.per_million is None else f"1M calls: {usd(cost.per_million).text} USD"
    said = (f"{size} (recommended)" if is_chosen else size, price, f"average latency: {latency} ms")
    return {
        "memory": size,
        "marked": is_chosen,
        "said": "\n".join(said),
        "cost": cost.per_million,
        "cost_text": usd(cost.per_million).text,
        "latency": cost.billed * 1000,
        "latency_text": latency,
    }


def _against_memory(points: list[Spec], name: str, title: str, colour: str, *, is_last: bool) -> Spec:
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
    y = field(name, title=title, scale={"domain": [0, most * 1.22], "nice": False}, axis={"tickCount": 4})
    fill = {"condition": {"test": "datum.marked", "value": colour}, "value": "white"}
    place = {"x": x, "y": y}
    layers = [
        mark("line", points, place, color=colour, strokeWidth=2),
        mark("point", points, place | {"fill": fill}, size=90, strokeWidth=2, opacity=1, stroke=colour),
        mark("text", points, place | {"text": {"field": f"{name}_text"}}, dy=-15, fontSize=12, color=INK),
        mark(
            "bar",
            points,
            {"x": x, "y": pixel(0), "y2": pixel(_HEIGHT), "description": SAID},
            opacity=0,
            width={"band": 1},
        ),
    ]
    return {"width": WIDTH, "height": _HEIGHT, "layer": layers}


def timeline(run: Run, title: str, remark: str) -> Chart | None:
    """Draw the answers per second over the time of a run, by column; None when there were none.

    The last bar may be low: the run ended within it.
    """
    if not run.per_window.any():
        return None
    each = math.ceil(len(run.per_window) / _MOST_BARS)
    wide = each * run.window
    sums = np.add.reduceat(run.per_window, np.arange(0, len(run.per_window), each), axis=0)
    bars: list[Spec] = []
    strips: list[Spec] = []
    for i, rates in enumerate((sums / wide).tolist()):
        span = {"from": i * wide, "to": (i + 1) * wide}
        base = 0.0
        for kind, rate in zip(_KINDS, rates, strict=True):
            if rate:
                bars.append(span | {"base": base, "top": base + rate, "kind": kind})
                base += rate
        said = "\n".join(f"{kind}: {number(rate).text} a second" for kind, rate in zip(_KINDS, rates, strict=True))
        strips.append(span | {"said": f"{span['from']:g} to {span['to']:g} s\n{said}"})
    x = field("from", title="seconds from the start", axis={"grid": False, "tickCount": 8}, scale={"nice": False})
    y = field("base", title="answers per second", axis={"tickCount": 4})
    colour = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": list(_KINDS), "range": list(_KINDS.values())},
        "legend": {"title": None, "orient": "top", "direction": "horizontal"},
    }
    across = {"x": x, "x2": {"field": "to"}}
    layers = [
        mark("rect", bars, across | {"y": y, "y2": {"field": "top"}, "color": colour}),
        mark("rect", strips, across | {"y": pixel(0), "y2": pixel(_HEIGHT), "description": SAID}, opacity=0),
    ]
    return draw([{"width": WIDTH, "height": _HEIGHT, "layer": layers}], title, "", remark)
