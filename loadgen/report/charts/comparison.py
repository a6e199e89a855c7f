"""Chart of a comparison: both latency distributions of each step over each other, on one scale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadgen.analysis.latency import Latency
from loadgen.analysis.run_analysis import RunAnalysis
from loadgen.comparison.comparison import Comparison, StepComparison
from loadgen.measurement.histogram import Histogram
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.report.charts.distribution import LatencyScale
from loadgen.report.charts.vega import (
    BLUE,
    INK,
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
from loadgen.report.content.table import milliseconds_cell, number_cell, sanitize_text

MAX_STEPS = 8
_HEIGHT = 120  # pixels
_OPACITY = 0.42
_SUBTITLE = "Blue: BASE. Orange: NEW. Height: share of calls. Line: median. Dashed line: p95."


@dataclass(frozen=True, slots=True)
class _Side:
    name: str
    color: str
    histogram: Histogram
    latency: Latency


def comparison_chart(comparison: Comparison, watermark: str) -> Chart | None:
    """Render the distributions of the first steps; None if no step has the calls of both sides.

    Args:
        comparison: the comparison.
        watermark: text that copies of the chart must show; may be empty.
    """
    steps = [(step, sides) for step in comparison.steps if (sides := _sides(step))][:MAX_STEPS]
    if not steps:
        return None
    views = [_view(step.label, sides) for step, sides in steps]
    return render_vega(views, "Both distributions over each other", _SUBTITLE, watermark, spacing=30)


def _sides(step: StepComparison) -> tuple[_Side, ...]:
    found = []
    for name, color, row in (("BASE", BLUE, step.base.row), ("NEW", VERMILION, step.new.row)):
        latency = None if row is None else row.summary.response
        if row is None or latency is None:
            return ()
        found.append(_Side(name, color, _histogram(row), latency))
    return tuple(found)


def _histogram(row: RunAnalysis) -> Histogram:
    tally = row.run.tally
    return (tally.response if row.run.is_open_loop else tally.service)[OutcomeCategory.OK]


def _view(label: str, sides: Sequence[_Side]) -> Spec:
    scale = LatencyScale.from_range(
        min(side.latency.minimum for side in sides),
        max(side.latency.maximum for side in sides),
        max(side.latency.count for side in sides),
    )
    bars = [_bars(side, scale) for side in sides]
    top = max(bar["share"] for one in bars for bar in one) * 1.12
    x = scale.axis(is_labelled=True)
    x["axis"]["title"] = "latency (ms, logarithmic)" if scale.is_log else "latency (ms)"
    y = {
        "axis": {"title": "share of calls", "format": "%", "tickCount": 3},
        "scale": {"domain": [0, top], "nice": False},
    }
    layers = []
    for side, values in zip(sides, bars, strict=True):
        box = {
            "x": quantitative("from", **x),
            "x2": {"field": "to"},
            "y": quantitative("share", **y),
            "y2": {"field": "zero"},
        }
        layers.append(mark("rect", values, box | {"description": TOOLTIP}, color=side.color, opacity=_OPACITY))
    for side in sides:
        p95 = side.latency.percentiles.get(95.0)
        whole = {"y": fixed_pixel(0), "y2": fixed_pixel(_HEIGHT)}
        style = {"color": side.color, "strokeWidth": 2}
        layers.append(
            mark("rule", [{"at": side.latency.median * 1000}], {"x": quantitative("at", **x)} | whole, **style)
        )
        if p95 is not None:
            at = [{"at": p95.value * 1000}]
            layers.append(mark("rule", at, {"x": quantitative("at", **x)} | whole, strokeDash=[5, 4], **style))
    title = {"text": sanitize_text(label, 80), "anchor": "start", "fontSize": 13, "color": INK, "offset": 8}
    return {"width": WIDTH, "height": _HEIGHT, "title": title, "layer": layers}


def _bars(side: _Side, scale: LatencyScale) -> list[Spec]:
    shares = scale.shares(side.histogram)
    median = milliseconds_cell(side.latency.median).text
    return [
        {
            "from": round(float(scale.edges[k]), 4),
            "to": round(float(scale.edges[k + 1]), 4),
            "share": float(shares[k]),
            "zero": 0,
            "tooltip": f"{side.name}: {100 * shares[k]:.2f} % of {side.latency.count:,} calls\n"
            f"{number_cell(scale.edges[k]).text} to {number_cell(scale.edges[k + 1]).text} ms\nmedian {median} ms",
        }
        for k in np.flatnonzero(shares).tolist()
    ]
