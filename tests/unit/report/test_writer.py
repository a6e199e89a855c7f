"""Report files: columns of sm-serverless-benchmarking, counts that add up, no failure among the latencies."""

import csv
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from loadgen.analysis.summary import summarize
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
CHARTS = (
    "stability_benchmark_summary_results/stability_benchmark_distribution.png",
    "concurrency_benchmark_summary_results/concurrency_benchmark_distribution.png",
    "cost_analysis_summary_results/cost_vs_performance.png",
)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """The analysis of a benchmark, and the directory of its report."""
    analysis = analyze_runs(*small_benchmark())
    directory = tmp_path_factory.mktemp("benchmark")
    write_report_files(directory, manifest(), analysis)
    return analysis, directory


@pytest.fixture(scope="module")
def edges(tmp_path_factory):
    """The same for unusual runs."""
    analysis = analyze_runs(*edge_runs(), region="mars-1")
    directory = tmp_path_factory.mktemp("edges")
    write_report_files(directory, manifest(), analysis)
    return analysis, directory


@pytest.mark.parametrize("name", PREDECESSOR)
def test_files_and_columns_of_the_predecessor_exist(benchmark, name):
    """Every file of sm-serverless-benchmarking exists with all of its columns."""
    first = (benchmark[1] / name).read_text(encoding="utf-8").splitlines()[0].split(",")
    assert set(PREDECESSOR[name].split()) <= set(first)
    assert len(first) == len(set(first))


def test_all_files_are_written(benchmark):
    """CSV files, charts, page and JSON are written, and no temporary file remains."""
    directory = benchmark[1]
    written = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    page = {"benchmarking_report/benchmarking_report.html", "benchmarking_report/summary.json"}
    assert written == {*PREDECESSOR, *CHARTS, *page}


def test_every_request_is_a_row(benchmark):
    """One row per sample, in order, with its instants and latencies."""
    analysis, directory = benchmark
    lines = rows_of(directory / "concurrency_benchmark_raw_results/invocation_benchmark_results.csv")
    cells = analysis.in_phase("concurrency")
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
    """A call that is not ok has no invocation_latency but an error_latency; no latency is negative."""
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


def test_a_dropped_request_has_no_send_time(edges):
    """A dropped request has its scheduled time and no other instant."""
    lines = rows_of(edges[1] / "steps_raw_results/invocation_benchmark_results.csv")
    dropped = [line for line in lines if line["outcome"] == "dropped"]
    assert dropped
    assert all(line["scheduled_time"] and not line["start_time"] and not line["error_latency"] for line in dropped)


def test_warm_up_calls_are_marked(edges):
    """Warm-up calls are marked in the rows and counted separately in the summary."""
    lines = rows_of(edges[1] / "stability_benchmark_raw_results/invocation_benchmark_results.csv")
    assert sum(line["is_warmup"] == "1" for line in lines) == 10
    summary = rows_of(edges[1] / "stability_benchmark_summary_results/invocation_benchmark_summary.csv")
    assert ("10", "30") in {(row["warmup_invocations"], row["num_invocations"]) for row in summary}


@pytest.mark.parametrize("which", ["stability", "concurrency", "steps"])
def test_outcome_columns_add_up(benchmark, edges, which):
    """Every request due is in exactly one outcome column of the summary."""
    for directory in (benchmark[1], edges[1]):
        for path in directory.glob(f"{which}*_summary_results/*summary.csv"):
            for row in rows_of(path):
                if "num_invocations" not in row:
                    continue
                parts = "successful_invocations throttle_exception insufficient_memory_error other_model_error other_failures unfinished"
                assert sum(int(row[name]) for name in parts.split()) == int(row["num_invocations"])


def test_the_summary_agrees_with_the_rows(benchmark):
    """Mean, maximum and counts computed from the rows equal the summary."""
    directory = benchmark[1]
    lines = rows_of(directory / "stability_benchmark_raw_results/invocation_benchmark_results.csv")
    for row in rows_of(directory / "stability_benchmark_summary_results/invocation_benchmark_summary.csv"):
        mine = [float(line["invocation_latency"]) for line in lines if line["memory_size"] == row["memory_size"]]
        assert int(row["successful_invocations"]) == len(mine)
        assert float(row["invocation_latency_max"]) == pytest.approx(max(mine), abs=0.001)
        assert float(row["invocation_latency_mean"]) == pytest.approx(math.fsum(mine) / len(mine), abs=0.001)
        assert min(mine) <= float(row["invocation_latency_median"]) <= max(mine)


def test_metrics_are_in_the_right_units(benchmark):
    """endpoint_metrics.csv has CloudWatch's microseconds, the summary milliseconds."""
    directory = benchmark[1]
    raw = rows_of(directory / "stability_benchmark_raw_results/endpoint_metrics.csv")
    average = {row["memory_size"]: float(row["Average"]) for row in raw if row["metric_name"] == "ModelLatency"}
    for row in rows_of(directory / "stability_benchmark_summary_results/endpoint_metrics_summary.csv"):
        assert float(row["ModelLatency"]) == pytest.approx(average[row["memory_size"]] / 1000)
    assert {row["Unit"] for row in raw if row["metric_name"] == "ModelLatency"} == {"Microseconds"}


def test_a_missing_value_is_empty_with_a_reason(edges):
    """A missing metric is an empty cell with a reason, and an unknown price is empty, never 0."""
    raw = rows_of(edges[1] / "stability_benchmark_raw_results/endpoint_metrics.csv")
    missing = [row for row in raw if not row["Average"]]
    assert missing
    assert all(row["not_available"] for row in missing)
    costs = rows_of(edges[1] / "cost_analysis_summary_results/metrics_with_cost.csv")
    assert {row["cost_per_1M_invocations"] for row in costs} == {""}


def test_no_cell_is_not_a_number(benchmark, edges):
    """No cell is nan, inf, None or -1, except CloudWatch's unit None."""
    for directory in (benchmark[1], edges[1]):
        for path in directory.rglob("*.csv"):
            cells = {cell for row in rows_of(path) for name, cell in row.items() if name != "Unit"}
            assert not cells & {"nan", "NaN", "inf", "-inf", "None", "-1", "-1.000"}, path


def test_every_summary_names_where_it_was_measured(benchmark):
    """Every row names the kind of target in measured_on."""
    for path in benchmark[1].rglob("*.csv"):
        head = path.read_text(encoding="utf-8").splitlines()[0]
        if "invocation" in path.name or "with_cost" in path.name or path.name.startswith("concurrency"):
            assert "measured_on" in head
            assert {row["measured_on"] for row in rows_of(path)} == {"emulator"}


def test_json_is_strict_and_begins_with_the_verdict(benchmark, edges):
    """summary.json is strict JSON, its first key is the verdict, and its counts add up."""
    for _, directory in (benchmark, edges):
        text = (directory / "benchmarking_report/summary.json").read_text(encoding="utf-8")
        summary = json.loads(text, parse_constant=pytest.fail)
        assert next(iter(summary)) == "verdict"
        for row in summary["runs"]:
            s = row["summary"]
            assert (
                s["ok"] + s["throttled"] + s["failed"] + s["unfinished"]
                == s["scheduled"]
                == sum(s["outcomes"].values())
            )


@pytest.mark.parametrize("text", NAUGHTY)
def test_hostile_text_stays_in_its_cell(text):
    """Text from a server is one cell of one row, and never a spreadsheet formula."""
    about, analysis = hostile_analysis(text)
    raw = io.BytesIO()
    cells = analysis.in_phase("concurrency")
    write_requests(raw, cells, measured_on="aws", include_concurrency=True)
    files = [raw.getvalue().decode(), steps_summary_csv(about, analysis), stability_summary_csv(about, analysis)]
    files += [
        metrics_csv(analysis.runs, include_concurrency=True),
        concurrency_summary_csv(about, analysis),
        cost_csv(about, analysis),
    ]
    for file in files:
        lines = list(csv.reader(io.StringIO(file, newline="")))
        assert {len(line) for line in lines} == {len(lines[0])}
        assert len(lines) == file.count("\n")
        assert not [cell for line in lines[1:] for cell in line if re.match(r"[=@+\t\r]|-\D", cell)]
    assert files[0].count("\n") == 41


def test_chunks_are_joined():
    """A run larger than a chunk is written completely, in order."""
    run = example_runs.stability_run(2048, 50)
    many = np.tile(run.samples, 1400)  # 70,000 samples: three chunks
    many["seq"] = np.arange(len(many))
    analysis = analyze_runs(replace(run, samples=many, tally=run.tally))
    out = io.BytesIO()
    write_requests(out, analysis.runs, measured_on="aws", include_concurrency=False)
    lines = out.getvalue().decode().splitlines()
    sequence = lines[0].split(",").index("sequence")
    assert [int(line.split(",")[sequence]) for line in lines[1:]] == list(range(70_000))


def test_runs_without_samples_have_summaries(tmp_path):
    """Without samples the request file has only its header, and the summaries come from histograms."""
    run = example_runs.without_samples(example_runs.stability_run(2048, 200))
    write_report_files(tmp_path, manifest(), analyze_runs(run))
    assert rows_of(tmp_path / "stability_benchmark_raw_results/invocation_benchmark_results.csv") == []
    row = rows_of(tmp_path / "stability_benchmark_summary_results/invocation_benchmark_summary.csv")[0]
    assert int(row["successful_invocations"]) == run.count(OutcomeCategory.OK) == 200


def test_a_failed_write_is_a_write_error(tmp_path):
    """The WriteError names the file that could not be written."""
    (tmp_path / "stability_benchmark_raw_results").write_text("in the way", encoding="utf-8")
    with pytest.raises(WriteError, match="stability_benchmark_raw_results"):
        write_report_files(tmp_path, manifest(), analyze_runs(example_runs.stability_run(2048, 5)))


def test_every_request_has_its_start():
    """The last column says cold, warm or unknown; it is empty for calls that no instance served."""
    run = example_runs.concurrency_run(2, 3, warm=0)
    out = io.BytesIO()

    write_requests(out, analyze_runs(run).runs, measured_on="aws", include_concurrency=True)

    lines = list(csv.DictReader(io.StringIO(out.getvalue().decode())))
    assert list(lines[0])[-1] == "start"
    starts = summarize(run).cold_starts
    found = [line["start"] for line in lines]
    assert (found.count("cold"), found.count("warm"), found.count("unknown")) == (
        starts.cold,
        starts.warm,
        starts.unknown,
    )
    assert starts.cold
    assert {line["start"] for line in lines if line["throttle_exception"] == "1"} == {""}
