"""Writing samples: whole records only, on disk at once, and a full disk is a WriteError."""

import json
import os

import numpy as np
import pytest

from loadgen.engine.engine import run
from loadgen.errors import WriteError
from loadgen.measurement.outcome import Outcome
from loadgen.measurement.sample import SAMPLE, ErrorCode
from loadgen.results import writer
from loadgen.results.writer import SampleWriter
from loadgen.workload.load import ClosedLoop
from tests.support.virtual_time import ONE_REQUEST, FakeTransport, VirtualClock, run_virtual


class FullDisk:
    """A file that accepts a number of bytes, then fails once with ENOSPC, then accepts any number."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes, self.content, self.closed = free_bytes, b"", False

    def write(self, data) -> int:
        if self.free_bytes == 0:
            self.free_bytes = 10**9
            raise OSError(28, "No space left on device")
        accepted = bytes(data[: self.free_bytes])
        self.free_bytes -= len(accepted)
        self.content += accepted
        return len(accepted)


@pytest.mark.parametrize("free_bytes", [1, 63, 64, 65, 100, 1000])
def test_a_full_disk_ends_the_run_and_keeps_whole_records(tmp_path, free_bytes):
    """The run ends with a WriteError, and nothing is appended after a partial record."""
    sample_writer = SampleWriter(tmp_path)
    real, sample_writer._sample_file = sample_writer._sample_file, FullDisk(free_bytes)
    load = ClosedLoop(2, count=10_000)
    with pytest.raises(WriteError, match="No space"):
        run_virtual(run(load, FakeTransport(), ONE_REQUEST, clock=VirtualClock(), sink=sample_writer))
    assert len(sample_writer._sample_file.content) == free_bytes
    real.close()
    sample_writer._error_code_file.close()


def test_dev_full_is_a_write_error(tmp_path):
    """Writing to /dev/full raises a WriteError that names the directory."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    sample_writer = SampleWriter(tmp_path)
    sample_writer._sample_file.close()
    with (
        open("/dev/full", "wb", buffering=0) as sample_writer._sample_file,
        pytest.raises(WriteError, match=str(tmp_path)),
    ):
        sample_writer.write_samples(np.zeros(3, SAMPLE))
    sample_writer._error_code_file.close()


def test_a_failed_fsync_is_a_write_error(tmp_path, monkeypatch):
    """close() raises a WriteError if fsync fails, and closes the files nevertheless (C96)."""
    sample_writer = SampleWriter(tmp_path)

    def fail(_fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(writer.os, "fsync", fail)
    with pytest.raises(WriteError, match="Input/output"):
        sample_writer.close()
    assert sample_writer._sample_file.closed
    assert sample_writer._error_code_file.closed
    sample_writer.close()


def test_an_existing_file_is_not_overwritten(tmp_path):
    """A second writer in the same directory is a WriteError and leaks no file descriptor."""
    SampleWriter(tmp_path).close()
    (tmp_path / "samples.bin").unlink()
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    with pytest.raises(WriteError):
        SampleWriter(tmp_path)
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before


def test_error_codes_are_written_at_once(tmp_path):
    """Each error code is a line of JSON on disk before the file is closed, whatever characters it contains."""
    sample_writer = SampleWriter(tmp_path)
    sample_writer.write_error_code(ErrorCode(1, Outcome.OTHER, "Odd\u2028\n", 418, '"quoted" \x00'))
    (line,) = (tmp_path / "codes.jsonl").read_bytes().splitlines()
    assert json.loads(line) == {
        "number": 1,
        "outcome": "other",
        "code": "Odd\u2028\n",
        "status": 418,
        "message": '"quoted" \x00',
        "original_status": None,
        "request_index": 0,
    }
    sample_writer.close()
