"""Reading saved runs: a saved run is read back exactly; damage is located, excluded and reported."""

import json
import os
import struct

import numpy as np
import pytest

from loadgen.errors import DataError
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE
from loadgen.results.directory import ResultsDirectory
from loadgen.results.reader import read_run, read_samples
from loadgen.workload.arrivals import even, poisson
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import ErrorLimit, Step
from tests.support.report_examples import manifest
from tests.support.saved_runs import execute_and_save

# The recipe of the guide page on output files: what a reader without loadgen needs.
RECIPE = [
    *[("seq", "<u8"), ("scheduled", "<f8"), ("sent", "<f8"), ("first_byte", "<f8"), ("done", "<f8")],
    *[("request_bytes", "<u4"), ("response_bytes", "<u4"), ("request_index", "<u4"), ("pool_wait", "<f4")],
    *[("outcome", "u1"), ("flags", "u1"), ("code", "<u2"), ("check", "<u4")],
]
METADATA = ("step", "started", "duration", "stop_reason", "scheduled", "window", "measurement_start", "generator_stats")
HEADER_BYTES = RECORD_BYTES = 64


@pytest.mark.parametrize(
    "step",
    [
        Step(ServerlessConfig(1024), ClosedLoop(4, count=2000, think=0.01), name="a/b ✓", phase="stability"),
        Step(None, OpenLoop(poisson(constant(80), seed=1), duration=20, max_in_flight=5), warmup=3.5),
        Step(None, ClosedLoop(4, count=300), warmup_calls=17),
        Step(ServerlessConfig(2048, 8), ClosedLoop(9, duration=7.3), error_limit=ErrorLimit(count=20)),
        Step(None, OpenLoop(even(constant(10)), duration=3)),
    ],
    ids=["closed", "open, warm-up", "warm-up calls", "error limit", "whole seconds"],
)
def test_a_saved_run_equals_the_engine_s_run(results, step):
    """Counts, histograms, windows, error codes and metadata read from disk equal those of the engine's run."""
    executed, saved, _ = execute_and_save(results, 1, step)
    assert (saved.tally.counts, saved.tally.warmup) == (executed.tally.counts, executed.tally.warmup)
    assert saved.tally.service == executed.tally.service
    assert saved.tally.response == executed.tally.response
    assert saved.window_counts.tolist() == executed.window_counts.tolist()
    assert saved.error_codes == executed.error_codes
    assert [getattr(saved, name) for name in METADATA] == [getattr(executed, name) for name in METADATA]
    assert (len(saved.samples), saved.data_errors) == (executed.scheduled, ())
    (again,) = ResultsDirectory.open(results.path).read_runs()
    assert again.tally.service == saved.tally.service
    assert ResultsDirectory.open(results.path).manifest == manifest("null")


def test_samples_are_readable_without_loadgen(saved_run):
    """numpy.fromfile with the documented dtype, after a header of 64 bytes, returns every request."""
    executed, directory, raw = saved_run
    samples = np.fromfile(directory / "samples.bin", dtype=RECIPE, offset=HEADER_BYTES)
    assert np.dtype(RECIPE).itemsize == RECORD_BYTES
    assert sorted(samples["seq"].tolist()) == list(range(255))
    assert (samples["outcome"] == 0).sum() == executed.tally.counts[Outcome.OK]
    assert raw[:HEADER_BYTES] == b"loadgen samples 1\n" + b"\0" * 46
    codes = [json.loads(line) for line in (directory / "codes.jsonl").read_bytes().splitlines()]
    assert [code["number"] for code in codes] == [1, 2, 3, 4]
    assert {code["outcome"] for code in codes} == {"throttled", "model_error", "reset", "server_5xx"}


def test_records_are_little_endian(saved_run):
    """The first record, unpacked as little-endian, is the first sample that loadgen reads."""
    _, directory, raw = saved_run
    seq, scheduled, sent, first, done = struct.unpack_from("<Qdddd", raw, HEADER_BYTES)
    samples, _ = read_samples(directory / "samples.bin")
    names = ("seq", "scheduled", "sent", "first_byte", "done")
    assert [seq, scheduled, sent, first, done] == [samples[0][name] for name in names]


def test_a_truncated_file_yields_its_complete_records(saved_run):
    """At every length of a file of 30 records: exactly the complete records, and the incomplete one is reported."""
    _, directory, raw = saved_run
    path = directory / "samples.bin"
    records = raw[HEADER_BYTES : 31 * RECORD_BYTES]
    path.write_bytes(raw[:HEADER_BYTES] + records)
    for length in range(31 * RECORD_BYTES - 1, -1, -1):
        os.truncate(path, length)
        samples, damage = read_samples(path)
        complete = max(0, (length - HEADER_BYTES) // RECORD_BYTES)
        assert samples.tobytes() == records[: complete * RECORD_BYTES]
        rest = length % RECORD_BYTES
        if length > HEADER_BYTES:
            assert damage == ([f"the last record is incomplete: {rest} of 64 bytes"] if rest else [])
        else:
            assert damage == (["the sample file ends within its header"] if length < HEADER_BYTES else [])


def test_a_truncated_run_is_read(saved_run):
    """A run whose sample file ends in the middle has the records before it, and reports the damage."""
    executed, directory, raw = saved_run
    os.truncate(directory / "samples.bin", HEADER_BYTES + RECORD_BYTES * 100 + 5)
    saved = read_run(directory)
    assert (len(saved.samples), saved.tally.total, saved.scheduled) == (100, 100, executed.scheduled)
    assert saved.data_errors == ("the last record is incomplete: 5 of 64 bytes",)
    assert len(raw) == RECORD_BYTES * 256


def test_flipped_bits_are_located_and_excluded(saved_run):
    """A record with one flipped bit is excluded and its number reported; a flip in the header is a DataError."""
    _, directory, raw = saved_run
    path = directory / "samples.bin"
    records = np.frombuffer(raw[HEADER_BYTES:], dtype=SAMPLE)
    rng = np.random.default_rng(1)
    for bit in [3, 511, *rng.integers(HEADER_BYTES * 8, len(raw) * 8, size=300).tolist()]:
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        if bit < HEADER_BYTES * 8:
            with pytest.raises(DataError):
                read_samples(path)
            continue
        record = bit // 8 // RECORD_BYTES - 1
        samples, damage = read_samples(path)
        assert samples.tobytes() == np.delete(records, record).tobytes()
        assert damage == [f"1 damaged records excluded, the first is record {record} of 255"]


def test_a_block_of_zeros_is_excluded(saved_run):
    """4 KB of zeros in the middle, as after a power failure, are 64 damaged records."""
    _, directory, raw = saved_run
    (directory / "samples.bin").write_bytes(raw[:4096] + bytes(4096) + raw[8192:])
    saved = read_run(directory)
    assert len(saved.samples) == 255 - 64
    assert saved.data_errors == ("64 damaged records excluded, the first is record 63 of 255",)


@pytest.mark.parametrize(
    "content", [b"x" * 64, b"loadgen samples 9\n".ljust(64, b"\0"), b"PK\x03\x04" * 100, b"\0" * 640]
)
def test_other_files_and_later_formats_are_rejected(saved_run, content):
    """A sample file of another format is a DataError that names the file, not an empty result (C128)."""
    _, directory, raw = saved_run
    (directory / "samples.bin").write_bytes(content + raw[64:])
    with pytest.raises(DataError, match=r"samples\.bin"):
        read_run(directory)


def test_a_killed_run_is_read(saved_run):
    """Without run.json all samples are read, and the missing file is reported."""
    executed, directory, _ = saved_run
    (directory / "run.json").unlink()
    saved = read_run(directory)
    assert (saved.stop_reason, saved.scheduled, saved.started, saved.endpoint) == ("killed", 255, 5.0, "e")
    assert saved.tally.counts == executed.tally.counts
    assert saved.duration == pytest.approx(executed.duration)
    assert "run.json is missing" in saved.data_errors[0]
    for name in ("samples.bin", "codes.jsonl"):
        (directory / name).unlink()
    assert read_run(directory).scheduled == 0


@pytest.mark.parametrize("name", ["step.json", "run.json"])
@pytest.mark.parametrize(
    "content", ["", "{", "[]", "5", '{"step": 5}', '{"step": {"type": "Nothing"}}', '{"window": "x"}', "\xff"]
)
def test_damaged_metadata_is_a_data_error(saved_run, name, content):
    """A step.json or run.json that cannot be read is a DataError."""
    _, directory, _ = saved_run
    if name == "run.json" and content.startswith('{"step'):
        content = '{"duration": {"type": "Nothing"}}'
    (directory / name).write_text(content, encoding="latin-1")
    with pytest.raises(DataError):
        read_run(directory)


@pytest.mark.parametrize("tail", ['{"number": 5, "outc', '{"number": 5}', "[]", '{"outcome": 5}', "\xff", "null"])
def test_damaged_error_codes_are_reported(saved_run, tail):
    """The error codes before the damage are read, and the damaged line is reported."""
    executed, directory, _ = saved_run
    with (directory / "codes.jsonl").open("a", encoding="latin-1") as file:
        file.write(tail)
    saved = read_run(directory)
    assert saved.error_codes == executed.error_codes
    assert saved.data_errors == ("codes.jsonl: unreadable from line 5 on",)
