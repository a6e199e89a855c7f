"""Recording: the files of one run while they are written. Append-only; what is written survives this process.

Where runs lie and how they are read is results.py's.
"""

from contextlib import ExitStack
from loadgen.atomic_file import write_error
from loadgen.atomic_file import write_whole
from loadgen.errors import WriteError
from loadgen.measurement.run import Run
from loadgen.measurement.sample import Code
from loadgen.measurement.sample import SAMPLE
from loadgen.results.serialization import to_plain
from loadgen.workload.step import Step
from numpy.typing import NDArray
from pathlib import Path
from typing import BinaryIO
import numpy as np
import orjson
import os

HEADER = b"loadgen samples 1\n".ljust(SAMPLE.itemsize, b"\0")
# The circumstances of a run that are kept in its run.json.
KEPT = (
    *("started", "duration", "ended_by", "scheduled", "window", "measured_from", "watch", "failure"),
    "workers",
    *("endpoint", "deployed_in", "transport", "transport_note", "metrics", "ledger", "together"),
)


class SampleFile:
    """Takes one run's samples to disk; an engine's sink.

    Args:
        directory: of the run.
        part: which of several files of samples, such as `-01` for the first worker's; empty when there is one.

    Raises:
        WriteError: the disk refused; what is on it stays valid.
    """

    def __init__(self, directory: Path, part: str = "") -> None:
        self._directory = directory
        self._failure: WriteError | None = None
        with ExitStack() as opened:
            try:
                self._samples = opened.enter_context(self._open(f"samples{part}.bin"))
                self._codes = opened.enter_context(self._open(f"codes{part}.jsonl"))
                self._samples.write(HEADER)
            except OSError as error:
                raise write_error(directory, error) from error
            opened.pop_all()

    def _open(self, name: str) -> BinaryIO:
        # Unbuffered: what is written is the kernel's, and survives this process.
        return (self._directory / name).open("xb", buffering=0)

    def samples(self, batch: NDArray[np.void]) -> None:
        """Append a batch of records with one write."""
        self._append(self._samples, batch.tobytes())

    def code(self, code: Code) -> None:
        """Append an error that is seen for the first time."""
        self._append(self._codes, orjson.dumps(code._asdict() | {"outcome": code.outcome.label}) + b"\n")

    def _append(self, file: BinaryIO, content: bytes) -> None:
        if self._failure is not None:  # nothing is written behind a record that a full disk has torn
            raise self._failure
        view = memoryview(content)
        try:
            while view:  # a full disk may take a part of it
                view = view[file.write(view) :]
        except OSError as error:
            self._failure = write_error(self._directory, error)
            raise self._failure from error

    def close(self) -> None:
        """Close the files; what they hold is on disk when this returns. Closing twice is harmless.

        Raises:
            WriteError: the disk refused.
        """
        if self._samples.closed:
            return
        try:
            for file in (self._samples, self._codes):
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(self._directory, error) from error
        finally:
            self._samples.close()
            self._codes.close()


class Recording:
    """A step's run while it is written."""

    def __init__(self, directory: Path, step: Step) -> None:
        self.directory = directory
        self.step = step
        self._seen: dict[Path, int] = {}
        self._parts: dict[str, SampleFile] = {}

    @property
    def sink(self) -> SampleFile:
        """The file that takes the samples of this process."""
        return self.part("")

    def part(self, part: str) -> SampleFile:
        """Return the file that takes the samples of one of several workers, such as `-01`; made when first asked for.

        Raises:
            WriteError: the disk refused.
        """
        if part not in self._parts:
            self._parts[part] = SampleFile(self.directory, part)
        return self._parts[part]

    def close(self) -> None:
        """Close the files; what they hold is on disk when this returns. Closing twice is harmless.

        Raises:
            WriteError: the disk refused.
        """
        for file in self._parts.values():
            file.close()

    def fresh(self) -> NDArray[np.void]:
        """Return the samples that were written since it was asked last, by whichever worker; dtype SAMPLE."""
        found = [np.empty(0, SAMPLE)]
        for path in sorted(self.directory.glob("samples*.bin")):
            seen = self._seen.get(path, len(HEADER))
            whole = max(0, path.stat().st_size - seen) // SAMPLE.itemsize
            found.append(np.fromfile(path, SAMPLE, whole, offset=seen))
            self._seen[path] = seen + whole * SAMPLE.itemsize
        return np.concatenate(found)

    def keep(self, run: Run) -> None:
        """Write the circumstances, again when more has become known: CloudWatch answers late."""
        facts = {name: getattr(run, name) for name in KEPT}
        try:
            write_whole(self.directory / "run.json", to_plain(facts))
        except OSError as error:
            raise write_error(self.directory, error) from error
