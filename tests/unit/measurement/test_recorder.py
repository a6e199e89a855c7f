"""Samples, their check, and windows: against bytes written by hand and sums made with plain Python."""

import math
import struct
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
from loadgen.measurement.sample import NEW_CONNECTION, SAMPLE, WARMUP, checksum, in_category
from loadgen.measurement.tally import Tally, Window

MULTIPLIERS = [
    *(0x243F6A8885A308D3, 0x13198A2E03707345, 0xA4093822299F31D1, 0x082EFA98EC4E6C89),
    *(0x452821E638D01377, 0xBE5466CF34E90C6D, 0xC0AC29B7C97C50DD, 0x3F84D5B5B5470917),
]
SALT = 0x9216D5D98979FB1B


class Book:
    """A recorder and what it gave away."""

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


def one_record() -> np.ndarray:
    book = Book()
    book.recorder.add(7, 1.5, 1.75, 2.0, 2.25, 100, 200, 3, 0.5, Outcome.THROTTLED, NEW_CONNECTION | WARMUP, 9)
    book.recorder.flush()
    return book.all


def check_by_hand(raw: bytes) -> int:
    """Sum the words times the multipliers in Python's own integers, the check itself left out."""
    words = list(struct.unpack("<8Q", raw))
    words[7] &= 0xFFFFFFFF
    return (sum(w * m for w, m in zip(words, MULTIPLIERS, strict=True)) + SALT) % 2**64 >> 32


def test_a_record_is_these_64_bytes():
    """The layout is what the README says, byte for byte; the check is the documented sum."""
    raw = one_record().tobytes()
    front = (
        (7).to_bytes(8, "little")
        + struct.pack("<d", 1.5)
        + struct.pack("<d", 1.75)
        + struct.pack("<d", 2.0)
        + struct.pack("<d", 2.25)
        + (100).to_bytes(4, "little")
        + (200).to_bytes(4, "little")
        + (3).to_bytes(4, "little")
        + struct.pack("<f", 0.5)
        + bytes([1, 3])
        + (9).to_bytes(2, "little")
    )
    assert raw[:60] == front
    assert raw[60:] == check_by_hand(raw).to_bytes(4, "little")


@given(st.lists(st.binary(min_size=64, max_size=64), min_size=1, max_size=8))
def test_the_check_is_the_documented_sum(blocks):
    """For any bytes, numpy's wrapping arithmetic and Python's integers agree."""
    records = np.frombuffer(b"".join(blocks), dtype=SAMPLE)
    assert checksum(records).tolist() == [check_by_hand(block) for block in blocks]


def test_every_flipped_bit_is_noticed():
    """Each of a record's 512 bits, flipped, makes its check wrong."""
    raw = one_record().tobytes()
    flipped = np.frombuffer(
        b"".join((int.from_bytes(raw, "little") ^ 1 << bit).to_bytes(64, "little") for bit in range(512)), dtype=SAMPLE
    )
    assert not (checksum(flipped) == flipped["check"]).any()


@pytest.mark.parametrize("fill", [0x00, 0xFF])
def test_a_block_of_one_byte_is_no_record(fill):
    """What a file system leaves after a crash, zeros above all, is not taken for a sample."""
    block = np.frombuffer(bytes([fill]) * 64, dtype=SAMPLE)
    assert checksum(block)[0] != block["check"][0]


def test_every_outcome_is_in_one_column():
    """The masks of the four columns are a partition of all samples."""
    samples = np.zeros(len(Outcome), dtype=SAMPLE)
    samples["outcome"] = list(Outcome)
    assert sum(in_category(column, samples).astype(int) for column in OutcomeCategory).tolist() == [1] * len(Outcome)
    for column in OutcomeCategory:
        assert in_category(column, samples).tolist() == [outcome.category is column for outcome in Outcome]


outcomes = st.sampled_from(list(Outcome))
draws = st.lists(st.tuples(st.floats(0.001, 30), outcomes, st.booleans(), st.floats(1e-5, 0.9)), max_size=60)


@given(draws, st.sampled_from([0.25, 1.0, 7.0]), st.booleans(), st.randoms())
def test_windows_add_up(requests, interval, response, random):
    """However samples, flushes and closings are mixed, the windows sum to the totals, and the totals to the samples."""
    book = Book(interval, response=response)
    now = 0.0
    for seq, (done, outcome, is_warmup, took) in enumerate(requests):
        book.add(seq, done, outcome, took=took, lag=0.01, flags=WARMUP if is_warmup else 0)
        if random.random() < 0.2:
            now = max(now, random.uniform(0, 20))
            book.recorder.close_windows(now)
    book.recorder.finish(max([now, *(done for done, *_ in requests)]) + 0.1)
    tally, counts = book.recorder.tally, Counter()
    for window in book.windows:
        counts.update(window.counts)
    assert counts == Counter(outcome for _, outcome, is_warmup, _ in requests if not is_warmup) == tally.counts
    assert sum(window.warmup for window in book.windows) == sum(is_warmup for *_, is_warmup, _ in requests)
    for column in (OutcomeCategory.OK, OutcomeCategory.THROTTLED, OutcomeCategory.FAILED):
        service, responses, expected = Histogram(), Histogram(), Histogram()
        for window in book.windows:
            service.add(window.service.get(column, Histogram().to_sparse()))
            responses.add(window.response.get(column, Histogram().to_sparse()))
        chosen = [took for _, o, is_warmup, took in requests if o.category is column and not is_warmup]
        expected.record_values(np.array(chosen, dtype=float))
        assert service == tally.service[column]
        assert service.total == expected.total
        assert responses == tally.response[column]
        assert responses.total == (len(chosen) if response else 0)
    book.recorder.check_conservation(len(requests))
    assert [window.index for window in book.windows] == list(range(len(book.windows)))


def test_a_window_without_samples_is_there():
    """Three samples in seconds 0 and 3 of 4.5 make five windows; the last one is half as long."""
    book = Book()
    for done in (0.2, 3.1, 3.9):
        book.add(done=done)
    book.recorder.finish(4.5)
    assert [(w.index, w.start, w.length, w.count(OutcomeCategory.OK)) for w in book.windows] == [
        (0, 0, 1, 1),
        (1, 1, 1, 0),
        (2, 2, 1, 0),
        (3, 3, 1, 2),
        (4, 4, 0.5, 0),
    ]


def test_a_window_is_half_open():
    """What completes on the stroke belongs to the second that begins."""
    book = Book()
    for done in (0.999999, 1.0, 1.5, 2.0):
        book.add(done=done)
    book.recorder.finish(2.5)
    assert [w.count(OutcomeCategory.OK) for w in book.windows] == [1, 2, 1]


def test_a_late_sample_goes_to_the_next_window():
    """Stamped before a window closed and recorded after: it is counted in the next, never lost, and windows stay closed."""
    book = Book()
    book.add(0, done=0.5)
    book.recorder.close_windows(2.0)
    book.add(1, done=1.99)
    book.recorder.finish(2.5)
    assert [w.count(OutcomeCategory.OK) for w in book.windows] == [1, 0, 1]
    assert sum(w.length for w in book.windows) == 2.5


def test_the_last_stroke_needs_no_window_of_its_own():
    """What completes at the very end of a run is in its last window: no window is without length."""
    book = Book()
    book.add(0, done=1.5)
    book.add(1, done=2.0)
    book.recorder.flush()
    book.recorder.finish(2.0)
    assert [(w.length, w.count(OutcomeCategory.OK)) for w in book.windows] == [(1, 0), (1, 2)]


def test_an_instant_from_another_clock_ends_in_the_last_window():
    """A transport that stamps with another clock spoils its own figures, and does not make years of empty windows."""
    book = Book()
    book.add(0, done=1.79e9)
    book.add(1, done=-5.0)
    book.recorder.finish(1.5)
    assert [w.count(OutcomeCategory.OK) for w in book.windows] == [1, 1]
    book.recorder.check_conservation(2)


def test_a_run_without_samples_has_its_windows():
    """A run of 2 seconds in which nothing completed has two windows; one of no duration has none."""
    book = Book()
    book.recorder.finish(2.0)
    assert [(w.length, dict(w.counts)) for w in book.windows] == [(1, {}), (1, {})]
    book = Book()
    book.recorder.finish(0.0)
    assert book.windows == []


def test_warmup_is_recorded_and_not_counted():
    """A warm-up sample is on disk and in the window's own number, and in no count or histogram."""
    book = Book()
    book.add(0, flags=WARMUP)
    book.add(1, outcome=Outcome.THROTTLED, flags=WARMUP)
    book.add(2)
    book.recorder.finish(1.0)
    tally = book.recorder.tally
    assert tally.warmup == {Outcome.OK: 1, Outcome.THROTTLED: 1}
    assert (tally.counts, tally.count(OutcomeCategory.OK), tally.service[OutcomeCategory.OK].total) == (
        {Outcome.OK: 1},
        1,
        1,
    )
    assert (tally.total, len(book.all), book.windows[0].warmup) == (3, 3, 2)


def test_service_and_response_time_are_what_they_are_called():
    """Service time runs from the send, response time from the schedule."""
    book = Book(response=True)
    book.add(done=2.0, took=0.5, lag=1.0)
    book.recorder.finish(3.0)
    tally = book.recorder.tally
    assert tally.service[OutcomeCategory.OK].percentile(100) == pytest.approx(0.5, rel=0.001)
    assert tally.response[OutcomeCategory.OK].percentile(100) == pytest.approx(1.5, rel=0.001)


def test_samples_arrive_in_order_and_once():
    """Ten thousand samples come out whole, in order, in few batches, with sound checks."""
    book = Book()
    for seq in range(10_000):
        book.add(seq, done=seq / 1000)
    book.recorder.finish(10.0)
    assert book.all["seq"].tolist() == list(range(10_000))
    assert (checksum(book.all) == book.all["check"]).all()
    assert len(book.samples) < 20
    assert book.recorder.recorded == 10_000


def test_an_error_has_one_number():
    """The first message of an error is kept and handed on at once; the same code of another outcome is another error."""
    book = Book()
    number = book.recorder.error_code_number
    assert number(Outcome.MODEL_ERROR, "ModelError", 424, "first") == 1
    assert number(Outcome.MODEL_ERROR, "ModelError", 424, "second") == 1
    assert number(Outcome.MODEL_OOM, "ModelError", 424, "third") == 2
    assert number(Outcome.OTHER, "x" * 1000, 418, "m" * 1000) == 3
    assert [(c.number, c.message[:6]) for c in book.codes] == [(1, "first"), (2, "third"), (3, "mmmmmm")]
    assert (len(book.codes[2].code), len(book.codes[2].message)) == (128, 256)


def test_a_flood_of_different_errors_does_not_grow_without_bound():
    """A service that puts something new into every code fills the table of 65,535 numbers and no more."""
    book = Book()
    numbers = [book.recorder.error_code_number(Outcome.OTHER, f"E{n}", 500, "") for n in range(70_000)]
    assert numbers[:3] == [1, 2, 3]
    assert max(numbers) == 0xFFFF
    assert len(book.codes) == len(book.recorder.error_codes) <= 0xFFFF


@pytest.mark.parametrize("scheduled", [0, 2])
def test_books_that_do_not_balance_are_a_bug(scheduled):
    """One sample for none or for two scheduled requests ends in an InternalError."""
    book = Book()
    book.add()
    book.recorder.finish(1.0)
    with pytest.raises(InternalError, match="add up"):
        book.recorder.check_conservation(scheduled)


def test_a_batch_that_could_not_be_kept_is_not_offered_again():
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


def test_folding_an_empty_column_changes_nothing():
    """No samples are no counts."""
    tally = Tally()
    tally.record_samples(np.empty(0, SAMPLE), with_response=True)
    assert (tally.total, tally.counts) == (0, Counter())


def test_a_window_counts_by_column():
    """A window's column is the sum of the outcomes in it."""
    window = Window(0, 0.0, 1.0, {Outcome.OK: 3, Outcome.RESET: 2, Outcome.MODEL_ERROR: 1, Outcome.DROPPED: 4})
    assert {column: window.count(column) for column in OutcomeCategory} == {
        OutcomeCategory.OK: 3,
        OutcomeCategory.THROTTLED: 0,
        OutcomeCategory.FAILED: 3,
        OutcomeCategory.UNFINISHED: 4,
    }
    assert math.isclose(window.length, 1.0)


def test_recording_imports_nothing():
    """A run that has used up its descriptors can still record: no module is loaded once the first request has left."""
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
