"""The interval log, compared with logs and readers of other HdrHistogram ports.

`golden/java-2.2.2.hlog` was written once by the Java library (HistogramLogWriter of HdrHistogram 2.2.2): three windows, in
each 1 to 100 us without a tag, 1 to 100 ms as `ok` and 40 ms to 4 s as `failed`, plus the window's number in us.
"""

import io
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader, HistogramLogWriter

from loadgen.measurement.histogram import Histogram
from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome
from loadgen.results import hdr_log
from loadgen.workload.arrivals import even
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant
from loadgen.workload.step import Step
from tests.support.hdr_log_reader import read_log
from tests.support.virtual_time import FAILED, THROTTLED, FakeReply, FakeTransport, execute

JAVA_LOG = Path(__file__).parents[2] / "support" / "golden" / "java-2.2.2.hlog"
JARS = [
    *Path("/usr/share/java").glob("hdrhistogram.jar"),
    *Path.home().glob(".m2/repository/org/hdrhistogram/HdrHistogram/*/HdrHistogram-*.jar"),
]


def of(values_us) -> Histogram:
    histogram = Histogram()
    histogram.record_values(np.array(list(values_us)) / 1e6)
    return histogram


def behave(number: int, _now: float) -> FakeReply:
    """Answer in times that differ, refuse every 7th, fail every 11th."""
    if number % 7 == 3:
        return THROTTLED
    return FAILED if number % 11 == 5 else FakeReply(0.013 * (1 + number % 17))


def execute_with_samples(load, **more):
    """Run a load on virtual time; returns the run with its samples in it."""
    done, _, kept = execute(load, FakeTransport(behave), **more)
    return replace(done, samples=kept.all)


def open_run():
    return execute_with_samples(OpenLoop(even(constant(50)), 4.3))


def latencies_us(run, outcome: Outcome, since: str) -> list[int]:
    """Return latencies in whole microseconds, from the samples, in plain Python."""
    return [round((s["done"] - s[since]) * 1e6) for s in run.samples if s["outcome"] == outcome]


def write_log(run, directory: Path) -> Path:
    path = directory / "windows.hlog"
    path.write_text("".join(f"{line}\n" for line in hdr_log.log_lines(run)), "ascii")
    return path


def read_by_hdrh(path: Path) -> list[tuple[str, HdrHistogram]]:
    reader = HistogramLogReader(str(path), HdrHistogram(1, 3_600_000_000, 3))
    found = []
    while (histogram := reader.get_next_interval_histogram()) is not None:
        found.append((histogram.get_tag(), histogram))
    reader.input_file.close()
    return found


# --- logs of other tools --------------------------------------------------------------------------------------------------


def test_a_log_of_the_java_library_is_read():
    """The histograms of each tag equal the values that the Java program recorded."""
    found = read_log(JAVA_LOG.read_text("ascii"))
    assert found == {
        "": of(k + i for i in range(3) for k in range(1, 101)),
        "ok": of(1000 * k + i for i in range(3) for k in range(1, 101)),
        "failed": of(40_000 * k + i for i in range(3) for k in range(1, 101)),
    }


@pytest.mark.parametrize("version", ["1.0", "1.01", "1.1", "1.2", "1.3"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_every_version_of_the_header_is_read(version, end):
    """The header lines of all format versions are skipped."""
    header = {
        "1.0": [],
        "1.01": ["#[Logged with jHiccup version 2.0.1]", "#[Histogram log format version 1.01]"],
        "1.1": [
            "#[Histogram log format version 1.1]",
            "#[StartTime: 1438869961.225 (seconds since epoch), Thu Aug 06]",
        ],
        "1.2": ["#[Histogram log format version 1.2]", "#[BaseTime: 0.000 (seconds since epoch)]", "#any comment"],
        "1.3": ["#[Histogram log format version 1.3]", "#[MaxValueDivisor: 1000.0]", ""],
    }[version]
    legend = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
    body = f"0.127,1.007,2.769,{of([5, 7]).encode()}", f"1.134,0.999,0.442,{of([7]).encode()}"
    assert read_log(end.join([*header, legend, *body, ""])) == {"": of([5, 7, 7])}


def test_a_log_of_hdrh_is_read():
    """The histograms equal the values that Python's HdrHistogram port wrote."""
    text = io.StringIO()
    writer = HistogramLogWriter(text)
    writer.output_log_format_version()
    writer.output_base_time(1_763_800_000_000)
    writer.output_legend()
    for start in (0, 1):
        hdr = HdrHistogram(1, 3_600_000_000, 3)
        for value in (10, 2000, 3_000_000):
            hdr.record_value(value + start)
        writer.output_interval_histogram(hdr, 1 + start, 2 + start)
    assert read_log(text.getvalue()) == {"": of([10, 2000, 3_000_000, 11, 2001, 3_000_001])}


@pytest.mark.parametrize(
    "line",
    [
        "nothing",
        "Tag=ok",
        "0.0,1.0,HISTFAAA",
        "0.0,1.0,2.0,",
        "0.0,1.0,2.0,not base64",
        "0.0,1.0,2.0,HISTFAAAACN42pNpmSz",
        "zero,1.0,2.0," + of([5]).encode(),
        "Tag=a,b,0.0,1.0,2.0," + of([5]).encode(),
        "0.0,1.0,2.0,HIST" + "AAAAAA" * 8,
    ],
)
def test_an_invalid_line_is_rejected(line):
    """A line that does not follow the format is a ValueError that names the line."""
    with pytest.raises(ValueError, match="line 2"):
        read_log(f"#[Histogram log format version 1.3]\n{line}\n")


# --- the log of a run ---------------------------------------------------------------------------------------------------------


def test_hdrh_reads_the_same_histograms(tmp_path):
    """The reader of hdrh finds exactly the latencies of the samples, per tag."""
    run = open_run()
    totals = {}
    for tag, hdr in read_by_hdrh(write_log(run, tmp_path)):
        totals.setdefault(tag, HdrHistogram(1, 3_600_000_000, 3)).add(hdr)
    expected = {}
    for outcome, column in ((Outcome.OK, "ok"), (Outcome.THROTTLED, "throttled"), (Outcome.MODEL_ERROR, "failed")):
        for tag, since in ((column, "sent"), (f"{column}.response", "scheduled")):
            expected[tag] = HdrHistogram(1, 3_600_000_000, 3)
            for value in latencies_us(run, outcome, since):
                expected[tag].record_value(value)
    assert set(totals) == set(expected)
    for tag, hdr in expected.items():
        assert totals[tag].get_total_count() == hdr.get_total_count() > 0, tag
        for percent in (0, 10, 50, 90, 99, 100):
            assert totals[tag].get_value_at_percentile(percent) == hdr.get_value_at_percentile(percent), (tag, percent)


@pytest.mark.parametrize(
    "load",
    [
        OpenLoop(even(constant(50)), 4.3),
        ClosedLoop(4, count=200),
        # Answers at whole seconds exactly, the last one at the run's last instant.
        OpenLoop(even(constant(1)), 3.0),
    ],
    ids=["open", "closed", "on the boundary"],
)
def test_windows_add_up_to_the_runs_totals(load):
    """The windows of the log add up to the run's histograms, also for responses on a window boundary."""
    done, _, kept = execute(load, FakeTransport(lambda n, _: FakeReply(1.0) if load.duration == 3.0 else behave(n, _)))
    run = replace(done, samples=kept.all)
    found = read_log("\n".join(hdr_log.log_lines(run)))
    expected = {str(c): run.tally.service[c] for c in COMPLETED_CATEGORIES}
    expected |= {f"{c}.response": run.tally.response[c] for c in COMPLETED_CATEGORIES}
    assert found == {tag: histogram for tag, histogram in expected.items() if histogram.total}


def test_each_response_is_in_the_window_of_its_last_byte(tmp_path):
    """Every window has the responses whose last byte arrived in its interval."""
    run = open_run()
    counted = Counter()
    for _, hdr in read_by_hdrh(write_log(run, tmp_path)):
        counted[int((hdr.get_start_time_stamp() / 1000 - run.started) + 0.01)] += hdr.get_total_count() / 2
    assert counted == Counter(int(s["done"]) for s in run.samples)


def test_the_warm_up_is_excluded():
    """Calls of the warm-up are in no window."""
    run = execute_with_samples(Step(None, ClosedLoop(2, count=100), warmup_calls=30))
    assert sum(h.total for h in read_log("\n".join(hdr_log.log_lines(run))).values()) == 70


def test_a_closed_loop_has_no_response_times():
    """A closed loop has tags of service times only."""
    run = execute_with_samples(ClosedLoop(4, count=100))
    assert set(read_log("\n".join(hdr_log.log_lines(run)))) == {"ok", "throttled", "failed"}


@pytest.mark.skipif(not (JARS and shutil.which("java")), reason="HdrHistogram for Java is not installed")
def test_the_java_tool_reads_the_log(tmp_path):
    """HistogramLogProcessor reports the tags, counts and maxima of the run."""
    run = open_run()
    path = write_log(run, tmp_path)
    processor = ["java", "-cp", str(JARS[0]), "org.HdrHistogram.HistogramLogProcessor", "-i", str(path)]

    def processor_output(*options: str) -> str:
        return subprocess.run([*processor, *options], capture_output=True, text=True, timeout=120, check=True).stdout

    tags = set(processor_output("-listtags").split())
    assert {"ok", "ok.response", "throttled", "throttled.response", "failed", "failed.response"} <= tags
    out = processor_output("-tag", "ok.response", "-outputValueUnitRatio", "1000")
    expected = latencies_us(run, Outcome.OK, "scheduled")
    reported = re.search(r"#\[Max += +([\d.]+), Total count += +(\d+)\]", out)
    assert int(reported[2]) == len(expected)
    assert float(reported[1]) == pytest.approx(max(expected) / 1000, rel=0.001)


def test_percentile_distributions_have_all_responses():
    """One file per category and latency, with the count and mean of its samples."""
    run = open_run()
    files = dict(hdr_log.percentile_distributions(run))
    assert set(files) == {f"{kind}.{c}.hgrm" for kind in ("service", "response") for c in ("ok", "throttled", "failed")}
    expected = latencies_us(run, Outcome.OK, "scheduled")
    text = files["response.ok.hgrm"]
    assert text.lstrip().startswith("Value")
    assert int(re.search(r"TotalCount += +(\d+)", text)[1]) == len(expected)
    assert float(re.search(r"Mean += +([\d.]+)", text)[1]) == pytest.approx(np.mean(expected) / 1000, rel=0.002)
