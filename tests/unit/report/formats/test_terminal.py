"""The report in a terminal: narrow enough, verdict first, no control characters from servers."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from loadgen.analysis.slo import Slo
from loadgen.report.content.latency import stability_table
from loadgen.report.formats.terminal import render_report
from tests.support import example_runs
from tests.support.report_examples import NAUGHTY, analyze_runs, edge_runs, hostile_analysis, manifest, small_benchmark


def printed(about, analysis, **options):
    """Return the text that a console prints."""
    out = io.StringIO()
    Console(file=out, width=options.pop("width", 80), **options).print(render_report(about, analysis))
    return out.getvalue()


@pytest.mark.parametrize("runs", [small_benchmark, edge_runs])
@pytest.mark.parametrize("width", [80, 200])
def test_tables_fit_in_80_columns(runs, width):
    """No line is longer than the terminal, and no value is truncated."""
    text = printed(manifest(), analyze_runs(*runs()), width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text


def test_output_to_a_file_is_plain_ascii():
    """A file or pipe gets no colors and only ASCII, except table rules."""
    text = printed(manifest(), analyze_runs(*small_benchmark()))
    assert "\x1b" not in text
    assert {c for c in text if not c.isascii()} <= {"─"}


def test_medians_are_printed_completely():
    """The row of each memory size shows its median with one decimal."""
    analysis = analyze_runs(*example_runs.stability_runs(100))
    text = printed(manifest(), analysis)
    for row in analysis.runs:
        line = next(line for line in text.splitlines() if re.match(rf"\s*{row.run.step.config.memory_mb}\s+100 ", line))
        assert f" {row.summary.service.median * 1000:.1f} " in line


@pytest.mark.parametrize("text", NAUGHTY)
@pytest.mark.parametrize("is_terminal", [False, True])
def test_no_control_characters_from_servers(text, is_terminal):
    """Text from a server cannot move the cursor, change colors or write markup."""
    about, analysis = hostile_analysis(text)
    shown = printed(about, analysis, force_terminal=is_terminal)
    ours = re.sub(r"\x1b\[[\d;]*m", "", shown)  # colors written by rich
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", ours)
    colors = set(re.findall(r"\x1b\[[\d;]*m", shown))
    plain = printed(*hostile_analysis("word"), force_terminal=is_terminal)
    assert colors <= set(re.findall(r"\x1b\[[\d;]*m", plain)) | {"\x1b[0m"}


def test_the_verdict_comes_first():
    """INVALID with its reasons and the watermark are printed before the recommendation."""
    text = printed(manifest(), analyze_runs(*example_runs.stability_runs(30)[1:], example_runs.starved()))
    head = text[: text.index("Recommendation")]
    assert "EMULATOR" in head
    assert "INVALID" in head
    assert "(limit " in head
    assert "INVALID run" in text[text.index("Recommendation") :]


def test_violated_slos_are_listed():
    """A violated SLO is printed with the observed value."""
    analysis = analyze_runs(example_runs.stability_run(2048, 40), slos=[Slo("service_p50", at_most=0.01)])
    text = printed(manifest("aws"), analysis)
    assert "service_p50 at most 0.01 s: violated" in " ".join(text.split())
    assert "EMULATOR" not in text


def test_unknown_values_are_not_printed_as_nan():
    """Unknown values are never printed as nan, inf, None or 0 ms."""
    text = printed(manifest(), analyze_runs(*edge_runs(), region="mars-1"))
    assert not re.search(r"\b(NaN|nan|inf|None)\b|(?<![\d.,])0 ms", text)


def test_an_analysis_without_runs_prints_a_verdict():
    """Without runs the verdict is printed and no table."""
    assert "VALID" in printed(manifest(), analyze_runs())


def test_dependent_calls_are_said_below_the_table():
    """Where calls depend on each other, a note names their number and that of the independent ones they carry."""
    run = example_runs.stability_run(2048, 2000)
    samples = run.samples.copy()
    slow = np.convolve(np.random.default_rng(4).standard_normal(2019), np.ones(20) / 20**0.5, "valid")
    samples["done"] = samples["sent"] + 0.1 * np.exp(0.2 * slow)

    notes = stability_table(analyze_runs(replace(run, samples=samples))).notes

    (note,) = [note for note in notes if "depend on each other" in note]
    assert note.startswith("2048 MB: its 2,000 ok calls depend on each other and carry as much as ")
    assert not [note for note in stability_table(analyze_runs(run)).notes if "depend" in note]
