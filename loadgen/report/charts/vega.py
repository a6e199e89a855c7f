"""Drawing: a Vega-Lite description becomes an SVG for the page and a PNG for a folder; only this file knows vl_convert.

Vega draws here, offline, so that the page needs no charting library: every mark that can be read off carries its
values in words as its description, which the page shows on hover and a screen reader says. Descriptions are plain
data: building them through Altair took a second for a report and drew the same (measured 2026-11). What is drawn is
distribution.py's and trends.py's.
"""

import re
from dataclasses import dataclass
from typing import Any

import vl_convert

Spec = dict[str, Any]
# Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008): told apart with any kind of colour blindness.
BLUE, ORANGE, VERMILION = "#0072b2", "#e69f00", "#d55e00"
PALE_BLUE, INK, MUTED_INK = "#7fb2d6", "#1f2933", "#52606d"
WIDTH = 640  # pixels of the plot
_AXIS_COLOR, _GRID_COLOR = "#9aa5b1", "#e4e7eb"
# Fonts of the same widths, so that what is measured here fits there.
_VEGA_CONFIG: Spec = {
    "font": "Helvetica, Arial, 'Liberation Sans', sans-serif",
    "view": {"stroke": None},
    "axis": {
        "gridColor": _GRID_COLOR,
        "domainColor": _AXIS_COLOR,
        "tickColor": _AXIS_COLOR,
        "labelColor": INK,
        "titleColor": MUTED_INK,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titlePadding": 10,
    },
    "legend": {"labelFontSize": 12, "labelColor": INK},
}


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
        namespaced = self.svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
        picture: bytes = vl_convert.svg_to_png(namespaced, scale=2)
        return picture


def mark(kind: str, values: list[Spec], encoding: Spec, **style: Any) -> Spec:
    """Describe marks of one kind, one for each value; silent to a screen reader unless they have a description."""
    is_read = "description" in encoding
    return {"data": {"values": values}, "mark": {"type": kind, "aria": is_read, **style}, "encoding": encoding}


def quantitative(name: str, **more: Any) -> Spec:
    """Place by a figure."""
    return {"field": name, "type": "quantitative", **more}


def fixed_pixel(value: float) -> Spec:
    """Place at a fixed pixel of the plot."""
    return {"value": value}


# What a mark says of itself; the page reads it back.
TOOLTIP: Spec = {"field": "said", "type": "nominal"}


def render_vega(views: list[Spec], title: str, explanation: str, watermark: str, *, spacing: int = 18) -> Chart:
    """Draw views below each other.

    Args:
        views: each with its size and its layers.
        title: of the whole.
        explanation: how to read it.
        watermark: what a copy of the picture must say too, such as that it is from an emulator; may be empty.
        spacing: pixels between views.
    """
    head = {
        "text": title,
        "subtitle": [line for line in (watermark, explanation) if line],
        "anchor": "start",
        "fontSize": 16,
        "color": INK,
        "offset": 16,
        "subtitleFontSize": 12,
        "subtitleColor": MUTED_INK,
        "subtitlePadding": 6,
    }
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "title": head,
        "background": "white",
        "padding": 14,
        "vconcat": views,
        "spacing": spacing,
        "config": _VEGA_CONFIG,
    }
    svg: str = vl_convert.vegalite_to_svg(spec)
    return Chart(title, _NAMESPACES.sub("", svg))


# A page needs no namespaces for its SVG; without them it holds no address at all.
_NAMESPACES = re.compile(r' xmlns(?::\w+)?="[^"]*"')
