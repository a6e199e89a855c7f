"""ErrorTable: different errors are told apart, equal ones are not, and the table stays small."""

import random
import tracemalloc
import uuid

import numpy as np
import orjson
import pytest

from loadgen.measurement.error_table import FURTHER_CODES, FURTHER_MESSAGES, MAX_ERRORS, ErrorTable, fold_message
from loadgen.measurement.merge import merge_samples
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import checksum
from loadgen.results.serialization import to_untagged_json
from tests.support.random_samples import random_samples

MODEL_ERROR, OTHER = Outcome.MODEL_ERROR, Outcome.OTHER


def test_each_message_of_a_code_is_an_error_and_numbers_in_it_are_folded():
    """Different messages and container statuses of a code are told apart, 0 and none too; numbers are not."""
    table = ErrorTable()
    texts = [
        ("worker 1 died", 500),
        ("worker 22 died", 500),
        ("no column age", 400),
        ("worker 1 died", 0),
        ("worker 3 died", None),
    ]
    found = [table.number(MODEL_ERROR, "ModelError", 424, text, original_status=status) for text, status in texts]
    assert found == [1, 1, 2, 3, 4]
    kept = [(row.message, row.original_status) for row in table.rows]
    assert kept == [("worker 1 died", 500), ("no column age", 400), ("worker 1 died", 0), ("worker 3 died", None)]


def test_a_row_names_the_first_payload_that_met_the_error():
    """The row keeps the index of the first request, not of a later one."""
    table = ErrorTable()
    for index in (7, 3, 7):
        table.number(MODEL_ERROR, "ModelError", 424, "boom", request_index=index)
    assert [row.request_index for row in table.rows] == [7]


IDENTIFIERS = {
    "short": ["id a1b2", "id 77", "id c0de9"],
    "short, letters only": ["id beef", "id a1b2"],
    "after a sign": ["id=a1b2", "id=beef"],
    "words with digits": ["tensor t1 of batch2", "tensor t20 of batch3"],
    "uuids": [f"request {uuid.UUID(int=random.Random(n).getrandbits(128))} failed" for n in range(300)],
    "long hexadecimal": ["at deadbeefdeadbeef", "at 0123456789abcdef"],
    "numbers": ["took 1.25 s", "took 30.5 s"],
}


@pytest.mark.parametrize("texts", IDENTIFIERS.values(), ids=IDENTIFIERS)
def test_identifiers_are_folded(texts):
    """Texts that differ in numbers and identifiers alone are one error."""
    assert len({fold_message(text) for text in texts}) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("no column age", "no column name"), ("bad face", "bad cafe"), ("id missing", "id unknown")]
)
def test_words_are_not_folded(one, other):
    """Texts that differ in words are two errors, also where a word could be hexadecimal."""
    assert fold_message(one) != fold_message(other)


def letters(n: int) -> str:
    return "".join(chr(97 + int(digit)) for digit in str(n))


@pytest.mark.parametrize("varied", ["code", "message", "both", "container status"])
def test_a_flood_of_different_errors_stays_small(varied):
    """100,000 different codes and texts of 50 kB: a bounded number of rows, of bytes in memory, and of bytes on disk."""
    lines: list[bytes] = []
    table = ErrorTable(lambda row: lines.append(orjson.dumps(to_untagged_json(row))))
    # One text object of 50 kB for each call: what is kept of it must be a copy of its beginning.
    tail = "\u0416" * 50_000
    tracemalloc.start()
    try:
        for n in range(100_000):
            name = letters(n)
            code = name + (tail if n % 1000 == 0 else "") if varied in ("code", "both") else "E"
            text = name + (tail if n % 1000 == 0 else "") if varied in ("message", "both") else "m"
            status = n if varied == "container status" else None
            number = table.number(OTHER, code, 500, text, original_status=status)
            assert 1 <= number <= len(table.rows)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table.rows) == len(lines) <= MAX_ERRORS + 1
    assert kept < 8e6
    assert sum(map(len, lines)) < 3e6
    assert table.rows[-1].message == FURTHER_MESSAGES


def test_beyond_the_limit_each_outcome_has_one_more_row():
    """Errors beyond the table share a row of their outcome; earlier ones keep their numbers."""
    table = ErrorTable()
    for n in range(MAX_ERRORS + 5):
        table.number(OTHER, letters(n), 500, "")
    first = table.number(Outcome.RESET, "late", 0, "")
    assert first == table.number(Outcome.RESET, "later", 0, "") == MAX_ERRORS + 2
    assert table.number(OTHER, letters(0), 500, "") == 1
    assert [(row.outcome, row.code) for row in table.rows[MAX_ERRORS:]] == [
        (OTHER, FURTHER_CODES),
        (Outcome.RESET, FURTHER_CODES),
    ]


def test_a_merge_of_workers_has_the_limits_of_one():
    """Eight workers with different messages: 21 rows of the code after the merge, and each sample refers to a row."""
    parts = []
    for worker in range(8):
        table = ErrorTable()
        samples = random_samples(400, worker, first=400 * worker)
        failed = np.flatnonzero(samples["outcome"] == MODEL_ERROR)
        for n in failed.tolist():
            samples["code"][n] = table.number(MODEL_ERROR, "ModelError", 424, f"w{'x' * worker} {letters(n)}")
        samples["check"] = checksum(samples)
        parts.append((samples, table.rows))
    merged, codes = merge_samples(parts)
    assert len(codes) == 21
    assert [code.number for code in codes] == list(range(1, 22))
    assert set(np.unique(merged["code"][merged["outcome"] == MODEL_ERROR]).tolist()) <= set(range(1, 22))
    assert codes[-1].message == FURTHER_MESSAGES
