"""Sample: the record of one request, in 64 bytes, with its checksum; and the error codes that samples refer to.

The fixed size lets a file of samples be read without an index, and from a file that was cut off:
`numpy.fromfile(path, dtype=SAMPLE, offset=64)`.
"""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadgen.measurement.outcome import Outcome, OutcomeCategory

# Format 1 (2026-11). Little-endian; instants are float seconds from the run's start, NaN when there is none.
SAMPLE = np.dtype(
    [
        ("seq", "<u8"),  # number of the request in the schedule
        ("scheduled", "<f8"),
        ("sent", "<f8"),
        ("first_byte", "<f8"),
        ("done", "<f8"),
        ("request_bytes", "<u4"),
        ("response_bytes", "<u4"),
        ("request_index", "<u4"),  # index into the scenario's requests
        ("pool_wait", "<f4"),  # seconds waited for a free connection; not part of the service time
        ("outcome", "u1"),  # an Outcome
        ("flags", "u1"),  # NEW_CONNECTION, WARMUP
        ("code", "<u2"),  # line number in codes.jsonl, from 1; 0 for none
        ("check", "<u4"),  # checksum(record)
    ]
)
NEW_CONNECTION = 1  # flag: a connection was opened for this request during the run
WARMUP = 2  # flag: recorded, not counted
SAMPLE_STRUCT = struct.Struct("<QddddIIIfBBHI")  # packs the fields of SAMPLE
assert SAMPLE_STRUCT.size == SAMPLE.itemsize == 64  # noqa: S101 - our own invariant, checked once at import
_CHECKSUM_WORDS = 7  # 64-bit words before the one that holds outcome, flags, code and the checksum itself
# Odd multipliers, so that a change in any single word changes the sum: the first words of pi's fractional part (the
# constants of Blowfish), made odd.
_MULTIPLIERS = np.array(
    [
        *(0x243F6A8885A308D3, 0x13198A2E03707345, 0xA4093822299F31D1, 0x082EFA98EC4E6C89),
        *(0x452821E638D01377, 0xBE5466CF34E90C6D, 0xC0AC29B7C97C50DD, 0x3F84D5B5B5470917),
    ],
    dtype=np.uint64,
)
_SALT = np.uint64(0x9216D5D98979FB1B)  # makes a block of zeros an invalid record


def checksum(records: NDArray[np.void]) -> NDArray[np.uint32]:
    """Return the checksum of each record, shape (n,): the high half of sum(word * multiplier) + salt modulo 2^64."""
    words = np.ascontiguousarray(records).view("<u8").reshape(-1, _CHECKSUM_WORDS + 1).astype(np.uint64)
    words[:, _CHECKSUM_WORDS] &= np.uint64(0xFFFFFFFF)  # without the checksum itself
    with np.errstate(over="ignore"):
        total = (words * _MULTIPLIERS).sum(axis=1, dtype=np.uint64) + _SALT
    return np.asarray(total >> np.uint64(32), dtype=np.uint32)


class ErrorCode(NamedTuple):
    """A distinct error of a run, as the service or this machine reported it. Samples refer to it by number.

    `original_status` is the status that the model container returned with a ModelError: 0 if it did not answer, as
    after a timeout; None if the error names none. `request_index` is the first of the scenario's requests that met it.
    """

    number: int
    outcome: Outcome
    code: str
    status: int
    message: str
    original_status: int | None = None
    request_index: int = 0


def _category_mask(category: OutcomeCategory) -> NDArray[np.bool_]:
    table = np.zeros(256, dtype=bool)
    table[[outcome for outcome in Outcome if outcome.category is category]] = True
    return table


_CATEGORY_MASKS = {category: _category_mask(category) for category in OutcomeCategory}


def in_category(category: OutcomeCategory, samples: NDArray[np.void]) -> NDArray[np.bool_]:
    """Return which samples are in a category, shape (n,)."""
    return np.asarray(_CATEGORY_MASKS[category][samples["outcome"]], dtype=np.bool_)
