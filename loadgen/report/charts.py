"""Charts: one description each, drawn as SVG for the page and as PNG for a folder. The only file that knows Altair.

Vega draws them here, offline, so that the page needs no charting library: every mark that can be read off carries its
values in words as its description, which the page shows on hover and a screen reader says. All latencies come from
histograms of all samples, none left out; their number changes nothing in the size of a chart.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import vl_convert
from numpy.typing import NDArray

from loadgen.cost import Cost
from loadgen.histogram import LENGTH, Histogram, highest_of, lowest_of
from loadgen.report.table import milliseconds, number, usd
from loadgen.runs import Run
from loadgen.summary import Latency

# Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008): told apart with any kind of colour blindness.
BLUE, ORANGE, VERMILION, GREY = "#0072b2", "#e69f00", "#d55e00", "#8a94a0"
_INK, _FAINT = "#1f2933", "#e4e7eb"
_WIDTH = 640
_MOST_BINS = 100
_ROW = 46  # pixels
_LOG_FROM = 4.0  # a range this wide (slowest / fastest) is drawn on a logarithmic axis
_FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
_MOST_BARS = 160


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart.

    Args:
        title: what it shows.
        svg: for a page; it refers to nothing outside itself.
    """

    title: str
    svg: str

    def png(self) -> bytes:
        """Return the same picture as a PNG, twice as fine as a screen."""
        picture: bytes = vl_convert.svg_to_png(_XMLNS.sub('<svg xmlns="http://www.w3.org/2000/svg"', self.svg), scale=2)
        return picture


_XMLNS = re.compile("^<svg")


@dataclass(frozen=True, slots=True)
class Series:
    """One row of a distribution: a name, its histogram and what was derived from it."""

    name: str
    histogram: Histogram
    latency: Latency
    is_marked: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows that share an axis, with a heading of their own."""

    heading: str
    series: tuple[Series, ...]


def distribution(title: str, remark: str, panels: Sequence[Panel]) -> Chart | None:
    """Draw where the latencies lie, a row for each series; None when no series has any.

    Args:
        title: of the whole chart.
        remark: what a copy of the picture must say too, such as that it is from an emulator; may be empty.
        panels: drawn below each other, on one scale.
    """
    filled = [panel for panel in panels if panel.series]
    if not filled:
        return None
    every = [s.latency for panel in filled for s in panel.series]
    scale = _Scale.covering(min(x.minimum for x in every), max(x.maximum for x in every), max(x.count for x in every))
    drawn = [_panel(panel, scale, is_last=panel is filled[-1]) for panel in filled]
    how = (
        "Height: share of calls, each row to its own tallest; the rarest are drawn taller. Line: median. Diamond: p99."
    )
    return _draw(alt.vconcat(*drawn, spacing=26), title, how, remark)


@dataclass(frozen=True, slots=True)
class _Scale:
    """The axis of a distribution, in ms: linear, or logarithmic where the range is wide."""

    edges: NDArray[np.float64]
    is_log: bool

    @classmethod
    def covering(cls, low: float, high: float, calls: int) -> "_Scale":
        low, high = max(low * 1000, 0.001), max(high * 1000, 0.001)
        if high / low >= _LOG_FROM:
            return cls(np.geomspace(low / 1.05, high * 1.05, _MOST_BINS + 1), is_log=True)
        room = max(high - low, 0.05 * high) * 0.06
        # Few calls in narrow bins show their chance, not their shape.
        bins = min(_MOST_BINS, max(30, round(4 * calls ** (1 / 3))))
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

    def encoding(self, name: str, *, is_labelled: bool) -> alt.X:
        title = "service time (ms, logarithmic)" if self.is_log else "service time (ms)"
        axis = alt.Axis(
            values=self.ticks(),
            title=title if is_labelled else None,
            labels=is_labelled,
            ticks=is_labelled,
            format=",~f",
        )
        domain = [float(self.edges[0]), float(self.edges[-1])]
        return alt.X(
            f"{name}:Q", axis=axis, scale=alt.Scale(type="log" if self.is_log else "linear", domain=domain, nice=False)
        )

    def shares(self, histogram: Histogram) -> NDArray[np.float64]:
        """Return the share of calls in each bin, shape (bins,)."""
        indices = np.arange(LENGTH)
        middle = (lowest_of(indices) + highest_of(indices)) / 2e3
        used = histogram.counts > 0
        counts, _ = np.histogram(
            np.clip(middle[used], self.edges[0], self.edges[-1]), bins=self.edges, weights=histogram.counts[used]
        )
        return np.asarray(counts / max(1, histogram.total))


def _panel(panel: Panel, scale: _Scale, *, is_last: bool) -> alt.LayerChart | alt.FacetChart:
    shares = [scale.shares(s.histogram) for s in panel.series]
    bars, strips, marks, names = [], [], [], []
    rows = len(panel.series)
    for i, (series, heights) in enumerate(zip(panel.series, shares, strict=True)):
        base = rows - 1 - i
        below, tallest = np.cumsum(heights), float(heights.max())
        for k in np.flatnonzero(heights).tolist():
            low, high = float(scale.edges[k]), float(scale.edges[k + 1])
            place = {"from": round(low, 4), "to": round(high, 4), "base": base}
            tall = max(0.035, 0.84 * float(heights[k]) / tallest)
            bars.append(place | {"top": round(base + tall, 4), "marked": series.is_marked})
            said = f"{series.name}\n{_ms(low)} to {_ms(high)} ms: {_percent(heights[k])} of calls\n"
            strips.append(place | {"top": base + 0.94, "said": f"{said}up to {_ms(high)} ms: {_percent(below[k])}"})
        marks.append(_row_marks(series, base))
        names.append({"name": series.name, "y": base + 0.34, "marked": series.is_marked})

    def x(name: str) -> alt.X:
        return scale.encoding(name, is_labelled=is_last)

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", axis=None, scale=alt.Scale(domain=[0, rows], nice=False))

    colour = alt.condition("datum.marked", alt.value(BLUE), alt.value("#7fb2d6"))
    readable = _chart(strips).mark_rect(opacity=0)
    layers = [
        _chart(bars).mark_rect(aria=False).encode(x=x("from"), x2="to:Q", y=y("base"), y2="top:Q", color=colour),
        _chart(marks)
        .mark_rule(color=_INK, strokeWidth=1.5, aria=False)
        .encode(x=x("median"), y=y("base"), y2="high:Q"),
        _chart([m for m in marks if "p99" in m])
        .mark_point(shape="diamond", size=46, color=VERMILION, filled=True, opacity=1, aria=False)
        .encode(x=x("p99"), y=y("low")),
        readable.encode(x=x("from"), x2="to:Q", y=y("base"), y2="top:Q", description="said:N"),
        _chart(marks)
        .mark_rect(opacity=0)
        .encode(x=alt.value(-112), x2=alt.value(-4), y=y("base"), y2="high:Q", description="said:N"),
        _chart(names)
        .mark_text(align="right", fontSize=12, color=_INK, aria=False)
        .encode(x=alt.value(-10), y=y("y"), text="name:N"),
    ]
    return alt.layer(*layers).properties(width=_WIDTH, height=_ROW * rows, title=_heading(panel.heading))


def _row_marks(series: Series, base: int) -> dict[str, Any]:
    latency = series.latency
    p99 = latency.percentiles.get(99.0)
    said = [f"{series.name}: {latency.count:,} ok calls", f"median {_ms(latency.median * 1000)} ms"]
    said += [f"p99 {_ms(p99.value * 1000)} ms"] if p99 else []
    said += [f"fastest {_ms(latency.minimum * 1000)} ms", f"slowest {_ms(latency.maximum * 1000)} ms"]
    marks = {"base": base, "low": base + 0.12, "high": base + 0.94, "median": latency.median * 1000}
    return marks | {"said": "\n".join(said)} | ({"p99": p99.value * 1000} if p99 else {})


def cost_vs_performance(costs: Sequence[Cost], chosen: int | None, remark: str) -> Chart | None:
    """Draw the cost of a million calls and the average latency against memory; None when there is no cost to draw."""
    if not costs:
        return None
    points = [
        {
            "memory": f"{c.memory_mb} MB",
            "cost": c.per_million,
            "latency": c.billed * 1000,
            "cost_text": "" if c.per_million is None else usd(c.per_million).text,
            "latency_text": milliseconds(c.billed).text,
            "marked": c.memory_mb == chosen,
            "said": "\n".join(
                (
                    f"{c.memory_mb} MB" + (" (recommended)" if c.memory_mb == chosen else ""),
                    f"1M calls: {usd(c.per_million).text} USD" if c.per_million is not None else "price not known",
                    f"average latency: {milliseconds(c.billed).text} ms",
                )
            ),
        }
        for c in costs
    ]
    priced = [p for p in points if p["cost"] is not None]
    panels = [_against_memory(priced, "cost", "cost of 1M calls (USD)", VERMILION, is_last=False)] if priced else []
    panels.append(_against_memory(points, "latency", "average latency (ms)", BLUE, is_last=True))
    how = "Filled: the recommended size. Latency: model latency and overhead of warm calls, which is what is billed."
    return _draw(alt.vconcat(*panels, spacing=18), "Cost and performance against memory", how, remark)


def _against_memory(
    points: list[dict[str, Any]], name: str, title: str, colour: str, *, is_last: bool
) -> alt.LayerChart | alt.FacetChart:
    x = alt.X(
        "memory:N",
        sort=None,
        axis=alt.Axis(title="memory size" if is_last else None, labels=is_last, labelAngle=0, ticks=False, grid=False),
    )
    most = max(p[name] for p in points)
    y = alt.Y(
        f"{name}:Q", title=title, scale=alt.Scale(domain=[0, most * 1.22], nice=False), axis=alt.Axis(tickCount=4)
    )
    base = _chart(points)
    fill = alt.condition("datum.marked", alt.value(colour), alt.value("white"))
    layers = [
        base.mark_line(color=colour, strokeWidth=2, aria=False).encode(x=x, y=y),
        base.mark_point(size=90, strokeWidth=2, opacity=1, stroke=colour, aria=False).encode(x=x, y=y, fill=fill),
        base.mark_text(dy=-15, fontSize=12, color=_INK, aria=False).encode(x=x, y=y, text=f"{name}_text:N"),
        base.mark_bar(opacity=0, width={"band": 1}).encode(
            x=x, y=alt.value(0), y2=alt.value(150), description="said:N"
        ),
    ]
    return alt.layer(*layers).properties(width=_WIDTH, height=150)


def timeline(run: Run, title: str, remark: str) -> Chart | None:
    """Draw the answers per second over the time of a run, by column; None when it has no window."""
    if not run.per_window.size or not run.per_window.any():
        return None
    each = math.ceil(len(run.per_window) / _MOST_BARS)
    starts = np.arange(0, len(run.per_window), each)
    sums = np.add.reduceat(run.per_window, starts, axis=0)
    ends = np.minimum(starts + each, len(run.per_window)) * run.window
    bars, strips = [], []
    rates = sums / (each * run.window)
    for start, end, rate in zip((starts * run.window).tolist(), ends.tolist(), rates.tolist(), strict=True):
        base = 0.0
        for kind, height in zip(_KINDS, rate, strict=True):
            if height:
                bars.append({"from": start, "to": end, "base": base, "top": base + height, "kind": kind})
                base += height
        said = "\n".join(f"{kind}: {number(height).text} a second" for kind, height in zip(_KINDS, rate, strict=True))
        strips.append({"from": start, "to": end, "said": f"{start:g} to {end:g} s\n{said}"})
    x = alt.X(
        "from:Q", title="seconds from the start", axis=alt.Axis(grid=False, tickCount=8), scale=alt.Scale(nice=False)
    )
    y = alt.Y("base:Q", title="answers per second", axis=alt.Axis(tickCount=4))
    legend = alt.Legend(title=None, orient="top", direction="horizontal")
    colour = alt.Color("kind:N", scale=alt.Scale(domain=list(_KINDS), range=list(_KINDS.values())), legend=legend)
    layers = [
        _chart(bars).mark_rect(aria=False).encode(x=x, x2="to:Q", y=y, y2="top:Q", color=colour),
        _chart(strips)
        .mark_rect(opacity=0)
        .encode(x=x, x2="to:Q", y=alt.value(0), y2=alt.value(180), description="said:N"),
    ]
    return _draw(alt.vconcat(alt.layer(*layers).properties(width=_WIDTH, height=180)), title, "", remark)


_KINDS: Mapping[str, str] = {"ok": BLUE, "throttled": ORANGE, "failed": VERMILION}


def _chart(values: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.Data(values=values))  # type: ignore[no-untyped-call]


def _heading(text: str) -> Any:
    return alt.TitleParams(text, anchor="start", fontSize=13, fontWeight="bold", color=_INK, offset=8) if text else ""


def _draw(chart: alt.VConcatChart, title: str, how: str, remark: str) -> Chart:
    """Render a chart with our style; what a copy of the picture must say too goes into its subtitle."""
    said = [line for line in (remark, how) if line]
    head = alt.TitleParams(title, subtitle=said, anchor="start", fontSize=16, offset=16, color=_INK)
    head.subtitleFontSize, head.subtitleColor, head.subtitlePadding = 12, "#52606d", 6
    styled = (
        chart.properties(title=head, background="white", padding=14)
        .configure(font=_FONT)
        .configure_view(stroke=None)
        .configure_axis(
            gridColor=_FAINT,
            domainColor="#9aa5b1",
            tickColor="#9aa5b1",
            labelColor=_INK,
            titleColor="#52606d",
            titleFontWeight="normal",
            labelFontSize=12,
            titleFontSize=12,
            titlePadding=10,
        )
        .configure_legend(labelFontSize=12, labelColor=_INK)
    )
    svg: str = vl_convert.vegalite_to_svg(styled.to_dict())
    return Chart(title, _NAMESPACES.sub("", svg))


# A page needs no namespaces for its SVG; without them it holds no address at all.
_NAMESPACES = re.compile(r' xmlns(?::\w+)?="[^"]*"')


def _ms(milliseconds_: float) -> str:
    return number(milliseconds_).text


def _percent(share: float) -> str:
    percent = 100 * float(share)
    return f"{percent:.0f} %" if percent > 99.995 else f"{percent:.2f} %" if percent < 10 else f"{percent:.1f} %"
