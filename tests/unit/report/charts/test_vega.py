"""Charts: valid specifications, deterministic images, and values that match the samples."""

import struct
import zlib

import altair as alt
import numpy as np
import pytest

import loadgen.report.charts.vega
from loadgen.measurement.histogram import Histogram
from loadgen.measurement.outcome import OutcomeCategory
from loadgen.report.charts.distribution import LatencyScale
from loadgen.report.charts.selection import build_charts
from loadgen.report.charts.trends import timeline
from loadgen.report.writer import write_report_files
from tests.support import example_runs
from tests.support.report_examples import analyze_runs, edge_runs, manifest, small_benchmark


def png_of(data):
    """Return (width, height, rows of bytes) of a PNG, every checksum and the length of its pixels checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, pixels, size = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
            assert body[8:10] == b"\x08\x06"  # 8 bits, RGBA
        pixels += body if kind == b"IDAT" else b""
        at += 12 + length
    raw = zlib.decompress(pixels)
    assert len(raw) == size[1] * (size[0] * 4 + 1)
    return *size, raw


def test_pngs_are_valid_and_not_blank(tmp_path):
    """Each PNG is complete, between 1000 and 2400 pixels wide, and not blank."""
    write_report_files(tmp_path, manifest(), analyze_runs(*small_benchmark(), example_runs.open_loop(20, 5)))
    images = list(tmp_path.rglob("*.png"))
    assert len(images) == 5
    for image in images:
        width, height, raw = png_of(image.read_bytes())
        assert 1000 <= width <= 2400
        assert 200 <= height <= 4000
        assert len(set(raw[::97])) > 10, image


def test_charts_are_deterministic():
    """The same analysis gives the same bytes, as SVG and as PNG."""
    first, second = (build_charts(manifest(), analyze_runs(*small_benchmark(30))) for _ in range(2))
    assert first == second
    assert first.cost.png() == second.cost.png()


def test_specifications_follow_the_schema(monkeypatch):
    """Every chart is valid Vega-Lite according to its schema."""
    specs = []
    real = loadgen.report.charts.vega.vl_convert.vegalite_to_svg

    class Recorder:
        """Keeps the rendered specifications."""

        vegalite_to_svg = staticmethod(lambda spec: specs.append(spec) or real(spec))

    monkeypatch.setattr(loadgen.report.charts.vega, "vl_convert", Recorder)
    build_charts(manifest(), analyze_runs(*small_benchmark(10), *edge_runs()))
    assert len(specs) == 6
    for spec in specs:
        alt.VConcatChart.from_dict(spec, validate=True)


@pytest.mark.parametrize(
    ("low", "high", "calls"), [(0.08, 0.13, 200), (0.08, 7.0, 10), (0.1, 0.1, 1), (1e-6, 300.0, 10**6)]
)
def test_every_call_is_in_a_bin(low, high, calls):
    """The shares of a row add up to one and its ticks are on the axis, for any range."""
    rng = np.random.default_rng(calls)
    latencies = np.concatenate(([low, high], rng.uniform(low, high, min(calls, 10_000))))
    histogram = Histogram()
    histogram.record_values(latencies)
    scale = LatencyScale.from_range(low, high, calls)
    assert scale.shares(histogram).sum() == pytest.approx(1)
    ticks = scale.ticks()
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 40
    assert scale.edges[0] <= ticks[0]
    assert ticks[-1] <= scale.edges[-1]


def test_bin_shares_equal_the_samples_share():
    """The share of a bin is that of the samples within its edges."""
    run = example_runs.stability_run(2048, 500)
    latencies = (run.samples["done"] - run.samples["sent"]) * 1000
    scale = LatencyScale.from_range(latencies.min() / 1000, latencies.max() / 1000, 500)
    shares = scale.shares(run.tally.service[OutcomeCategory.OK])
    for share, low, high in zip(shares, scale.edges, scale.edges[1:], strict=False):
        slack = 0.002 * high  # a histogram's bucket may lie across an edge
        least = np.count_nonzero((latencies >= low + slack) & (latencies < high - slack)) / 500
        most = np.count_nonzero((latencies >= low - slack) & (latencies < high + slack)) / 500
        assert least <= share <= most


@pytest.mark.parametrize("duration", [5, 400])
def test_the_timeline_covers_the_whole_run(duration):
    """A short and a long run are drawn from the first to the last second, in at most 160 bars."""
    chart = timeline(example_runs.open_loop(5, duration), "time", "")
    strips = [part for part in chart.svg.split("aria-label=") if "ok: " in part.split(">")[0]]
    assert duration / 3 <= len(strips) <= 160
    last = strips[-1].split(" s")[0].split(" to ")[1]
    assert float(last) >= duration


def test_runs_without_responses_have_no_chart():
    """Runs without responses have no charts."""
    drawn = build_charts(manifest(), analyze_runs(example_runs.failed_deploy(), example_runs.zero_samples()))
    assert (drawn.stability, drawn.concurrency, drawn.cost, drawn.steps, drawn.timelines) == (
        None,
        None,
        None,
        None,
        (),
    )
