"""The HTML page: self-contained, escaped, and honest about what it shows."""

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest

from loadgen.analysis.slo import Slo
from loadgen.report.content.provenance import watermark_text
from loadgen.report.formats.html_page import render_page
from tests.support import example_runs
from tests.support.report_examples import (
    NAUGHTY,
    PageParser,
    analyze_runs,
    edge_runs,
    hostile_analysis,
    manifest,
    small_benchmark,
)

LINKING = {
    "src",
    "href",
    "xlink:href",
    "action",
    "formaction",
    "data",
    "poster",
    "srcset",
    "background",
    "ping",
    "cite",
}


@pytest.fixture(scope="module")
def benchmark():
    """The page of a whole benchmark on the emulator."""
    return render_page(manifest(), analyze_runs(*small_benchmark()))


@pytest.fixture(scope="module")
def benign():
    """The elements of a page with harmless text instead of hostile text."""
    return PageParser(render_page(*hostile_analysis("word"))).names()


def text_of(html):
    """Return the visible text of a page."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(" ".join(PageParser(body).text).split())


def is_outside(tag, name, value):
    return name in LINKING and not (value or "").startswith("#")


def ascii_of(text):
    """Return the characters of a text that escaping must preserve."""
    return "".join(c for c in text if c.isascii() and c.isprintable() and c != " ")


@pytest.mark.parametrize("text", NAUGHTY)
def test_hostile_text_is_escaped(benign, text):
    """Text from outside is readable and adds no element, event handler or address."""
    html = render_page(*hostile_analysis(text))
    elements = PageParser(html)
    assert elements.names() == benign
    for tag, attributes in elements.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not [name for name, value in attributes.items() if is_outside(tag, name, value)], tag
    assert ascii_of(text)[:200] in ascii_of(text_of(html))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)


def test_the_page_needs_no_network(benchmark):
    """No attribute has an external address, and the style has no import or url()."""
    elements = PageParser(benchmark).elements
    assert not [
        (tag, attributes) for tag, attributes in elements for n, v in attributes.items() if is_outside(tag, n, v)
    ]
    assert not {"link", "iframe", "img", "object", "embed", "base", "form"} & set(PageParser(benchmark).names())
    style = re.search(r"<style>(.*?)</style>", benchmark, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert "://" not in re.sub(r"Prices: .*?</li>", "", benchmark)  # sources of prices are named, not linked


def test_the_policy_allows_only_this_style_and_script(benchmark):
    """The Content-Security-Policy allows the page's style and script by hash, and nothing else."""
    policy = next(
        a["content"] for tag, a in PageParser(benchmark).elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for name in ("style", "script"):
        (inline,) = re.findall(rf"<{name}>(.*?)</{name}>", benchmark, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert not [a for _, a in PageParser(benchmark).elements if "style" in a]


def test_the_page_is_small(benchmark):
    """With all charts the page is below 300 KB, independent of the number of calls."""
    assert len(benchmark.encode()) < 300_000
    many = replace(example_runs.stability_run(2048, 200), samples=example_runs.stability_run(2048, 1).samples)
    for histogram in many.tally.service.values():
        histogram.counts *= 1_000_000
        histogram.total *= 1_000_000
    assert len(render_page(manifest(), analyze_runs(example_runs.without_samples(many))).encode()) < 150_000


@pytest.mark.parametrize("runs", [small_benchmark, edge_runs])
def test_the_page_is_deterministic(runs):
    """The same runs give the same page, byte for byte."""
    assert render_page(manifest(), analyze_runs(*runs())) == render_page(manifest(), analyze_runs(*runs()))


def test_the_verdict_comes_before_every_number(benchmark):
    """VALID or INVALID is above every latency, cost and recommendation."""
    names = [
        benchmark.index(f'id="{name}"') for name in ("verdict", "recommendation", "stability", "cost", "concurrency")
    ]
    assert names == sorted(names)
    assert not re.search(r"\d ms|USD", text_of(benchmark)[: text_of(benchmark).index("VALID")])


def test_an_invalid_run_has_reasons():
    """Reasons with limit and remedy are shown, and the recommendation has a warning."""
    text = text_of(render_page(manifest(), analyze_runs(*example_runs.stability_runs(30)[1:], example_runs.starved())))
    assert text.index("INVALID") < text.index("Recommendation")
    assert "Limit" in text
    assert "do not rely on it" in text


def test_charts_carry_the_watermark():
    """A chart states that it is from an emulator, and that its run is INVALID."""
    analysis = analyze_runs(example_runs.starved())
    assert "EMULATOR" in watermark_text(manifest(), analysis)
    assert "INVALID" in watermark_text(manifest("aws"), analysis)
    assert watermark_text(manifest("aws"), analyze_runs(example_runs.stability_run(2048, 5))) == ""


@pytest.mark.parametrize(
    ("kind", "mark"),
    [("emulator", "EMULATOR"), ("custom-endpoint", "CUSTOM ENDPOINT"), ("null", "NO TARGET"), ("novel", "NOT AWS")],
)
def test_other_targets_than_aws_are_marked(kind, mark):
    """Banner, watermark and title show that the numbers are not from AWS."""
    html = render_page(manifest(kind), analyze_runs(example_runs.stability_run(2048, 5)))
    assert f'<div class="watermark" aria-hidden="true"><span>{mark}</span></div>' in html
    assert re.search(rf"<title>[^<]*{mark}</title>", html)
    assert 'class="banner"' in html


def test_aws_is_not_watermarked():
    """A run on AWS has no watermark and names account and region."""
    html = render_page(manifest("aws"), analyze_runs(example_runs.stability_run(2048, 5)))
    assert 'class="watermark"' not in html
    assert "AWS, account 123456789012, us-east-1" in text_of(html)


def test_unknown_values_are_dashes():
    """Without samples, deployment, metrics or prices the page never shows NaN, None, inf or 0 ms."""
    text = text_of(render_page(manifest(), analyze_runs(*edge_runs(), region="mars-1")))
    assert not re.search(r"\b(NaN|nan|inf|Infinity|None)\b|(?<![\d.,])0 ms", text)
    assert "unavailable: AccessDenied" in text
    assert "CannotStartContainerError" in text
    assert "unknown" in text


def test_a_directory_without_runs_renders():
    """An output directory without runs has a page."""
    assert "VALID" in text_of(render_page(manifest(), analyze_runs()))


@pytest.mark.parametrize(
    "make", [example_runs.zero_samples, example_runs.failed_deploy, example_runs.all_failed, example_runs.one_sample]
)
def test_each_unusual_run_renders(make):
    """Each unusual run renders alone, with a dash for every missing value."""
    text = text_of(render_page(manifest(), analyze_runs(make())))
    assert "–" in text


def test_footnotes_name_the_calls_a_percentile_needs():
    """A percentile with too few calls is a dash, and a footnote names the number it needs."""
    text = text_of(render_page(manifest(), analyze_runs(example_runs.stability_run(2048, 200))))
    assert "p99 needs 368 ok calls" in text
    text = text_of(render_page(manifest(), analyze_runs(example_runs.stability_run(2048, 368))))
    assert "p99 needs" not in text
    assert "p99.9 needs 3,688 ok calls" in text


def test_the_throttle_percentage_is_qualified(benchmark):
    """The throttle percentage has a note on the backoff, and throttles per second are shown beside it."""
    text = text_of(benchmark)
    assert "* depends on the backoff: a throttled client waited 0.1 s" in text
    assert "Throttled/s" in text


def test_slos_come_before_the_recommendation():
    """A violated SLO is shown above the recommendation, with the observed value."""
    slos = [Slo("service_p50", at_most=0.01), Slo("failure_share", at_most=0.5)]
    text = text_of(render_page(manifest(), analyze_runs(example_runs.stability_run(2048, 40), slos=slos)))
    assert text.index("SLOs not met") < text.index("Recommendation")
    assert "1 of 2 SLO checks not met" in text


def test_the_page_names_command_seed_and_versions(benchmark):
    """The page shows the command, the seed and every version."""
    text = text_of(benchmark)
    assert "python -m loadgen scenarios/quickstart.py" in text
    assert "seed of the payload choice 7" in text
    assert "version of python 3.11.7" in text


def test_every_readable_mark_has_its_values(benchmark):
    """The tooltips of a row's bars have shares that add up to 100 %."""
    labels = [
        a["aria-label"] for tag, a in PageParser(benchmark).elements if a.get("aria-roledescription") == "rect mark"
    ]
    shares = {}
    for label in labels:
        found = re.fullmatch(r"(.+)\n[\d,.]+ to [\d,.]+ ms: ([\d.]+) % of calls\nup to [\d,.]+ ms: ([\d.]+) %", label)
        if found:
            shares.setdefault(found[1], []).append((float(found[2]), float(found[3])))
    sizes = {name: values for name, values in shares.items() if name.endswith("MB")}
    assert len(sizes) == 6
    for values in sizes.values():
        assert sum(share for share, _ in values) == pytest.approx(
            100, abs=0.05 * len(values)
        )  # printed with at least one decimal
        assert values[-1][1] == 100


def test_settings_are_flattened():
    """Nested settings are shown with dotted names, lists as JSON."""
    text = text_of(
        render_page(
            manifest(settings={"a": {"b": [1, 2]}, "c": None}), analyze_runs(example_runs.stability_run(2048, 5))
        )
    )
    assert f"a.b {json.dumps([1, 2])}" in text


def test_rows_are_sorted_by_size():
    """Sizes are ascending in tables and charts, independent of the order of execution."""
    backwards = render_page(manifest(), analyze_runs(*reversed(small_benchmark())))
    text = text_of(backwards)
    sizes = [text.index(f"{size} MB", text.index("Outcome breakdown")) for size in (1024, 2048, 3072, 4096, 5120, 6144)]
    assert sizes == sorted(sizes)
    drawn = [backwards.index(f"{size} MB: 60 ok calls") for size in (1024, 2048, 6144)]
    assert drawn == sorted(drawn)
