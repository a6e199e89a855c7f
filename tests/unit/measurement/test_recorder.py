"""The recorder: windows, totals and error codes against sums in pure Python."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import InternalError
from loadgen.measurement.histogram import Histogram
from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.recorder import Recorder
from loadgen.measurement.sample import WARMUP, checksum


class RecorderProbe:
    """A recorder with the samples, windows and error codes that it passed on."""

    def __init__(self, interval: float = 1.0, *, response: bool = False) -> None:
        self.samples, self.windows, self.codes = [], [], []
        self.recorder = Recorder(
            on_samples=lambda batch: self.samples.append(batch.copy()),
            interval=interval,
            with_response=response,
            on_window=self.windows.append,
            on_error_code=self.codes.append,
        )

    def add(self, seq=0, done=0.5, outcome=Outcome.OK, *, took=0.1, lag=0.0, flags=0, code=0) -> None:
        sent = done - took
        self.recorder.add(seq, sent - lag, sent, done, done, 3, 5, 0, 0.0, outcome, flags, code)

    @property
    def all(self):
        return np.concatenate(self.samples)


outcomes = st.sampled_from(list(Outcome))

draws = st.lists(st.tuples(st.floats(0.001, 30), outcomes, st.booleans(), st.floats(1e-5, 0.9)), max_size=60)


@given(draws, st.sampled_from([0.25, 1.0, 7.0]), st.booleans(), st.randoms())
def test_windows_add_up_to_the_totals(requests, interval, response, random):
    """For any order of samples, flushes and closings, the windows add up to the totals, and the totals to the samples."""
    probe = RecorderProbe(interval, response=response)
    now = 0.0
    for seq, (done, outcome, is_warmup, took) in enumerate(requests):
        probe.add(seq, done, outcome, took=took, lag=0.01, flags=WARMUP if is_warmup else 0)
        if random.random() < 0.2:
            now = max(now, random.uniform(0, 20))
            probe.recorder.close_windows(now)
    probe.recorder.finish(max([now, *(done for done, *_ in requests)]) + 0.1)
    tally, counts = probe.recorder.tally, Counter()
    for window in probe.windows:
        counts.update(window.counts)
    assert counts == Counter(outcome for _, outcome, is_warmup, _ in requests if not is_warmup) == tally.counts
    assert sum(window.warmup for window in probe.windows) == sum(is_warmup for *_, is_warmup, _ in requests)
    for column in (OutcomeCategory.OK, OutcomeCategory.THROTTLED, OutcomeCategory.FAILED):
        service, responses, expected = Histogram(), Histogram(), Histogram()
        for window in probe.windows:
            service.add(window.service.get(column, Histogram().to_sparse()))
            responses.add(window.response.get(column, Histogram().to_sparse()))
        chosen = [took for _, o, is_warmup, took in requests if o.category is column and not is_warmup]
        expected.record_values(np.array(chosen, dtype=float))
        assert service == tally.service[column]
        assert service.total == expected.total
        assert responses == tally.response[column]
        assert responses.total == (len(chosen) if response else 0)
    probe.recorder.check_conservation(len(requests))
    assert [window.index for window in probe.windows] == list(range(len(probe.windows)))


def test_a_window_without_samples_is_reported():
    """Three samples in seconds 0 and 3 of 4.5 give five windows; the last one has a length of 0.5 s."""
    probe = RecorderProbe()
    for done in (0.2, 3.1, 3.9):
        probe.add(done=done)
    probe.recorder.finish(4.5)
    assert [(w.index, w.start, w.length, w.count(OutcomeCategory.OK)) for w in probe.windows] == [
        (0, 0, 1, 1),
        (1, 1, 1, 0),
        (2, 2, 1, 0),
        (3, 3, 1, 2),
        (4, 4, 0.5, 0),
    ]


def test_a_window_is_half_open():
    """A sample that completes exactly at the end of a window counts in the next one."""
    probe = RecorderProbe()
    for done in (0.999999, 1.0, 1.5, 2.0):
        probe.add(done=done)
    probe.recorder.finish(2.5)
    assert [w.count(OutcomeCategory.OK) for w in probe.windows] == [1, 2, 1]


def test_a_late_sample_counts_in_the_next_window():
    """A sample that completed before its window closed and is recorded later counts in the next window; none is lost."""
    probe = RecorderProbe()
    probe.add(0, done=0.5)
    probe.recorder.close_windows(2.0)
    probe.add(1, done=1.99)
    probe.recorder.finish(2.5)
    assert [w.count(OutcomeCategory.OK) for w in probe.windows] == [1, 0, 1]
    assert sum(w.length for w in probe.windows) == 2.5


def test_a_sample_at_the_very_end_counts_in_the_last_window():
    """A sample that completes exactly at the end of the run makes no window of length 0."""
    probe = RecorderProbe()
    probe.add(0, done=1.5)
    probe.add(1, done=2.0)
    probe.recorder.flush()
    probe.recorder.finish(2.0)
    assert [(w.length, w.count(OutcomeCategory.OK)) for w in probe.windows] == [(1, 0), (1, 2)]


def test_an_instant_of_another_clock_counts_in_the_last_window():
    """An instant years ahead counts in the last window instead of adding empty windows up to it."""
    probe = RecorderProbe()
    probe.add(0, done=1.79e9)
    probe.add(1, done=-5.0)
    probe.recorder.finish(1.5)
    assert [w.count(OutcomeCategory.OK) for w in probe.windows] == [1, 1]
    probe.recorder.check_conservation(2)


def test_a_run_without_samples_has_windows():
    """A run of 2 s without samples has two windows; a run of 0 s has none."""
    probe = RecorderProbe()
    probe.recorder.finish(2.0)
    assert [(w.length, dict(w.counts)) for w in probe.windows] == [(1, {}), (1, {})]
    probe = RecorderProbe()
    probe.recorder.finish(0.0)
    assert probe.windows == []


def test_warmup_is_recorded_and_not_counted():
    """A warm-up sample is written and counted as warm-up, but not in any outcome count or histogram."""
    probe = RecorderProbe()
    probe.add(0, flags=WARMUP)
    probe.add(1, outcome=Outcome.THROTTLED, flags=WARMUP)
    probe.add(2)
    probe.recorder.finish(1.0)
    tally = probe.recorder.tally
    assert tally.warmup == {Outcome.OK: 1, Outcome.THROTTLED: 1}
    assert (tally.counts, tally.count(OutcomeCategory.OK), tally.service[OutcomeCategory.OK].total) == (
        {Outcome.OK: 1},
        1,
        1,
    )
    assert (tally.total, len(probe.all), probe.windows[0].warmup) == (3, 3, 2)


def test_service_time_starts_at_the_send_and_response_time_at_the_schedule():
    """Service time is done - sent; response time is done - scheduled."""
    probe = RecorderProbe(response=True)
    probe.add(done=2.0, took=0.5, lag=1.0)
    probe.recorder.finish(3.0)
    tally = probe.recorder.tally
    assert tally.service[OutcomeCategory.OK].percentile(100) == pytest.approx(0.5, rel=0.001)
    assert tally.response[OutcomeCategory.OK].percentile(100) == pytest.approx(1.5, rel=0.001)


def test_samples_are_passed_on_in_order_and_once():
    """Ten thousand samples are passed on complete, in order, in fewer than 20 batches, with correct checksums."""
    probe = RecorderProbe()
    for seq in range(10_000):
        probe.add(seq, done=seq / 1000)
    probe.recorder.finish(10.0)
    assert probe.all["seq"].tolist() == list(range(10_000))
    assert (checksum(probe.all) == probe.all["check"]).all()
    assert len(probe.samples) < 20
    assert probe.recorder.recorded == 10_000


def test_an_error_code_has_one_number():
    """An error's first message is stored and passed on at once; the same code with another outcome is another error."""
    probe = RecorderProbe()
    number = probe.recorder.errors.number
    assert number(Outcome.MODEL_ERROR, "ModelError", 424, "first 1") == 1
    assert number(Outcome.MODEL_ERROR, "ModelError", 424, "first 2") == 1
    assert number(Outcome.MODEL_OOM, "ModelError", 424, "third") == 2
    assert number(Outcome.OTHER, "x" * 1000, 418, "m" * 1000) == 3
    assert [(c.number, c.message[:6]) for c in probe.codes] == [(1, "first "), (2, "third"), (3, "mmmmmm")]
    assert (len(probe.codes[2].code), len(probe.codes[2].message)) == (128, 256)


@pytest.mark.parametrize("scheduled", [0, 2])
def test_inconsistent_counts_raise_an_internal_error(scheduled):
    """One sample for zero or for two scheduled requests raises an InternalError."""
    probe = RecorderProbe()
    probe.add()
    probe.recorder.finish(1.0)
    with pytest.raises(InternalError, match="add up"):
        probe.recorder.check_conservation(scheduled)


def test_a_batch_whose_write_failed_is_not_written_again():
    """After a failed write the same samples are not written a second time behind a torn record."""
    offered = []

    def keep(batch):
        offered.append(batch["seq"].tolist())
        raise OSError("disk full")

    recorder = Recorder(on_samples=keep, interval=1.0, with_response=False)
    recorder.add(0, 0.0, 0.0, 0.1, 0.1, 1, 1, 0, 0.0, Outcome.OK, 0, 0)
    with pytest.raises(OSError, match="full"):
        recorder.flush()
    recorder.finish(1.0)
    assert offered == [[0]]


def test_recording_imports_nothing():
    """No module is imported after the first request, so a run without free file descriptors can still record."""
    program = """
import sys
import numpy as np
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.recorder import Recorder
recorder = Recorder(on_samples=lambda batch: None, interval=1.0, with_response=True)
before = set(sys.modules)
for seq in range(5000):
    recorder.add(seq, 0.0, 0.1, 0.2, seq / 100, 1, 1, 0, 0.0, Outcome.OK, 0, 0)
recorder.close_windows(60.0)
recorder.finish(61.0)
recorder.check_conservation(5000)
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
