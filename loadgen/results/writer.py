"""Recording: the files of one run while they are written. Append-only; what is written survives this process.

Where runs lie and how they are read is results.py's.
"""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from loadgen.atomic_file import atomic_write_json, disk_write_error
from loadgen.errors import WriteError
from loadgen.measurement.run import Run
from loadgen.measurement.sample import SAMPLE, ErrorCode
from loadgen.results.serialization import to_json
from loadgen.workload.step import Step

SAMPLE_FILE_HEADER = b"loadgen samples 1\n".ljust(SAMPLE.itemsize, b"\0")
# The circumstances of a run that are kept in its run.json.
RUN_METADATA_FIELDS = (
    *("started", "duration", "stop_reason", "scheduled", "window", "measurement_start", "generator_stats", "failure"),
    "workers",
    *("endpoint", "deploy_duration", "transport", "transport_note", "metrics", "server_counts", "together"),
)


class SampleWriter:
    """Takes one run's samples to disk; an engine's sink.

    Args:
        directory: of the run.
        file_suffix: which of several files of samples, such as `-01` for the first worker's; empty when there is one.

    Raises:
        WriteError: the disk refused; what is on it stays valid.
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
        # Unbuffered: what is written is the kernel's, and survives this process.
        return (self._directory / name).open("xb", buffering=0)

    def write_samples(self, batch: NDArray[np.void]) -> None:
        """Append a batch of records with one write."""
        self._append(self._sample_file, batch.tobytes())

    def write_error_code(self, error_code: ErrorCode) -> None:
        """Append an error that is seen for the first time."""
        self._append(
            self._error_code_file, orjson.dumps(error_code._asdict() | {"outcome": error_code.outcome.label}) + b"\n"
        )

    def _append(self, file: BinaryIO, content: bytes) -> None:
        if self._failure is not None:  # nothing is written behind a record that a full disk has torn
            raise self._failure
        view = memoryview(content)
        try:
            while view:  # a full disk may take a part of it
                view = view[file.write(view) :]
        except OSError as error:
            self._failure = disk_write_error(self._directory, error)
            raise self._failure from error

    def close(self) -> None:
        """Close the files; what they hold is on disk when this returns. Closing twice is harmless.

        Raises:
            WriteError: the disk refused.
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
    """A step's run while it is written."""

    def __init__(self, directory: Path, step: Step) -> None:
        self.directory = directory
        self.step = step
        self._read_offsets: dict[Path, int] = {}
        self._sample_writers: dict[str, SampleWriter] = {}

    @property
    def sink(self) -> SampleWriter:
        """The file that takes the samples of this process."""
        return self.sample_writer("")

    def sample_writer(self, file_suffix: str) -> SampleWriter:
        """Return the file that takes the samples of one of several workers, such as `-01`; made when first asked for.

        Raises:
            WriteError: the disk refused.
        """
        if file_suffix not in self._sample_writers:
            self._sample_writers[file_suffix] = SampleWriter(self.directory, file_suffix)
        return self._sample_writers[file_suffix]

    def close(self) -> None:
        """Close the files; what they hold is on disk when this returns. Closing twice is harmless.

        Raises:
            WriteError: the disk refused.
        """
        for file in self._sample_writers.values():
            file.close()

    def read_new_samples(self) -> NDArray[np.void]:
        """Return the samples that were written since it was asked last, by whichever worker; dtype SAMPLE."""
        found = [np.empty(0, SAMPLE)]
        for path in sorted(self.directory.glob("samples*.bin")):
            seen = self._read_offsets.get(path, len(SAMPLE_FILE_HEADER))
            whole = max(0, path.stat().st_size - seen) // SAMPLE.itemsize
            found.append(np.fromfile(path, SAMPLE, whole, offset=seen))
            self._read_offsets[path] = seen + whole * SAMPLE.itemsize
        return np.concatenate(found)

    def write_metadata(self, run: Run) -> None:
        """Write the circumstances, again when more has become known: CloudWatch answers late."""
        facts = {name: getattr(run, name) for name in RUN_METADATA_FIELDS}
        try:
            atomic_write_json(self.directory / "run.json", to_json(facts))
        except OSError as error:
            raise disk_write_error(self.directory, error) from error
