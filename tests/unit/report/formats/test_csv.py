"""The CSV files: the predecessor's names, figures that add up, and no failure that looks like a fast success."""

import csv
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from loadgen.errors import WriteError
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.report.formats.csv_requests import write_requests
from loadgen.report.formats.csv_summary import (
    concurrency_summary_csv,
    cost_csv,
    metrics_csv,
    stability_summary_csv,
    steps_summary_csv,
)
from loadgen.report.writer import write_report_files
from tests.support import example_runs
from tests.support.report_examples import NAUGHTY, analyze_runs, edge_runs, hostile_analysis, manifest, small_benchmark

RAW = "invocation_latency response_size throttle_exception insufficient_memory_error other_model_error start_time end_time invoke_arg_index"
METRICS = "metric_name Average Minimum Maximum p25 p50 p75 Unit Timestamp"
LATENCIES = "invocation_latency_median invocation_latency_mean invocation_latency_max invocation_latency_iqr"
COUNTS = "throttle_exception insufficient_memory_error other_model_error num_invocations"
# File -> the columns that AWS's toolkit wrote into it (sm-serverless-benchmarking 0.2.3, analysis.py and benchmark.py).
PREDECESSOR = {
    "stability_benchmark_raw_results/invocation_benchmark_results.csv": f"{RAW} memory_size",
    "stability_benchmark_raw_results/endpoint_metrics.csv": f"{METRICS} memory_size",
    "stability_benchmark_summary_results/invocation_benchmark_summary.csv": (
        f"memory_size successful_invocations invocation_latency_min {LATENCIES}"
    ),
    "stability_benchmark_summary_results/endpoint_metrics_summary.csv": (
        "memory_size ModelLatency OverheadLatency ModelSetupTime MemoryUtilization"
    ),
    "concurrency_benchmark_raw_results/invocation_benchmark_results.csv": f"{RAW} memory_size max_concurrency num_clients",
    "concurrency_benchmark_raw_results/endpoint_metrics.csv": f"{METRICS} memory_size max_concurrency num_clients",
    "concurrency_benchmark_summary_results/concurrency_benchmark_summary.csv": (
        f"max_concurrency num_clients memory_size {COUNTS} {LATENCIES} tps_avg tps_p25 tps_p50 tps_p75 tps_max"
    ),
    "concurrency_benchmark_summary_results/endpoint_metrics_summary.csv": (
        "memory_size max_concurrency ModelLatency OverheadLatency ModelSetupTime MemoryUtilization"
    ),
    "cost_analysis_summary_results/metrics_with_cost.csv": (
        "ModelLatency OverheadLatency MemoryUtilization memory_size average_latency cost_per_invocation cost_per_1M_invocations"
    ),
    "cost_analysis_summary_results/cost_savings_summary.csv": (
        "monthly_invocations serverless_monthly_cost instance_monthly_cost monthly_percent_savings"
    ),
}
PICTURES = (
    "stability_benchmark_summary_results/stability_benchmark_distribution.png",
    "concurrency_benchmark_summary_results/concurrency_benchmark_distribution.png",
    "cost_analysis_summary_results/cost_vs_performance.png",
)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """A whole benchmark's findings, and the directory its report was written to."""
    findings = analyze_runs(*small_benchmark())
    directory = tmp_path_factory.mktemp("benchmark")
    write_report_files(directory, manifest(), findings)
    return findings, directory


@pytest.fixture(scope="module")
def edges(tmp_path_factory):
    """The same of everything that can go wrong."""
    findings = analyze_runs(*edge_runs(), region="mars-1")
    directory = tmp_path_factory.mktemp("edges")
    write_report_files(directory, manifest(), findings)
    return findings, directory


@pytest.mark.parametrize("name", PREDECESSOR)
def test_predecessors_columns_are_there(benchmark, name):
    """Promise: who knows the predecessor's file finds it under its name with every column it had."""
    first = (benchmark[1] / name).read_text(encoding="utf-8").splitlines()[0].split(",")
    assert set(PREDECESSOR[name].split()) <= set(first)
    assert len(first) == len(set(first))


def test_nothing_else_is_missing(benchmark):
    """Promise: the pictures, the page and the JSON stand where the issue of them says, and nothing is left half-written."""
    directory = benchmark[1]
    written = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    page = {"benchmarking_report/benchmarking_report.html", "benchmarking_report/summary.json"}
    assert written == {*PREDECESSOR, *PICTURES, *page}


def test_every_request_is_a_line(benchmark):
    """Promise: the raw file has one line for each sample, in their order, with the instants and latencies of the sample."""
    findings, directory = benchmark
    lines = rows_of(directory / "concurrency_benchmark_raw_results/invocation_benchmark_results.csv")
    cells = findings.in_phase("concurrency")
    assert len(lines) == sum(len(row.run.samples) for row in cells)
    offset = 0
    for row in cells:
        for line, sample in zip(lines[offset:], row.run.samples, strict=False):
            took = (float(sample["done"]) - float(sample["sent"])) * 1000
            kept = line["invocation_latency"] or line["error_latency"]
            assert float(kept) == pytest.approx(took, abs=0.001)
            assert float(line["end_time"]) - float(line["start_time"]) == pytest.approx(took / 1000, abs=0.00001)
            assert int(line["sequence"]) == sample["seq"]
            assert line["outcome"] == Outcome(int(sample["outcome"])).label
            assert int(line["num_clients"]) == row.run.step.load.clients
        offset += len(row.run.samples)


def test_no_failure_looks_like_a_success(benchmark, edges):
    """Promise: what was not ok has no invocation_latency, and its real time stands apart; no latency is negative."""
    for directory in (benchmark[1], edges[1]):
        for path in directory.rglob("invocation_benchmark_results.csv"):
            for line in rows_of(path):
                is_ok = line["outcome"] == "ok"
                assert bool(line["invocation_latency"]) is is_ok
                assert bool(line["response_size"]) is is_ok
                if line["error_latency"]:
                    assert not is_ok
                    assert float(line["error_latency"]) > 0
                flags = [
                    line[name] for name in ("throttle_exception", "insufficient_memory_error", "other_model_error")
                ]
                assert flags.count("1") == (line["outcome"] in ("throttled", "model_oom", "model_error"))


def test_a_dropped_arrival_was_never_sent(edges):
    """Promise: an arrival that was dropped is a line with its scheduled instant, and with no time it never had."""
    lines = rows_of(edges[1] / "steps_raw_results/invocation_benchmark_results.csv")
    dropped = [line for line in lines if line["outcome"] == "dropped"]
    assert dropped
    assert all(line["scheduled_time"] and not line["start_time"] and not line["error_latency"] for line in dropped)


def test_warmup_is_told_apart(edges):
    """Promise: warm-up calls are in the raw file, marked, and counted apart in the summary."""
    lines = rows_of(edges[1] / "stability_benchmark_raw_results/invocation_benchmark_results.csv")
    assert sum(line["is_warmup"] == "1" for line in lines) == 10
    summary = rows_of(edges[1] / "stability_benchmark_summary_results/invocation_benchmark_summary.csv")
    assert ("10", "30") in {(row["warmup_invocations"], row["num_invocations"]) for row in summary}


@pytest.mark.parametrize("which", ["stability", "concurrency", "steps"])
def test_columns_add_up(benchmark, edges, which):
    """Promise: each request due is in exactly one column of its summary, and agrees with a count of the raw lines."""
    for directory in (benchmark[1], edges[1]):
        for path in directory.glob(f"{which}*_summary_results/*summary.csv"):
            for row in rows_of(path):
                if "num_invocations" not in row:
                    continue
                parts = "successful_invocations throttle_exception insufficient_memory_error other_model_error other_failures unfinished"
                assert sum(int(row[name]) for name in parts.split()) == int(row["num_invocations"])


def test_summary_agrees_with_raw_lines(benchmark):
    """Promise: whoever works the summary out again from the raw lines gets the same median, mean, maximum and counts."""
    directory = benchmark[1]
    lines = rows_of(directory / "stability_benchmark_raw_results/invocation_benchmark_results.csv")
    for row in rows_of(directory / "stability_benchmark_summary_results/invocation_benchmark_summary.csv"):
        mine = [float(line["invocation_latency"]) for line in lines if line["memory_size"] == row["memory_size"]]
        assert int(row["successful_invocations"]) == len(mine)
        assert float(row["invocation_latency_max"]) == pytest.approx(max(mine), abs=0.001)
        assert float(row["invocation_latency_mean"]) == pytest.approx(math.fsum(mine) / len(mine), abs=0.001)
        assert min(mine) <= float(row["invocation_latency_median"]) <= max(mine)


def test_metrics_are_in_the_right_units(benchmark):
    """Promise: raw metrics keep CloudWatch's microseconds, summaries are in ms."""
    directory = benchmark[1]
    raw = rows_of(directory / "stability_benchmark_raw_results/endpoint_metrics.csv")
    average = {row["memory_size"]: float(row["Average"]) for row in raw if row["metric_name"] == "ModelLatency"}
    for row in rows_of(directory / "stability_benchmark_summary_results/endpoint_metrics_summary.csv"):
        assert float(row["ModelLatency"]) == pytest.approx(average[row["memory_size"]] / 1000)
    assert {row["Unit"] for row in raw if row["metric_name"] == "ModelLatency"} == {"Microseconds"}


def test_what_is_missing_is_empty_and_says_why(edges):
    """Promise: a metric that CloudWatch did not have is an empty cell with a reason, never 0; an unknown price is no 0 either."""
    raw = rows_of(edges[1] / "stability_benchmark_raw_results/endpoint_metrics.csv")
    missing = [row for row in raw if not row["Average"]]
    assert missing
    assert all(row["not_available"] for row in missing)
    costs = rows_of(edges[1] / "cost_analysis_summary_results/metrics_with_cost.csv")
    assert {row["cost_per_1M_invocations"] for row in costs} == {""}


def test_no_cell_is_not_a_number(benchmark, edges):
    """Promise: no file holds nan, inf, None or -1 where a figure should be; None is a unit of CloudWatch's, though."""
    for directory in (benchmark[1], edges[1]):
        for path in directory.rglob("*.csv"):
            cells = {cell for row in rows_of(path) for name, cell in row.items() if name != "Unit"}
            assert not cells & {"nan", "NaN", "inf", "-inf", "None", "-1", "-1.000"}, path


def test_every_summary_says_where_it_was_measured(benchmark):
    """Promise: a file that is taken out of its directory still says that its figures are an emulator's."""
    for path in benchmark[1].rglob("*.csv"):
        head = path.read_text(encoding="utf-8").splitlines()[0]
        if "invocation" in path.name or "with_cost" in path.name or path.name.startswith("concurrency"):
            assert "measured_on" in head
            assert {row["measured_on"] for row in rows_of(path)} == {"emulator"}


def test_json_is_strict_and_begins_with_the_verdict(benchmark, edges):
    """Promise: machines read the findings as strict JSON, the verdict first, and the counts add up there too."""
    for _, directory in (benchmark, edges):
        text = (directory / "benchmarking_report/summary.json").read_text(encoding="utf-8")
        said = json.loads(text, parse_constant=pytest.fail)
        assert next(iter(said)) == "verdict"
        for row in said["runs"]:
            s = row["summary"]
            assert (
                s["ok"] + s["throttled"] + s["failed"] + s["unfinished"]
                == s["scheduled"]
                == sum(s["outcomes"].values())
            )


@pytest.mark.parametrize("text", NAUGHTY)
def test_hostile_text_stays_in_its_cell(text):
    """Promise: whatever a server says is one cell of one line, and no formula that a spreadsheet would carry out."""
    about, findings = hostile_analysis(text)
    raw = io.BytesIO()
    cells = findings.in_phase("concurrency")
    write_requests(raw, cells, measured_on="aws", include_concurrency=True)
    files = [raw.getvalue().decode(), steps_summary_csv(about, findings), stability_summary_csv(about, findings)]
    files += [
        metrics_csv(findings.runs, include_concurrency=True),
        concurrency_summary_csv(about, findings),
        cost_csv(about, findings),
    ]
    for file in files:
        lines = list(csv.reader(io.StringIO(file, newline="")))
        assert {len(line) for line in lines} == {len(lines[0])}
        assert len(lines) == file.count("\n")
        assert not [cell for line in lines[1:] for cell in line if re.match(r"[=@+\t\r]|-\D", cell)]
    assert files[0].count("\n") == 41


def test_chunks_join_without_a_seam():
    """Promise: a run of more samples than a chunk has is written whole; the lines are those of the samples one by one."""
    run = example_runs.stability_run(2048, 50)
    many = np.tile(run.samples, 1400)  # 70,000 samples: three chunks
    many["seq"] = np.arange(len(many))
    findings = analyze_runs(replace(run, samples=many, tally=run.tally))
    out = io.BytesIO()
    write_requests(out, findings.runs, measured_on="aws", include_concurrency=False)
    lines = out.getvalue().decode().splitlines()
    sequence = lines[0].split(",").index("sequence")
    assert [int(line.split(",")[sequence]) for line in lines[1:]] == list(range(70_000))


def test_runs_without_samples_still_have_summaries(tmp_path):
    """Promise: where samples were not kept, the raw file is only its header and the summaries come from histograms."""
    run = example_runs.without_samples(example_runs.stability_run(2048, 200))
    write_report_files(tmp_path, manifest(), analyze_runs(run))
    assert rows_of(tmp_path / "stability_benchmark_raw_results/invocation_benchmark_results.csv") == []
    row = rows_of(tmp_path / "stability_benchmark_summary_results/invocation_benchmark_summary.csv")[0]
    assert int(row["successful_invocations"]) == run.count(OutcomeCategory.OK) == 200


def test_a_disk_that_refuses_is_an_error_of_ours(tmp_path):
    """Promise: when the report cannot be written, the error says where and that the runs are kept."""
    (tmp_path / "stability_benchmark_raw_results").write_text("in the way", encoding="utf-8")
    with pytest.raises(WriteError, match="stability_benchmark_raw_results"):
        write_report_files(tmp_path, manifest(), analyze_runs(example_runs.stability_run(2048, 5)))
