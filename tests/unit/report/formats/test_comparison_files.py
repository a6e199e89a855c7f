"""The files of a comparison: JSON, Markdown, JUnit and the page say the same, and show hostile texts as texts."""

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from loadgen.comparison.comparison import compare
from loadgen.comparison.gate import parse_gate
from loadgen.comparison.verdict import Margins
from loadgen.report.comparison_writer import write_comparison
from loadgen.report.content.comparison import comparison_headline
from loadgen.report.formats.comparison_files import comparison_json, comparison_junit, comparison_markdown
from loadgen.report.formats.comparison_page import render_comparison
from tests.support.compared_runs import interleaved, measured, measurement, run_of_latencies
from tests.support.report_examples import NAUGHTY, PageParser


def latencies(count, seed, factor=1.0):
    """Return independent latencies with a median of 100 ms times a factor."""
    return 0.1 * factor * np.exp(0.1 * np.random.default_rng(seed).standard_normal(count))


def compared(factor, *, count=2000, gates=(), **options):
    """Return a comparison with a model that is slower by a factor."""
    sides = (measured("base", latencies(count, 1)), measured("new", latencies(count, 2, factor)))
    return compare(*sides, margins=Margins(), gates=[parse_gate(text) for text in gates], **options)


@pytest.fixture(scope="module")
def slower():
    """A comparison with a model that is 10 % slower."""
    return compared(1.1, gates=["p95 > 5 %", "failed > 1 %"])


def test_the_json_has_a_version_and_every_metric(slower):
    """comparison.json has a format number, the exit status, and each metric with its change, interval and verdict."""
    found = json.loads(comparison_json(slower))
    metrics = {one["metric"]: one for one in found["steps"][0]["metrics"]}

    assert (found["format"], found["answer"], found["exit"]) == (1, "worse", {"code": 99, "name": "THRESHOLD"})
    assert len(metrics) == 9
    assert metrics["p95"]["verdict"] == "worse"
    assert metrics["p95"]["low"] < metrics["p95"]["change"] < metrics["p95"]["high"]
    assert metrics["p95"]["new"]["value"] / metrics["p95"]["base"]["value"] - 1 == pytest.approx(
        metrics["p95"]["change"], abs=0.02
    )
    assert [gate["result"] for gate in found["gates"]] == ["exceeded", "passed"]


def junit_cases(comparison):
    """Return the child (failure, error, skipped or none) of each test case by name."""
    cases = {}
    for case in ET.fromstring(comparison_junit(comparison)).iter("testcase"):
        kinds = [child for child in case if child.tag != "properties"]
        cases[case.get("name")] = kinds[0] if kinds else None
    return cases


def test_a_worse_metric_is_a_failure_with_observed_limit_and_interval(slower):
    """The failure of a gate states the change, its interval and the rule; a metric that is the same has no child."""
    cases = junit_cases(slower)
    change = next(one.difference for one in slower.steps[0].metrics if one.difference.metric.name == "p95")

    assert cases["p95"].tag == "failure"
    assert f"{100 * change.change:+.1f} %" in cases["p95"].get("message")
    assert f"{100 * change.low:+.1f} to {100 * change.high:+.1f} %" in cases["p95"].get("message")
    assert "limit: p95 > 5 %" in cases["p95"].get("message")
    assert cases["failed"] is None


def test_the_counts_of_junit_are_those_of_its_cases(slower):
    """The attributes tests, failures, errors and skipped equal the number of such cases."""
    suite = ET.fromstring(comparison_junit(slower)).find("testsuite")
    counted = {kind: len(suite.findall(f"testcase/{kind}")) for kind in ("failure", "error", "skipped")}

    assert int(suite.get("tests")) == len(suite.findall("testcase")) == 9
    assert {
        "failure": int(suite.get("failures")),
        "error": int(suite.get("errors")),
        "skipped": int(suite.get("skipped")),
    } == counted


def test_what_cannot_be_told_is_skipped():
    """60 calls tell nothing: every case is skipped and says why; with strict, those that gate are failures."""
    cases = junit_cases(compared(1.0, count=60))
    strict = junit_cases(compared(1.0, count=60, is_strict=True))

    assert {case.tag for case in cases.values()} == {"skipped"}
    assert "needs 200 ok calls" in cases["p50"].get("message")
    assert (strict["p50"].tag, strict["mean"].tag) == ("failure", "skipped")


def test_an_invalid_side_is_an_error():
    """An INVALID run is one error of type INVALID with its reason, and the page has no verdict on metrics."""
    broken = measurement("new", run_of_latencies(latencies(300, 2), failed=np.ones(300, bool)))
    found = compare(measured("base", latencies(300, 1)), broken, margins=Margins())
    case = junit_cases(found)["verdict"]

    assert (case.tag, case.get("type")) == ("error", "INVALID")
    assert "NEW is INVALID" in case.get("message")
    assert json.loads(comparison_json(found))["exit"]["code"] == 110
    assert comparison_headline(found).title == "INVALID"
    assert "<h2>INVALID</h2>" in render_comparison(found)


def test_a_gate_without_a_value_is_a_failure():
    """A rule on a metric that no step has is a failed case of its own."""
    found = compared(1.0, count=300, gates=["p99 > 5 %"])
    suites = ET.fromstring(comparison_junit(found)).findall("testsuite[@name='gates']/testcase/failure")

    assert len(suites) == 1
    assert comparison_headline(found).title == "NOT EVALUATED"


@pytest.mark.parametrize(
    ("factor", "gates", "title"),
    [
        (1.0, ["p50 > 5 %"], "THE SAME"),
        (1.1, ["p50 > 5 %"], "WORSE"),
        (0.9, ["p50 > 5 %"], "BETTER"),
        (1.1, ["p50 > 30 %"], "WITHIN THE LIMITS"),
    ],
)
def test_the_answer_comes_first(factor, gates, title):
    """The headline of page and Markdown is the answer, before any number."""
    found = compared(factor, gates=gates)
    page = PageParser(render_comparison(found))
    texts = [text.strip() for text in page.text if text.strip()]

    assert comparison_headline(found).title == title
    assert texts.index(title) < texts.index("Metrics")
    assert comparison_markdown(found).startswith(f"## {title}: new against base")


def test_the_page_shows_both_distributions(slower):
    """The page has one chart with bars of BASE and of NEW, and says that the runs were not interleaved."""
    page = render_comparison(slower)

    assert page.count("<svg") == 1
    assert "BASE: " in page
    assert "NEW: " in page
    assert "Not interleaved" in page


def test_an_interleaved_comparison_says_so():
    """Page and Markdown of an interleaved run say that it was interleaved."""
    both = interleaved(latencies(1200, 1), latencies(1200, 2), 12)
    found = compare(both, both, margins=Margins())

    assert "Interleaved: both were called in alternating blocks" in render_comparison(found)
    assert "(interleaved)" in comparison_markdown(found)


@pytest.mark.parametrize("text", NAUGHTY)
def test_hostile_names_are_texts(text):
    """Names of runs and steps add no element to the page, no tag to Markdown, and no broken character to the XML."""
    sides = [measurement(text, run_of_latencies(latencies(250, seed), text or "x")) for seed in (1, 2)]
    found = compare(*sides, margins=Margins())
    plain = compare(
        *(measurement("a", run_of_latencies(latencies(250, seed), "x")) for seed in (1, 2)), margins=Margins()
    )

    assert PageParser(render_comparison(found)).names() == PageParser(render_comparison(plain)).names()
    assert "<" not in comparison_markdown(found).replace("<0.0001", "")
    ET.fromstring(comparison_junit(found))
    json.loads(comparison_json(found))


def test_the_step_summary_is_appended(tmp_path, slower):
    """The Markdown is written beside the page, and appended to the step summary of a CI job."""
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    page = write_comparison(tmp_path / "out", slower, step_summary=str(summary))

    assert sorted(path.name for path in page.parent.iterdir()) == [
        "comparison.html",
        "comparison.json",
        "comparison.md",
        "junit.xml",
    ]
    assert summary.read_text() == "before\n" + (tmp_path / "out/comparison.md").read_text()


def test_identical_input_gives_identical_bytes(tmp_path, slower):
    """Writing a comparison twice gives the same bytes."""
    first, second = (write_comparison(tmp_path / name, slower).parent for name in ("one", "two"))

    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
