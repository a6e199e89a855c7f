"""Random samples, their recording, and a comparison of tallies."""

import math

import numpy as np

from loadgen.measurement.outcome import COMPLETED_CATEGORIES, Outcome
from loadgen.measurement.recorder import Recorder
from loadgen.measurement.sample import SAMPLE, WARMUP, checksum

OUTCOMES = [Outcome.OK, Outcome.THROTTLED, Outcome.MODEL_ERROR, Outcome.RESET, Outcome.DROPPED]


def random_samples(count, seed, *, step=1, first=0):
    """Return samples of every outcome, each with its own latency, in the order of completion."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(count, SAMPLE)
    samples["seq"] = np.arange(count) * step + first
    samples["scheduled"] = np.sort(rng.uniform(0, 10, count))
    samples["sent"] = samples["scheduled"] + rng.exponential(0.001, count)
    samples["done"] = samples["sent"] + rng.lognormal(-3, 1.5, count)
    samples["outcome"] = rng.choice(OUTCOMES, count, p=[0.7, 0.1, 0.1, 0.05, 0.05])
    samples["flags"] = np.where(samples["scheduled"] < 0.5, WARMUP, 0)
    samples["sent"][samples["outcome"] == Outcome.DROPPED] = math.nan
    samples["check"] = checksum(samples)
    return samples[np.argsort(samples["done"], kind="stable")]


def record(samples, interval=1.0):
    """Record samples as the engine does; return the recorder's tally and windows."""
    windows = []
    recorder = Recorder(on_samples=lambda _: None, interval=interval, with_response=True, on_window=windows.append)
    for row in samples:
        recorder.close_windows(float(row["done"]))
        recorder.add(*row.tolist()[:12])
    recorder.finish(float(samples["done"].max()) if len(samples) else 0.0)
    return recorder.tally, windows


def assert_same_tally(one, other):
    """Check that two tallies are identical, histogram encodings included."""
    assert one.counts == other.counts
    assert one.warmup == other.warmup
    for category in COMPLETED_CATEGORIES:
        for a, b in ((one.service, other.service), (one.response, other.response)):
            assert a[category] == b[category]
            assert a[category].total == b[category].total
            assert a[category].encode() == b[category].encode()
