"""HdrHistogram interval log: every window of a run in the format of HdrHistogram's Java tools.

The tags `ok`, `throttled` and `failed` hold service times; `ok.response` and so on hold response times of an open loop.
Values are microseconds; pass `-outputValueUnitRatio 1000` to HistogramLogProcessor for milliseconds.
Source: HdrHistogram/HdrHistogram, HistogramLogWriter.java, version 1.3.
"""

from collections.abc import Iterator

import numpy as np

from loadgen.measurement.run import Run
from loadgen.measurement.sample import COMPLETED_CATEGORIES, WARMUP
from loadgen.measurement.tally import Tally

_VERSION = "#[Histogram log format version 1.3]"
_LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
_CHUNK = 1 << 16  # samples per chunk


def log_lines(run: Run) -> Iterator[str]:
    """Yield the lines of a run's log without line ends; the warm-up is excluded."""
    yield _VERSION
    yield f"#[StartTime: {run.started:.3f} (seconds since epoch)]"
    yield "#[values: microseconds; tags: ok, throttled, failed are service times, *.response are response times]"
    yield _LEGEND
    for start, length, tally in _window_tallies(run):
        for category in COMPLETED_CATEGORIES:
            for tag, histogram in (
                (str(category), tally.service[category]),
                (f"{category}.response", tally.response[category]),
            ):
                if histogram.total:
                    longest = histogram.value_at_rank(histogram.total) * 1e3
                    yield f"Tag={tag},{start:.3f},{length:.3f},{longest:.3f},{histogram.encode()}"


def _window_tallies(run: Run) -> Iterator[tuple[float, float, Tally]]:
    """Yield (start, length, tally) of each window that has samples."""
    # A response at the very end of the run belongs to the last window.
    at = np.clip(np.floor(run.samples["done"] / run.window).astype(np.int64), 0, max(0, len(run.window_counts) - 1))
    # Samples are stored in recording order, which is not exactly the order of their windows.
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
    """Yield (file name, text) of the percentile distribution of each category that has responses."""
    for kind, histograms in (("service", run.tally.service), ("response", run.tally.response)):
        for category, histogram in histograms.items():
            if histogram.total:
                yield f"{kind}.{category}.hgrm", histogram.percentile_distribution()
