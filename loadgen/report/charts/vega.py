"""Rendering of Vega-Lite specifications to SVG and PNG; the only file that imports vl_convert.

Rendering is offline, so the page needs no charting library: each readable mark has a description with its values, which
the page shows on hover and screen readers read. Specifications are plain dicts: building them with Altair took one
second per report and gave the same chart (measured 2026-11).
"""

import re
from dataclasses import dataclass
from typing import Any

import vl_convert

Spec = dict[str, Any]
# Source: palette of Okabe and Ito (jfly.uni-koeln.de/color, 2008), distinct with any kind of color blindness.
BLUE, ORANGE, VERMILION = "#0072b2", "#e69f00", "#d55e00"
PALE_BLUE, INK, MUTED_INK = "#7fb2d6", "#1f2933", "#52606d"
WIDTH = 640  # pixels of the plot
_AXIS_COLOR, _GRID_COLOR = "#9aa5b1", "#e4e7eb"
# Fonts with equal metrics, so that text measured here fits in the reader's browser.
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
    """A rendered chart.

    Args:
        title: title.
        svg: SVG for the page, without external references.
    """

    title: str
    svg: str

    def png(self) -> bytes:
        """Return the chart as a PNG at twice the screen resolution."""
        namespaced = self.svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
        image: bytes = vl_convert.svg_to_png(namespaced, scale=2)
        return image


def mark(kind: str, values: list[Spec], encoding: Spec, **style: Any) -> Spec:
    """Return a layer of marks, one per value; hidden from screen readers unless it encodes a description."""
    is_readable = "description" in encoding
    return {"data": {"values": values}, "mark": {"type": kind, "aria": is_readable, **style}, "encoding": encoding}


def quantitative(name: str, **more: Any) -> Spec:
    """Return the encoding of a quantitative field."""
    return {"field": name, "type": "quantitative", **more}


def fixed_pixel(value: float) -> Spec:
    """Return the encoding of a fixed pixel position."""
    return {"value": value}


# The description of a mark, which the page shows on hover.
TOOLTIP: Spec = {"field": "tooltip", "type": "nominal"}


def render_vega(views: list[Spec], title: str, explanation: str, watermark: str, *, spacing: int = 18) -> Chart:
    """Render views below each other.

    Args:
        views: each with its size and layers.
        title: title of the chart.
        explanation: how to read the chart.
        watermark: text that copies of the chart must show, such as that it is from an emulator; may be empty.
        spacing: pixels between views.
    """
    heading = {
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
        "title": heading,
        "background": "white",
        "padding": 14,
        "vconcat": views,
        "spacing": spacing,
        "config": _VEGA_CONFIG,
    }
    svg: str = vl_convert.vegalite_to_svg(spec)
    return Chart(title, _NAMESPACES.sub("", svg))


# Inline SVG needs no namespaces; without them the page contains no URL.
_NAMESPACES = re.compile(r' xmlns(?::\w+)?="[^"]*"')
