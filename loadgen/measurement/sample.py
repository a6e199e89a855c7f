"""The sample: one 64-byte record for each request, its checksum, and the error codes it refers to."""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.outcome import Outcome, OutcomeCategory

# Format 1 (2026-11). All little-endian; instants are float seconds from the run's start, NaN where there is none.
SAMPLE = np.dtype(
    [
        ("seq", "<u8"),  # the request's number in the schedule
        ("scheduled", "<f8"),
        ("sent", "<f8"),
        ("first_byte", "<f8"),
        ("done", "<f8"),
        ("request_bytes", "<u4"),
        ("response_bytes", "<u4"),
        ("payload", "<u4"),  # which of the scenario's requests
        ("pool_wait", "<f4"),  # seconds for a free connection; not part of service time
        ("outcome", "u1"),  # an Outcome
        ("flags", "u1"),  # NEW_CONNECTION, WARMUP
        ("code", "<u2"),  # a line of codes.jsonl, counted from 1; 0 for none
        ("check", "<u4"),  # checksum(record)
    ]
)
NEW_CONNECTION = 1  # went out on a connection opened for it in mid-run
WARMUP = 2  # recorded and shown, not counted
_SAMPLE_STRUCT = struct.Struct("<QddddIIIfBBHI")
_CHECKSUM_WORDS = (
    7  # 64-bit words that the checksum covers; the eighth holds outcome, flags, code and the checksum itself
)
# Odd multipliers: a change in any one word always changes the sum. First words of the fractional parts of pi (the
# constants of Blowfish), made odd.
_MULTIPLIERS = np.array(
    [
        *(0x243F6A8885A308D3, 0x13198A2E03707345, 0xA4093822299F31D1, 0x082EFA98EC4E6C89),
        *(0x452821E638D01377, 0xBE5466CF34E90C6D, 0xC0AC29B7C97C50DD, 0x3F84D5B5B5470917),
    ],
    dtype=np.uint64,
)
_SALT = np.uint64(0x9216D5D98979FB1B)  # so that a block of zeros is no valid record


def checksum(records: NDArray[np.void]) -> NDArray[np.uint32]:
    """Return the check of each record, shape (n,): the high half of sum(word * odd constant) + salt, modulo 2^64."""
    words = np.ascontiguousarray(records).view("<u8").reshape(-1, _CHECKSUM_WORDS + 1).astype(np.uint64)
    words[:, _CHECKSUM_WORDS] &= np.uint64(0xFFFFFFFF)  # without the check itself
    with np.errstate(over="ignore"):
        total = (words * _MULTIPLIERS).sum(axis=1, dtype=np.uint64) + _SALT
    return np.asarray(total >> np.uint64(32), dtype=np.uint32)


class ErrorCode(NamedTuple):
    """An error as the service or this machine named it; samples point to it by number."""

    number: int
    outcome: Outcome
    code: str
    status: int
    message: str


def _category_mask(category: OutcomeCategory) -> NDArray[np.bool_]:
    table = np.zeros(256, dtype=bool)
    table[[outcome for outcome in Outcome if outcome.category is category]] = True
    return table


_CATEGORY_MASKS = {column: _category_mask(column) for column in OutcomeCategory}


def in_category(category: OutcomeCategory, samples: NDArray[np.void]) -> NDArray[np.bool_]:
    """Tell which samples fall into a column, shape (n,)."""
    return np.asarray(_CATEGORY_MASKS[category][samples["outcome"]], dtype=np.bool_)
