"""Samples and their checksum against bytes written by hand."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measurement.outcome import Outcome, OutcomeCategory
from loadgen.measurement.recorder import Recorder
from loadgen.measurement.sample import NEW_CONNECTION, SAMPLE, WARMUP, checksum, in_category

MULTIPLIERS = [
    *(0x243F6A8885A308D3, 0x13198A2E03707345, 0xA4093822299F31D1, 0x082EFA98EC4E6C89),
    *(0x452821E638D01377, 0xBE5466CF34E90C6D, 0xC0AC29B7C97C50DD, 0x3F84D5B5B5470917),
]

SALT = 0x9216D5D98979FB1B


def one_record() -> np.ndarray:
    batches = []
    recorder = Recorder(on_samples=lambda batch: batches.append(batch.copy()), interval=1.0, with_response=False)
    recorder.add(7, 1.5, 1.75, 2.0, 2.25, 100, 200, 3, 0.5, Outcome.THROTTLED, NEW_CONNECTION | WARMUP, 9)
    recorder.flush()
    return batches[0]


def checksum_by_hand(raw: bytes) -> int:
    """Compute the checksum with Python's integers: words times multipliers, without the checksum itself."""
    words = list(struct.unpack("<8Q", raw))
    words[7] &= 0xFFFFFFFF
    return (sum(w * m for w, m in zip(words, MULTIPLIERS, strict=True)) + SALT) % 2**64 >> 32


def test_a_sample_has_the_documented_64_bytes():
    """The layout is the documented one, byte for byte, and the checksum is the documented sum."""
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
    assert raw[60:] == checksum_by_hand(raw).to_bytes(4, "little")


@given(st.lists(st.binary(min_size=64, max_size=64), min_size=1, max_size=8))
def test_the_checksum_is_the_documented_sum(blocks):
    """For any bytes, numpy's wrapping arithmetic and Python's integers give the same checksum."""
    records = np.frombuffer(b"".join(blocks), dtype=SAMPLE)
    assert checksum(records).tolist() == [checksum_by_hand(block) for block in blocks]


def test_every_flipped_bit_is_detected():
    """Flipping any of a record's 512 bits makes its checksum wrong."""
    raw = one_record().tobytes()
    flipped = np.frombuffer(
        b"".join((int.from_bytes(raw, "little") ^ 1 << bit).to_bytes(64, "little") for bit in range(512)), dtype=SAMPLE
    )
    assert not (checksum(flipped) == flipped["check"]).any()


@pytest.mark.parametrize("fill", [0x00, 0xFF])
def test_a_constant_block_is_not_a_valid_sample(fill):
    """A block of equal bytes, such as the zeros that a file system leaves after a crash, has a wrong checksum."""
    block = np.frombuffer(bytes([fill]) * 64, dtype=SAMPLE)
    assert checksum(block)[0] != block["check"][0]


def test_every_outcome_is_in_one_category():
    """The masks of the four categories are a partition of all samples."""
    samples = np.zeros(len(Outcome), dtype=SAMPLE)
    samples["outcome"] = list(Outcome)
    assert sum(in_category(column, samples).astype(int) for column in OutcomeCategory).tolist() == [1] * len(Outcome)
    for column in OutcomeCategory:
        assert in_category(column, samples).tolist() == [outcome.category is column for outcome in Outcome]
