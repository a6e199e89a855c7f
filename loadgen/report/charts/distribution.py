"""The chart of latencies: a row of bars for each memory size or number of clients, on one scale.

From histograms of all calls, none left out: how many there were changes nothing in the size of the chart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.summary import Latency
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
_MIN_BAR_HEIGHT = 0.035  # of a row: one call in a million is still a visible bar
_LOG_SCALE_RATIO = 4.0  # a range this wide (slowest / fastest) is drawn on a logarithmic axis
_SUBTITLE = (
    "Height: share of calls, each row to its own tallest; the rarest are drawn taller. Line: median. Diamond: p99."
)


@dataclass(frozen=True, slots=True)
class LatencySeries:
    """One row: a name, its histogram and what was derived from it."""

    name: str
    histogram: Histogram
    latency: Latency
    is_recommended: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows with a heading of their own."""

    heading: str
    series: tuple[LatencySeries, ...]


def latency_chart(title: str, watermark: str, panels: Sequence[Panel]) -> Chart | None:
    """Draw where the latencies lie, a row for each series; None when no series has any.

    Args:
        title: of the whole chart.
        watermark: what a copy of the picture must say too; may be empty.
        panels: drawn below each other, on one scale.
    """
    filled = [panel for panel in panels if panel.series]
    if not filled:
        return None
    every = [s.latency for panel in filled for s in panel.series]
    scale = LatencyScale.from_range(
        min(x.minimum for x in every), max(x.maximum for x in every), max(x.count for x in every)
    )
    views = [_panel_view(panel, scale, is_last=panel is filled[-1]) for panel in filled]
    return render_vega(views, title, _SUBTITLE, watermark, spacing=26)


@dataclass(frozen=True, slots=True)
class LatencyScale:
    """The axis of a distribution: linear, or logarithmic where the range is wide.

    Args:
        edges: of the bins, in ms, ascending, shape (bins + 1,).
        is_log: True for a logarithmic axis.
    """

    edges: NDArray[np.float64]
    is_log: bool

    @classmethod
    def from_range(cls, low: float, high: float, calls: int) -> "LatencyScale":
        """Return a scale for latencies between two, in seconds; `calls` is how many the longest row has."""
        low, high = max(low * 1000, 0.001), max(high * 1000, 0.001)
        if high / low >= _LOG_SCALE_RATIO:
            return cls(np.geomspace(low / 1.05, high * 1.05, _MAX_BINS + 1), is_log=True)
        room = max(high - low, 0.05 * high) * 0.06
        # Few calls in narrow bins show their chance, not their shape.
        bins = min(_MAX_BINS, max(30, round(4 * calls ** (1 / 3))))
        return cls(np.linspace(max(0.0, low - room), high + room, bins + 1), is_log=False)

    def ticks(self) -> list[float]:
        """Return round numbers; on a logarithmic axis 1, 2 and 5 of each decade."""
        low, high = float(self.edges[0]), float(self.edges[-1])
        if self.is_log:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            return [v for d in decades for m in (1, 2, 5) if low <= (v := round(m * 10.0**d, 9)) <= high]
        step = 10.0 ** math.floor(math.log10((high - low) / 4))
        step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 10)
        return [round(n * step, 9) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]

    def axis(self, *, is_labelled: bool) -> Spec:
        """Describe the axis and its scale."""
        title = "service time (ms, logarithmic)" if self.is_log else "service time (ms)"
        shown = {"title": title if is_labelled else None, "labels": is_labelled, "ticks": is_labelled}
        domain = [float(self.edges[0]), float(self.edges[-1])]
        return {
            "axis": {"values": self.ticks(), "format": ",~f", **shown},
            "scale": {"type": "log" if self.is_log else "linear", "domain": domain, "nice": False},
        }

    def shares(self, histogram: Histogram) -> NDArray[np.float64]:
        """Return the share of calls in each bin, shape (bins,); together 1."""
        used = np.flatnonzero(histogram.counts)
        middle = (lowest_equivalent_value(used) + highest_equivalent_value(used)) / 2e3  # ms
        inside = np.clip(middle, self.edges[0], self.edges[-1])
        counts, _ = np.histogram(inside, bins=self.edges, weights=histogram.counts[used])
        return np.asarray(counts / histogram.total)


def _panel_view(panel: Panel, scale: LatencyScale, *, is_last: bool) -> Spec:
    """Describe the rows of one panel, the first on top; a row is 1 high, its base a whole number."""
    rows = len(panel.series)
    marks = [_row_marks(series, rows - 1 - i) for i, series in enumerate(panel.series)]
    bins = [bar for i, series in enumerate(panel.series) for bar in _bin_marks(series, rows - 1 - i, scale)]
    horizontal = scale.axis(is_labelled=is_last)
    vertical = {"axis": None, "scale": {"domain": [0, rows], "nice": False}}

    def across(name: str) -> Spec:
        return quantitative(name, **horizontal)

    def up(name: str) -> Spec:
        return quantitative(name, **vertical)

    colour = {"condition": {"test": "datum.marked", "value": BLUE}, "value": PALE_BLUE}
    bar = {"x": across("from"), "x2": {"field": "to"}, "y": up("base")}
    margin = {"x": fixed_pixel(-112), "x2": fixed_pixel(-4), "y": up("base"), "y2": {"field": "high"}}
    layers = [
        mark("rect", bins, bar | {"y2": {"field": "top"}, "color": colour}),
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
    """Return a bar for each bin that has a call, and what it says."""
    shares = scale.shares(series.histogram)
    below, tallest = np.cumsum(shares), float(shares.max())
    bars = []
    for k in np.flatnonzero(shares).tolist():
        low, high = float(scale.edges[k]), float(scale.edges[k + 1])
        said = (
            series.name,
            f"{_format_ms(low)} to {_format_ms(high)} ms: {_format_percent(shares[k])} of calls",
            f"up to {_format_ms(high)} ms: {_format_percent(below[k])}",
        )
        bars.append(
            {
                "from": round(low, 4),
                "to": round(high, 4),
                "base": base,
                "high": base + 0.94,
                "top": round(base + max(_MIN_BAR_HEIGHT, 0.84 * float(shares[k]) / tallest), 4),
                "marked": series.is_recommended,
                "said": "\n".join(said),
            }
        )
    return bars


def _row_marks(series: LatencySeries, base: int) -> Spec:
    """Return where a row's name, median and p99 stand, and what the name says."""
    latency = series.latency
    p99 = latency.percentiles.get(99.0)
    said = [f"{series.name}: {latency.count:,} ok calls", f"median {_format_ms(latency.median * 1000)} ms"]
    said += [f"p99 {_format_ms(p99.value * 1000)} ms"] if p99 else []
    said += [f"fastest {_format_ms(latency.minimum * 1000)} ms", f"slowest {_format_ms(latency.maximum * 1000)} ms"]
    heights = {"base": base, "low": base + 0.12, "middle": base + 0.34, "high": base + 0.94}
    place = heights | {"median": latency.median * 1000} | ({"p99": p99.value * 1000} if p99 else {})
    return place | {"name": series.name, "said": "\n".join(said)}


def _format_ms(milliseconds: float) -> str:
    return number_cell(milliseconds).text


def _format_percent(share: float) -> str:
    percent = 100 * float(share)
    if percent > 99.995:
        return "100 %"
    return "<0.01 %" if percent < 0.01 else f"{percent:.2f} %" if percent < 10 else f"{percent:.1f} %"
