"""The page: one file that stands on its own, whatever it was fed with."""

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
    """The page that the hostile ones are compared with: the same analysis with a harmless word."""
    return PageParser(render_page(*hostile_analysis("word"))).names()


def text_of(html):
    """Return what a reader sees: without style, script, and what only a pointer shows."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(" ".join(PageParser(body).text).split())


def is_outside(tag, name, value):
    return name in LINKING and not (value or "").startswith("#")


def ascii_of(text):
    """The part of a text that nothing may take away or change."""
    return "".join(c for c in text if c.isascii() and c.isprintable() and c != " ")


@pytest.mark.parametrize("text", NAUGHTY)
def test_hostile_text_is_only_text(benign, text):
    """Promise: what comes from outside can be read, and is only text: no element, no handler, no address more than a word makes."""
    html = render_page(*hostile_analysis(text))
    elements = PageParser(html)
    assert elements.names() == benign
    for tag, attributes in elements.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not [name for name, value in attributes.items() if is_outside(tag, name, value)], tag
    assert ascii_of(text)[:200] in ascii_of(text_of(html))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)


def test_page_refers_to_nothing_outside(benchmark):
    """Promise: the file needs no network: no address in any attribute, no import or url() in its style."""
    elements = PageParser(benchmark).elements
    assert not [
        (tag, attributes) for tag, attributes in elements for n, v in attributes.items() if is_outside(tag, n, v)
    ]
    assert not {"link", "iframe", "img", "object", "embed", "base", "form"} & set(PageParser(benchmark).names())
    style = re.search(r"<style>(.*?)</style>", benchmark, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert "://" not in re.sub(r"Prices: .*?</li>", "", benchmark)  # sources of prices are named, not linked


def test_policy_allows_only_what_is_there(benchmark):
    """Promise: the policy in the page forbids everything but this style and this script, told by their hashes."""
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


def test_page_is_small(benchmark):
    """Promise: a report can be sent by mail: with all charts it stays below 300 KB, however many calls were made."""
    assert len(benchmark.encode()) < 300_000
    many = replace(example_runs.stability_run(2048, 200), samples=example_runs.stability_run(2048, 1).samples)
    for histogram in many.tally.service.values():
        histogram.counts *= 1_000_000
        histogram.total *= 1_000_000
    assert len(render_page(manifest(), analyze_runs(example_runs.without_samples(many))).encode()) < 150_000


@pytest.mark.parametrize("runs", [small_benchmark, edge_runs])
def test_same_runs_same_bytes(runs):
    """Promise: a report made again from the same runs is the same, byte for byte."""
    assert render_page(manifest(), analyze_runs(*runs())) == render_page(manifest(), analyze_runs(*runs()))


def test_verdict_comes_before_every_number(benchmark):
    """Promise: VALID or INVALID is read before any latency, cost or recommendation."""
    names = [
        benchmark.index(f'id="{name}"') for name in ("verdict", "recommendation", "stability", "cost", "concurrency")
    ]
    assert names == sorted(names)
    assert not re.search(r"\d ms|USD", text_of(benchmark)[: text_of(benchmark).index("VALID")])


def test_an_invalid_run_says_why_and_what_to_do():
    """Promise: a generator that was the bottleneck is told with figure, bound and advice, and its choice is doubted."""
    told = text_of(render_page(manifest(), analyze_runs(*example_runs.stability_runs(30)[1:], example_runs.starved())))
    assert told.index("INVALID") < told.index("Recommendation")
    assert "Limit" in told
    assert "do not rely on it" in told


def test_charts_of_an_invalid_run_say_so():
    """Promise: a picture that is taken out of the report still says that it is an emulator's, and that its run is INVALID."""
    analysis = analyze_runs(example_runs.starved())
    assert "EMULATOR" in watermark_text(manifest(), analysis)
    assert "INVALID" in watermark_text(manifest("aws"), analysis)
    assert watermark_text(manifest("aws"), analyze_runs(example_runs.stability_run(2048, 5))) == ""


@pytest.mark.parametrize(
    ("kind", "mark"),
    [("emulator", "EMULATOR"), ("custom-endpoint", "CUSTOM ENDPOINT"), ("null", "NO TARGET"), ("novel", "NOT AWS")],
)
def test_what_is_not_aws_is_marked(kind, mark):
    """Promise: numbers that were not measured on AWS can never be mistaken for AWS's: banner, watermark and title say so."""
    html = render_page(manifest(kind), analyze_runs(example_runs.stability_run(2048, 5)))
    assert f'<div class="watermark" aria-hidden="true"><span>{mark}</span></div>' in html
    assert re.search(rf"<title>[^<]*{mark}</title>", html)
    assert 'class="banner"' in html


def test_aws_is_not_marked():
    """Promise: a run on AWS has no watermark, and names its account and region."""
    html = render_page(manifest("aws"), analyze_runs(example_runs.stability_run(2048, 5)))
    assert 'class="watermark"' not in html
    assert "AWS, account 123456789012, us-east-1" in text_of(html)


def test_what_cannot_be_known_is_a_dash():
    """Promise: no sample, one sample, no deploy, no metric, no price: the page renders, and never says NaN, None, inf or 0 ms."""
    told = text_of(render_page(manifest(), analyze_runs(*edge_runs(), region="mars-1")))
    assert not re.search(r"\b(NaN|nan|inf|Infinity|None)\b|(?<![\d.,])0 ms", told)
    assert "unavailable: AccessDenied" in told
    assert "CannotStartContainerError" in told
    assert "unknown" in told


def test_nothing_at_all_renders():
    """Promise: a directory in which no run was finished still gives a page."""
    assert "VALID" in text_of(render_page(manifest(), analyze_runs()))


@pytest.mark.parametrize(
    "make", [example_runs.zero_samples, example_runs.failed_deploy, example_runs.all_failed, example_runs.one_sample]
)
def test_a_single_odd_run_renders(make):
    """Promise: each odd run renders alone, with a dash where it has no figure."""
    told = text_of(render_page(manifest(), analyze_runs(make())))
    assert "–" in told


def test_a_small_sample_says_how_many_calls_it_needs():
    """Promise: a percentile that 200 calls cannot carry is a dash, and the footnote says from how many on there is one."""
    told = text_of(render_page(manifest(), analyze_runs(example_runs.stability_run(2048, 200))))
    assert "p99 needs 368 ok calls" in told
    told = text_of(render_page(manifest(), analyze_runs(example_runs.stability_run(2048, 368))))
    assert "p99 needs" not in told
    assert "p99.9 needs 3,688 ok calls" in told


def test_share_of_throttles_is_never_alone(benchmark):
    """Promise: the share of throttles is marked as depending on the backoff, and throttles per second stand beside it."""
    told = text_of(benchmark)
    assert "* depends on the backoff: a throttled client waited 0.1 s" in told
    assert "Throttled/s" in told


def test_promises_are_told_before_the_recommendation():
    """Promise: a broken promise is read at the top, with what was seen."""
    slos = [Slo("service_p50", at_most=0.01), Slo("failure_share", at_most=0.5)]
    told = text_of(render_page(manifest(), analyze_runs(example_runs.stability_run(2048, 40), slos=slos)))
    assert told.index("SLOs not met") < told.index("Recommendation")
    assert "1 of 2 SLO checks not met" in told


def test_how_to_run_it_again(benchmark):
    """Promise: the command, the seed and every version stand in the page."""
    told = text_of(benchmark)
    assert "python -m loadgen scenarios/quickstart.py" in told
    assert "seed of the payload choice 7" in told
    assert "version of python 3.11.7" in told


def test_every_readable_mark_says_its_values(benchmark):
    """Promise: hovering any bar or point tells its values, all shares of a row together being 100 %."""
    said = [
        a["aria-label"] for tag, a in PageParser(benchmark).elements if a.get("aria-roledescription") == "rect mark"
    ]
    shares = {}
    for label in said:
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


def test_settings_are_readable_json():
    """Promise: nested settings are shown flat, lists as JSON."""
    told = text_of(
        render_page(
            manifest(settings={"a": {"b": [1, 2]}, "c": None}), analyze_runs(example_runs.stability_run(2048, 5))
        )
    )
    assert f"a.b {json.dumps([1, 2])}" in told


def test_rows_are_in_reading_order():
    """Promise: sizes stand in ascending order whatever order they were measured in, in tables, files and charts."""
    backwards = render_page(manifest(), analyze_runs(*reversed(small_benchmark())))
    told = text_of(backwards)
    sizes = [told.index(f"{size} MB", told.index("Outcome breakdown")) for size in (1024, 2048, 3072, 4096, 5120, 6144)]
    assert sizes == sorted(sizes)
    drawn = [backwards.index(f"{size} MB: 60 ok calls") for size in (1024, 2048, 6144)]
    assert drawn == sorted(drawn)
