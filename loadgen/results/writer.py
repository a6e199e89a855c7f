"""Writers of the files of one run. Append-only: a killed process loses only samples that were not yet written."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from loadgen.atomic_file import atomic_write_json, disk_write_error
from loadgen.errors import WriteError
from loadgen.measurement.block import Block
from loadgen.measurement.run import Run
from loadgen.measurement.sample import SAMPLE, ErrorCode
from loadgen.results.serialization import to_json, to_untagged_json
from loadgen.workload.step import Step

BLOCKS_FILE = "blocks.jsonl"
BLOCK_FIELDS = ("round", "first_seq", "started", "offset")  # the count follows from the samples
SAMPLE_FILE_HEADER = b"loadgen samples 1\n".ljust(SAMPLE.itemsize, b"\0")
# The fields of Run in its run.json.
RUN_METADATA_FIELDS = (
    *("started", "duration", "stop_reason", "scheduled", "window", "measurement_start", "generator_stats", "failure"),
    "workers",
    *("endpoint", "deploy_duration", "transport", "transport_note", "metrics", "server_counts", "together"),
    "stop_detail",
)


class SampleWriter:
    """Writes the samples and error codes of a run to disk; a SampleSink of the engine.

    Args:
        directory: directory of the run.
        file_suffix: suffix of the file names, such as `-01` for the first of several workers; empty for one process.

    Raises:
        WriteError: writing failed; records that are already on disk stay valid.
    """

    def __init__(self, directory: Path, file_suffix: str = "") -> None:
        self._directory = directory
        self._failure: WriteError | None = None
        with ExitStack() as opened:
            try:
                self._sample_file = opened.enter_context(self._open(f"samples{file_suffix}.bin"))
                self._error_code_file = opened.enter_context(self._open(f"codes{file_suffix}.jsonl"))
                self._sample_file.write(SAMPLE_FILE_HEADER)
            except OSError as error:
                raise disk_write_error(directory, error) from error
            opened.pop_all()

    def _open(self, name: str) -> BinaryIO:
        # Unbuffered: written records survive the death of this process.
        return (self._directory / name).open("xb", buffering=0)

    def write_samples(self, batch: NDArray[np.void]) -> None:
        """Append a batch of records with one write."""
        self._append(self._sample_file, batch.tobytes())

    def write_error_code(self, error_code: ErrorCode) -> None:
        """Append an error code."""
        self._append(self._error_code_file, orjson.dumps(to_untagged_json(error_code)) + b"\n")

    def _append(self, file: BinaryIO, content: bytes) -> None:
        if self._failure is not None:  # never append after a partial record
            raise self._failure
        view = memoryview(content)
        try:
            while view:  # a nearly full disk accepts a part of it
                view = view[file.write(view) :]
        except OSError as error:
            self._failure = disk_write_error(self._directory, error)
            raise self._failure from error

    def close(self) -> None:
        """Flush the files to disk and close them. Idempotent.

        Raises:
            WriteError: flushing failed; the files are closed nevertheless.
        """
        if self._sample_file.closed:
            return
        try:
            for file in (self._sample_file, self._error_code_file):
                os.fsync(file.fileno())
        except OSError as error:
            raise disk_write_error(self._directory, error) from error
        finally:
            self._sample_file.close()
            self._error_code_file.close()


class RunWriter:
    """Writes the files of one run."""

    def __init__(self, directory: Path, step: Step) -> None:
        self.directory = directory
        self.step = step
        self._read_offsets: dict[Path, int] = {}
        self._sample_writers: dict[str, SampleWriter] = {}

    @property
    def sink(self) -> SampleWriter:
        """The writer of this process's samples."""
        return self.sample_writer("")

    def sample_writer(self, file_suffix: str) -> SampleWriter:
        """Return the writer of one worker's samples, such as `-01`; opened on first use.

        Raises:
            WriteError: the files cannot be created.
        """
        if file_suffix not in self._sample_writers:
            self._sample_writers[file_suffix] = SampleWriter(self.directory, file_suffix)
        return self._sample_writers[file_suffix]

    def close(self) -> None:
        """Flush the files to disk and close them. Idempotent.

        Raises:
            WriteError: flushing failed; the files are closed nevertheless.
        """
        for file in self._sample_writers.values():
            file.close()

    def write_block(self, block: Block) -> None:
        """Append a block that starts to blocks.jsonl, so that a killed run's instants can be mapped to the wall clock.

        Raises:
            WriteError: writing failed.
        """
        line = {name: getattr(block, name) for name in BLOCK_FIELDS}
        try:
            with (self.directory / BLOCKS_FILE).open("ab") as file:
                file.write(orjson.dumps(line) + b"\n")
        except OSError as error:
            raise disk_write_error(self.directory, error) from error

    def read_new_samples(self) -> NDArray[np.void]:
        """Return the samples written since the previous call, by all workers; dtype SAMPLE."""
        new_samples = [np.empty(0, SAMPLE)]
        for path in sorted(self.directory.glob("samples*.bin")):
            offset = self._read_offsets.get(path, len(SAMPLE_FILE_HEADER))
            count = max(0, path.stat().st_size - offset) // SAMPLE.itemsize
            new_samples.append(np.fromfile(path, SAMPLE, count, offset=offset))
            self._read_offsets[path] = offset + count * SAMPLE.itemsize
        return np.concatenate(new_samples)

    def write_metadata(self, run: Run) -> None:
        """Write run.json; called again when the CloudWatch metrics have been read.

        Raises:
            WriteError: writing failed.
        """
        metadata = {name: getattr(run, name) for name in RUN_METADATA_FIELDS}
        try:
            atomic_write_json(self.directory / "run.json", to_json(metadata))
        except OSError as error:
            raise disk_write_error(self.directory, error) from error
