"""The standard HdrHistogram interval log: every window of a run, as the Java tools read it. Samples in, lines out.

Tags: `ok`, `throttled` and `failed` are service times; `ok.response` and so on are response times, in an open loop.
Values are microseconds: give `-outputValueUnitRatio 1000` to HistogramLogProcessor for milliseconds.
Format: HdrHistogram/HdrHistogram, HistogramLogWriter.java, version 1.3.
"""

from collections.abc import Iterator

import numpy as np

from loadgen.measurement.histogram import Histogram
from loadgen.measurement.run import Run
from loadgen.measurement.outcome import COMPLETED_CATEGORIES
from loadgen.measurement.sample import WARMUP
from loadgen.measurement.tally import Tally

_VERSION = "#[Histogram log format version 1.3]"
_LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
_CHUNK = 1 << 16


def log_lines(run: Run) -> Iterator[str]:
    """Yield the lines of a run's log, without line ends; warm-up is left out."""
    yield _VERSION
    yield f"#[StartTime: {run.started:.3f} (seconds since epoch)]"
    yield "#[values: microseconds; tags: ok, throttled, failed are service times, *.response are response times]"
    yield _LEGEND
    for start, length, tally in _window_tallies(run):
        for column in COMPLETED_CATEGORIES:
            for tag, histogram in (
                (str(column), tally.service[column]),
                (f"{column}.response", tally.response[column]),
            ):
                if histogram.total:
                    longest = histogram.value_at_rank(histogram.total) * 1e3
                    yield f"Tag={tag},{start:.3f},{length:.3f},{longest:.3f},{histogram.encode()}"


def _window_tallies(run: Run) -> Iterator[tuple[float, float, Tally]]:
    """Yield (start, length, tally) of each window that has samples."""
    # What was done at the run's very last instant belongs to the last window, though another would begin there.
    at = np.clip(np.floor(run.samples["done"] / run.window).astype(np.int64), 0, max(0, len(run.window_counts) - 1))
    # Samples lie in the order in which they were recorded: nearly, not exactly, that of their windows.
    order = np.argsort(at, kind="stable")
    bounds = np.searchsorted(at[order], np.arange(len(run.window_counts) + 1))
    for index, (first, last) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        tally = Tally()
        for part in range(first, last, _CHUNK):
            chunk = np.asarray(run.samples[order[part : min(part + _CHUNK, last)]])
            tally.record_samples(chunk[(chunk["flags"] & WARMUP) == 0], with_response=run.is_open_loop)
        start = index * run.window
        if tally.counts:
            yield start, min(run.window, max(run.duration - start, 0.0)), tally


def percentile_distributions(run: Run) -> Iterator[tuple[str, str]]:
    """Yield (file name, text) of the percentile distribution of each column of a run that has answers."""
    for kind, histograms in (("service", run.tally.service), ("response", run.tally.response)):
        for column, histogram in histograms.items():
            if histogram.total:
                yield f"{kind}.{column}.hgrm", histogram.percentile_distribution()


def read_log(text: str) -> dict[str, Histogram]:
    """Return the histograms of a log by tag, its windows added up; "" is the tag of lines that have none.

    Any version's header is read; the histograms must be of the encoding V2, the one that today's ports write.

    Raises:
        ValueError: a line is not of the format; it names the line.
    """
    found: dict[str, Histogram] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith(("#", '"')):
            continue
        tag, times, encoded = _split_line(line)
        try:
            histogram = Histogram.decode(encoded)
            for seconds in times:
                float(seconds)
        except ValueError as error:
            raise ValueError(f"line {number} of an interval log: {error}") from error
        found.setdefault(tag, Histogram()).add(histogram)
    return found


def _split_line(line: str) -> tuple[str, list[str], str]:
    """Return (tag, the three numbers, histogram) of a line; what is missing is empty, and no number."""
    tag = ""
    if line.startswith("Tag="):
        tag, _, line = line.removeprefix("Tag=").partition(",")
    start, length, longest, encoded = [*line.split(",", 3), "", "", ""][:4]
    return tag, [start, length, longest], encoded
