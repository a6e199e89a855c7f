"""Latency distribution charts: one row of bars per memory size, number of clients or step, on one scale.

Drawn from the histograms of all ok calls, so the size of a chart does not depend on the number of calls.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.latency import Latency
from loadgen.measurement.histogram import Histogram, highest_equivalent_value, lowest_equivalent_value
from loadgen.report.charts.vega import (
    BLUE,
    INK,
    PALE_BLUE,
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
from loadgen.report.content.table import number_cell

_MAX_BINS = 100
_ROW_HEIGHT = 46  # pixels
_MIN_BAR_HEIGHT = 0.035  # share of a row; keeps a bin with one call visible
_LOG_SCALE_RATIO = 4.0  # slowest / fastest from which the axis is logarithmic
_SUBTITLE = (
    "Height: share of calls, relative to the tallest bar of the row (with a minimum). Line: median. Diamond: p99."
)


@dataclass(frozen=True, slots=True)
class LatencySeries:
    """One row of the chart: name, histogram and summary."""

    name: str
    histogram: Histogram
    latency: Latency
    is_recommended: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows under one heading."""

    heading: str
    series: tuple[LatencySeries, ...]


def latency_chart(title: str, watermark: str, panels: Sequence[Panel]) -> Chart | None:
    """Render the latency distributions, one row per series; None if no series has data.

    Args:
        title: title of the chart.
        watermark: text that copies of the chart must show; may be empty.
        panels: panels below each other, on one scale.
    """
    filled = [panel for panel in panels if panel.series]
    if not filled:
        return None
    latencies = [series.latency for panel in filled for series in panel.series]
    scale = LatencyScale.from_range(
        min(x.minimum for x in latencies), max(x.maximum for x in latencies), max(x.count for x in latencies)
    )
    views = [_panel_view(panel, scale, is_last=panel is filled[-1]) for panel in filled]
    return render_vega(views, title, _SUBTITLE, watermark, spacing=26)


@dataclass(frozen=True, slots=True)
class LatencyScale:
    """The latency axis: linear, or logarithmic if the range is wide.

    Args:
        edges: bin edges in ms, ascending, shape (bins + 1,).
        is_log: True for a logarithmic axis.
    """

    edges: NDArray[np.float64]
    is_log: bool

    @classmethod
    def from_range(cls, low: float, high: float, calls: int) -> "LatencyScale":
        """Return a scale for latencies from `low` to `high` seconds; `calls` is the largest count of a series."""
        low, high = max(low * 1000, 0.001), max(high * 1000, 0.001)
        if high / low >= _LOG_SCALE_RATIO:
            return cls(np.geomspace(low / 1.05, high * 1.05, _MAX_BINS + 1), is_log=True)
        margin = max(high - low, 0.05 * high) * 0.06
        # With few calls, narrow bins would show random variation.
        bins = min(_MAX_BINS, max(30, round(4 * calls ** (1 / 3))))
        return cls(np.linspace(max(0.0, low - margin), high + margin, bins + 1), is_log=False)

    def ticks(self) -> list[float]:
        """Return round tick values; on a logarithmic axis 1, 2 and 5 of each decade."""
        low, high = float(self.edges[0]), float(self.edges[-1])
        if self.is_log:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            return [v for d in decades for m in (1, 2, 5) if low <= (v := round(m * 10.0**d, 9)) <= high]
        step = 10.0 ** math.floor(math.log10((high - low) / 4))
        step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 10)
        return [round(n * step, 9) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]

    def axis(self, *, is_labelled: bool) -> Spec:
        """Return the Vega-Lite axis and scale."""
        title = "service time (ms, logarithmic)" if self.is_log else "service time (ms)"
        shown = {"title": title if is_labelled else None, "labels": is_labelled, "ticks": is_labelled}
        domain = [float(self.edges[0]), float(self.edges[-1])]
        return {
            "axis": {"values": self.ticks(), "format": ",~f", **shown},
            "scale": {"type": "log" if self.is_log else "linear", "domain": domain, "nice": False},
        }

    def shares(self, histogram: Histogram) -> NDArray[np.float64]:
        """Return the share of calls in each bin, shape (bins,), sum 1."""
        used = np.flatnonzero(histogram.counts)
        middle = (lowest_equivalent_value(used) + highest_equivalent_value(used)) / 2e3  # ms
        inside = np.clip(middle, self.edges[0], self.edges[-1])
        counts, _ = np.histogram(inside, bins=self.edges, weights=histogram.counts[used])
        return np.asarray(counts / histogram.total)


def _panel_view(panel: Panel, scale: LatencyScale, *, is_last: bool) -> Spec:
    """Return the view of one panel, first series on top; each row has height 1 and an integer base."""
    rows = len(panel.series)
    marks = [_row_marks(series, rows - 1 - i) for i, series in enumerate(panel.series)]
    bins = [bar for i, series in enumerate(panel.series) for bar in _bin_marks(series, rows - 1 - i, scale)]
    horizontal = scale.axis(is_labelled=is_last)
    vertical = {"axis": None, "scale": {"domain": [0, rows], "nice": False}}

    def across(name: str) -> Spec:
        return quantitative(name, **horizontal)

    def up(name: str) -> Spec:
        return quantitative(name, **vertical)

    color = {"condition": {"test": "datum.recommended", "value": BLUE}, "value": PALE_BLUE}
    bar = {"x": across("from"), "x2": {"field": "to"}, "y": up("base")}
    margin = {"x": fixed_pixel(-112), "x2": fixed_pixel(-4), "y": up("base"), "y2": {"field": "high"}}
    layers = [
        mark("rect", bins, bar | {"y2": {"field": "top"}, "color": color}),
        mark(
            "rule", marks, {"x": across("median"), "y": up("base"), "y2": {"field": "high"}}, color=INK, strokeWidth=1.5
        ),
        mark(
            "point",
            [m for m in marks if "p99" in m],
            {"x": across("p99"), "y": up("low")},
            shape="diamond",
            size=46,
            color=VERMILION,
            filled=True,
            opacity=1,
        ),
        mark("rect", bins, bar | {"y2": {"field": "high"}, "description": TOOLTIP}, opacity=0),
        mark("rect", marks, margin | {"description": TOOLTIP}, opacity=0),
        mark(
            "text",
            marks,
            {"x": fixed_pixel(-10), "y": up("middle"), "text": {"field": "name"}},
            align="right",
            fontSize=12,
            color=INK,
        ),
    ]
    heading = {
        "text": panel.heading,
        "anchor": "start",
        "fontSize": 13,
        "fontWeight": "bold",
        "color": INK,
        "offset": 8,
    }
    size = {"width": WIDTH, "height": _ROW_HEIGHT * rows, "layer": layers}
    return size | ({"title": heading} if panel.heading else {})


def _bin_marks(series: LatencySeries, base: int, scale: LatencyScale) -> list[Spec]:
    """Return a bar with a tooltip for each bin that has a call."""
    shares = scale.shares(series.histogram)
    cumulative, tallest = np.cumsum(shares), float(shares.max())
    bars = []
    for k in np.flatnonzero(shares).tolist():
        low, high = float(scale.edges[k]), float(scale.edges[k + 1])
        tooltip = (
            series.name,
            f"{_format_ms(low)} to {_format_ms(high)} ms: {_format_percent(shares[k])} of calls",
            f"up to {_format_ms(high)} ms: {_format_percent(cumulative[k])}",
        )
        bars.append(
            {
                "from": round(low, 4),
                "to": round(high, 4),
                "base": base,
                "high": base + 0.94,
                "top": round(base + max(_MIN_BAR_HEIGHT, 0.84 * float(shares[k]) / tallest), 4),
                "recommended": series.is_recommended,
                "tooltip": "\n".join(tooltip),
            }
        )
    return bars


def _row_marks(series: LatencySeries, base: int) -> Spec:
    """Return the positions of a row's name, median and p99, and the tooltip of the name."""
    latency = series.latency
    p99 = latency.percentiles.get(99.0)
    tooltip = [f"{series.name}: {latency.count:,} ok calls", f"median {_format_ms(latency.median * 1000)} ms"]
    tooltip += [f"p99 {_format_ms(p99.value * 1000)} ms"] if p99 else []
    tooltip += [f"min {_format_ms(latency.minimum * 1000)} ms", f"max {_format_ms(latency.maximum * 1000)} ms"]
    heights = {"base": base, "low": base + 0.12, "middle": base + 0.34, "high": base + 0.94}
    positions = heights | {"median": latency.median * 1000} | ({"p99": p99.value * 1000} if p99 else {})
    return positions | {"name": series.name, "tooltip": "\n".join(tooltip)}


def _format_ms(milliseconds: float) -> str:
    return number_cell(milliseconds).text


def _format_percent(share: float) -> str:
    percent = 100 * float(share)
    if percent > 99.995:
        return "100 %"
    return "<0.01 %" if percent < 0.01 else f"{percent:.2f} %" if percent < 10 else f"{percent:.1f} %"
