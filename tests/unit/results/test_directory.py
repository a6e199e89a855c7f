"""The output directory: what a run was comes back exactly, and damage is located, left out and said."""

import asyncio
import json
import os
import struct

import numpy as np
import pytest

from loadgen.engine.engine import run
from loadgen.errors import DataError, InputError, OutputError, WriteError
from loadgen.interfaces import Identity
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE, ErrorCode
from loadgen.results import writer
from loadgen.results.directory import ResultsDirectory, prepare_directory
from loadgen.results.manifest import FORMAT, Manifest
from loadgen.results.reader import read_run, read_samples
from loadgen.results.writer import SampleWriter
from loadgen.workload.arrivals import even, poisson
from loadgen.workload.load import ClosedLoop, OpenLoop
from loadgen.workload.rate import constant
from loadgen.workload.serverless_config import ServerlessConfig
from loadgen.workload.step import ErrorLimit, Step
from tests.support.virtual_time import (
    FAILED,
    OK,
    ONE_REQUEST,
    THROTTLED,
    FakeReply,
    FakeTransport,
    VirtualClock,
    run_virtual,
)

# The README's recipe, written out: this is all that a reader without loadgen needs.
RECIPE = [
    *[("seq", "<u8"), ("scheduled", "<f8"), ("sent", "<f8"), ("first_byte", "<f8"), ("done", "<f8")],
    *[("request_bytes", "<u4"), ("response_bytes", "<u4"), ("payload", "<u4"), ("pool_wait", "<f4")],
    *[("outcome", "u1"), ("flags", "u1"), ("code", "<u2"), ("check", "<u4")],
]
SCRIPT = [OK, THROTTLED, OK, FAILED, FakeReply(0.02, error=Outcome.RESET), OK, FakeReply(0.03, 503)]


def manifest(**changes) -> Manifest:
    return Manifest(
        **{
            "run_id": "r1",
            "created": "2026-11-01T12:00:00+00:00",
            "scenario": "s.py",
            "title": "?",
            "kind": "Scenario",
            "settings": {"seed": 1, "backoff": 0.1},
            "scenario_sha256": "",
            "payloads": {"count": 1},
            "seed": 1,
            "identity": Identity("null"),
            "versions": {"python": "3"},
            "command": "x",
            **changes,
        }
    )


def execute(results, number, step, script=SCRIPT, **more):
    """Run a step in virtual time into a directory; returns the engine's run and the one that was read back."""
    recording = results.create_run(number, step, {"started": 5.0, "endpoint": "e"})
    far = FakeTransport(lambda n, _t: script[n % len(script)])
    done = run_virtual(run(step, far, ONE_REQUEST, clock=VirtualClock(), sink=recording.sink, **more))
    recording.close()
    recording.write_metadata(done)
    return done, read_run(recording.directory), recording.directory


@pytest.fixture
def out(tmp_path):
    return ResultsDirectory.create(tmp_path / "out", manifest())


@pytest.fixture
def sixteen_kb(out):
    """A run of 255 records: 16 KB of samples with their header."""
    step = Step(ServerlessConfig(1024), ClosedLoop(3, count=255))
    done, _, directory = execute(out, 1, step)
    return done, directory, (directory / "samples.bin").read_bytes()


@pytest.mark.parametrize(
    "step",
    [
        Step(ServerlessConfig(1024), ClosedLoop(4, count=5000, think=0.01), name="a/b ✓", phase="stability"),
        Step(None, OpenLoop(poisson(constant(80), seed=1), duration=20, max_in_flight=5), warmup=3.5),
        Step(None, ClosedLoop(4, count=300), warmup_calls=17),
        Step(ServerlessConfig(2048, 8), ClosedLoop(9, duration=7.3), error_limit=ErrorLimit(count=20)),
        Step(None, OpenLoop(even(constant(10)), duration=3)),
    ],
    ids=["closed", "open, warm-up", "warm-up calls", "error limit", "whole seconds"],
)
def test_a_run_comes_back_from_disk_as_the_engine_returned_it(out, step):
    """Counts, histograms, windows, codes and circumstances are the same, made from the samples alone."""
    done, back, _ = execute(out, 1, step)
    assert (back.tally.counts, back.tally.warmup) == (done.tally.counts, done.tally.warmup)
    assert back.tally.service == done.tally.service
    assert back.tally.response == done.tally.response
    assert back.window_counts.tolist() == done.window_counts.tolist()
    assert back.error_codes == done.error_codes
    kept = (
        "step",
        "started",
        "duration",
        "stop_reason",
        "scheduled",
        "window",
        "measurement_start",
        "generator_stats",
        "metrics",
    )
    assert [getattr(back, name) for name in kept] == [getattr(done, name) for name in kept]
    assert (len(back.samples), back.data_errors) == (done.scheduled, ())
    (again,) = ResultsDirectory.open(out.path).read_runs()
    assert again.tally.service == back.tally.service
    assert ResultsDirectory.open(out.path).manifest == manifest()


def test_the_samples_are_readable_without_loadgen(sixteen_kb):
    """numpy.fromfile with the documented record, after 64 bytes of header, gives every request."""
    done, directory, raw = sixteen_kb
    samples = np.fromfile(directory / "samples.bin", dtype=RECIPE, offset=64)
    assert np.dtype(RECIPE).itemsize == 64
    assert sorted(samples["seq"].tolist()) == list(range(255))
    assert (samples["outcome"] == 0).sum() == done.tally.counts[Outcome.OK]
    assert raw[:64] == b"loadgen samples 1\n" + b"\0" * 46
    codes = [json.loads(line) for line in (directory / "codes.jsonl").read_bytes().splitlines()]
    assert [code["number"] for code in codes] == [1, 2, 3, 4]
    assert {code["outcome"] for code in codes} == {"throttled", "model_error", "reset", "server_5xx"}


def test_a_file_that_was_cut_anywhere_gives_its_whole_records(sixteen_kb):
    """At every one of 16 K lengths: exactly the records that are complete, and the torn one is named."""
    _, directory, raw = sixteen_kb
    path = directory / "samples.bin"
    whole, _ = read_samples(path)
    whole = whole.tobytes()
    for length in range(len(raw) - 1, -1, -1):
        os.truncate(path, length)
        samples, damage = read_samples(path)
        complete = max(0, (length - 64) // 64)
        assert samples.tobytes() == whole[: complete * 64]
        if length % 64:
            assert damage == ([f"the last record is torn: {length % 64} of 64 bytes"] if length > 64 else damage)
            assert damage
        elif length:
            assert damage == []


def test_a_cut_run_is_still_a_run(sixteen_kb):
    """The report's reading of a run whose file ends in the middle: the records before it, and the damage."""
    done, directory, raw = sixteen_kb
    os.truncate(directory / "samples.bin", 64 + 64 * 100 + 5)
    back = read_run(directory)
    assert (len(back.samples), back.tally.total, back.scheduled) == (100, 100, done.scheduled)
    assert back.data_errors == ("the last record is torn: 5 of 64 bytes",)
    assert len(raw) == 64 * 256


def test_flipped_bits_are_located_and_left_out(sixteen_kb):
    """10,000 single flips: the record is left out and its number told; a flip in the header is another format."""
    _, directory, raw = sixteen_kb
    path = directory / "samples.bin"
    whole = np.frombuffer(raw[64:], dtype=SAMPLE)
    rng = np.random.default_rng(1)
    for bit in rng.integers(len(raw) * 8, size=10_000 // 10).tolist():
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        if bit < 64 * 8:
            with pytest.raises(DataError):
                read_samples(path)
            continue
        record = bit // 8 // 64 - 1
        samples, damage = read_samples(path)
        assert samples.tobytes() == np.delete(whole, record).tobytes()
        assert damage == [f"1 damaged records left out, the first is record {record} of 255"]


def test_a_block_of_zeros_is_left_out(sixteen_kb):
    """4 KB of zeros in the middle, as after a power cut, are 64 damaged records."""
    _, directory, raw = sixteen_kb
    (directory / "samples.bin").write_bytes(raw[:4096] + bytes(4096) + raw[8192:])
    back = read_run(directory)
    assert len(back.samples) == 255 - 64
    assert back.data_errors == ("64 damaged records left out, the first is record 63 of 255",)


@pytest.mark.parametrize(
    "content", [b"x" * 64, b"loadgen samples 2\n".ljust(64, b"\0"), b"PK\x03\x04" * 100, b"\0" * 640]
)
def test_foreign_files_and_later_formats_are_refused(sixteen_kb, content):
    """C128: they are a DataError with the file's path, not empty results."""
    _, directory, raw = sixteen_kb
    (directory / "samples.bin").write_bytes(content + raw[64:])
    with pytest.raises(DataError, match=r"samples\.bin"):
        read_run(directory)


def test_a_run_that_was_killed_is_still_read(sixteen_kb):
    """Without run.json everything recorded is there, and the damage says that the run did not end."""
    done, directory, _ = sixteen_kb
    (directory / "run.json").unlink()
    back = read_run(directory)
    assert (back.stop_reason, back.scheduled, back.started, back.endpoint) == ("killed", 255, 5.0, "e")
    assert back.tally.counts == done.tally.counts
    assert back.duration == pytest.approx(done.duration)
    assert "did not end" in back.data_errors[0]
    for name in ("samples.bin", "codes.jsonl"):
        (directory / name).unlink()
    assert read_run(directory).scheduled == 0


@pytest.mark.parametrize("name", ["step.json", "run.json"])
@pytest.mark.parametrize(
    "content", ["", "{", "[]", "5", '{"step": 5}', '{"step": {"type": "Nothing"}}', '{"window": "x"}', "\xff"]
)
def test_damaged_circumstances_are_a_data_error(sixteen_kb, name, content):
    """A step or a circumstance that cannot be read is a DataError that names the file or the value."""
    _, directory, _ = sixteen_kb
    if name == "run.json" and content.startswith('{"step'):
        content = '{"duration": {"type": "Nothing"}}'
    (directory / name).write_text(content, encoding="latin-1")
    with pytest.raises(DataError):
        read_run(directory)


@pytest.mark.parametrize("tail", ['{"number": 5, "outc', '{"number": 5}', "[]", '{"outcome": 5}', "\xff", "null"])
def test_a_damaged_table_of_codes_is_said(sixteen_kb, tail):
    """The codes before the damage are there, and the run's damage names the table."""
    done, directory, _ = sixteen_kb
    with (directory / "codes.jsonl").open("a", encoding="latin-1") as file:
        file.write(tail)
    back = read_run(directory)
    assert back.error_codes == done.error_codes
    assert "codes.jsonl" in back.data_errors[0]


def test_runs_come_in_the_order_of_execution(out):
    """The hundredth step comes after the eleventh, not before it."""
    for number in (1, 2, 11, 100, 101):
        execute(out, number, Step(None, ClosedLoop(1, count=number)))
    assert [r.scheduled for r in ResultsDirectory.open(out.path).read_runs()] == [1, 2, 11, 100, 101]


# -- the directory ----------------------------------------------------------------------------------------------------


def test_a_directory_that_holds_a_run_is_refused(out):
    """C94: nothing is overwritten, whether the manifest or only the runs are there."""
    before = sorted(path.name for path in out.path.rglob("*"))
    with pytest.raises(OutputError, match="already holds"):
        ResultsDirectory.create(out.path, manifest())
    (out.path / "manifest.json").unlink()
    with pytest.raises(OutputError, match="already holds"):
        prepare_directory(out.path)
    assert sorted([path.name for path in out.path.rglob("*")] + ["manifest.json"]) == before


def test_an_existing_empty_directory_is_used(tmp_path):
    """A directory of the user's own without a run in it, whatever else it holds, is taken."""
    (tmp_path / "notes.txt").write_text("mine")
    ResultsDirectory.create(tmp_path, manifest())
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["file", "file/below", "n" * 300, "a\0b"])
def test_a_place_that_cannot_be_made_is_refused(tmp_path, name):
    """C93: a file in the way, or a name that no file system takes, is an OutputError."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        prepare_directory(tmp_path / name)


def test_a_directory_without_a_run_is_no_input(tmp_path):
    """Reading nothing is an InputError; a manifest of something else, or a damaged one, a DataError."""
    with pytest.raises(InputError):
        ResultsDirectory.open(tmp_path)
    for content in (
        "{",
        "[]",
        "5",
        "{}",
        '{"type": "Step"}',
        '{"type": "Manifest"}',
        '{"type": "Manifest", "format": 2}',
        "\xff",
    ):
        (tmp_path / "manifest.json").write_text(content, encoding="latin-1")
        with pytest.raises(DataError):
            ResultsDirectory.open(tmp_path)


def test_a_later_format_is_refused(out):
    """C128: a directory of a later version says so instead of being half understood."""
    path = out.path / "manifest.json"
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', f'"format": {FORMAT + 1}'))
    with pytest.raises(DataError, match="upgrade"):
        ResultsDirectory.open(out.path)


def test_a_manifest_without_runs_has_none(out):
    """A benchmark that ended before its first step is a directory without runs."""
    assert ResultsDirectory.open(out.path).read_runs() == ()
    (out.path / "runs").rmdir()
    assert ResultsDirectory.open(out.path).read_runs() == ()


# -- a disk that refuses ----------------------------------------------------------------------------------------------


class Disk:
    """Stands for a file on a disk that takes so many bytes and no more; then it has room again."""

    def __init__(self, room: int) -> None:
        self.room, self.content, self.closed = room, b"", False

    def write(self, data) -> int:
        if self.room == 0:
            self.room = 10**9
            raise OSError(28, "No space left on device")
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        self.content += taken
        return len(taken)


@pytest.mark.parametrize("room", [1, 63, 64, 65, 100, 1000])
def test_a_full_disk_ends_the_run_and_leaves_whole_records(tmp_path, room):
    """The run ends with a WriteError; what was kept is a prefix, and nothing is appended behind a torn record."""
    file = SampleWriter(tmp_path)
    real, file._sample_file = file._sample_file, Disk(room)
    with pytest.raises(WriteError, match="No space"):
        run_virtual(run(ClosedLoop(2, count=10_000), FakeTransport(), ONE_REQUEST, clock=VirtualClock(), sink=file))
    assert len(file._sample_file.content) == room
    real.close()
    file._error_code_file.close()


def test_dev_full_is_a_write_error(tmp_path):
    """The kernel's own full disk: a WriteError that names the directory."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    file = SampleWriter(tmp_path)
    file._sample_file.close()
    with open("/dev/full", "wb", buffering=0) as file._sample_file, pytest.raises(WriteError, match=str(tmp_path)):
        file.write_samples(np.zeros(3, SAMPLE))
    file._error_code_file.close()


def test_a_failing_fsync_is_told(tmp_path, monkeypatch):
    """C96: closing says that the disk refused, and closes all the same."""
    file = SampleWriter(tmp_path)

    def refuse(_fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(writer.os, "fsync", refuse)
    with pytest.raises(WriteError, match="Input/output"):
        file.close()
    assert file._sample_file.closed
    assert file._error_code_file.closed
    file.close()


def test_a_sample_file_never_overwrites(tmp_path):
    """A second one in the same directory is a WriteError and leaves the first as it was, and no descriptor open."""
    SampleWriter(tmp_path).close()
    (tmp_path / "samples.bin").unlink()
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    with pytest.raises(WriteError):
        SampleWriter(tmp_path)
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before


def test_codes_are_written_as_they_are_seen(tmp_path):
    """Each is a line of JSON on disk at once, before the file is closed."""
    file = SampleWriter(tmp_path)
    file.write_error_code(ErrorCode(1, Outcome.OTHER, "Odd\u2028\n", 418, '"quoted" \x00'))
    (line,) = (tmp_path / "codes.jsonl").read_bytes().splitlines()
    assert json.loads(line) == {
        "number": 1,
        "outcome": "other",
        "code": "Odd\u2028\n",
        "status": 418,
        "message": '"quoted" \x00',
    }
    file.close()


def test_records_are_little_endian_everywhere(sixteen_kb):
    """The first record, unpacked by hand, is the first request."""
    _, directory, raw = sixteen_kb
    seq, scheduled, sent, first, done = struct.unpack_from("<Qdddd", raw, 64)
    samples, _ = read_samples(directory / "samples.bin")
    assert [seq, scheduled, sent, first, done] == [
        samples[0][name] for name in ("seq", "scheduled", "sent", "first_byte", "done")
    ]
    assert asyncio.iscoroutinefunction(run)
