"""Results: the output directory. Written as a run goes, append-only, and read back for every report.

    manifest.json                    what was run, written first
    runs/01-1024-mb/step.json        the step, written before its first request
                    samples.bin      64 bytes of header, then a record of 64 bytes for each request (record.SAMPLE)
                    codes.jsonl      every error as its sender named it, one for each line
                    samples-01.bin   the same of the first of several workers, with codes-01.jsonl; and so on
                    windows.hlog     every second as HdrHistogram's tools read it; service.ok.hgrm and so on beside it
                    run.json         the circumstances, written when the step has ended

Nothing is ever changed once written. A run without run.json died; what it recorded is still read.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from loadgen import hlog, merge
from loadgen.errors import DataError, InputError, OutputError, WriteError
from loadgen.load import OpenLoop
from loadgen.manifest import FORMAT, Manifest
from loadgen.outcome import Outcome
from loadgen.plain import from_plain, to_plain
from loadgen.record import ANSWERED, SAMPLE, WARMUP, Code, Tally, checksum, is_in
from loadgen.runs import NO_SAMPLES, Run
from loadgen.step import Step

HEADER = b"loadgen samples 1\n".ljust(SAMPLE.itemsize, b"\0")
_CHUNK = 1 << 16  # records folded at a time when a run is read: 4 MB
_KEPT = (
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
        try:
            self._samples = self._open(f"samples{part}.bin")
            self._codes = self._open(f"codes{part}.jsonl")
            self._samples.write(HEADER)
        except OSError as error:
            raise _write_error(directory, error) from error

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
        view = memoryview(content)
        try:
            while view:  # a full disk may take a part of it
                view = view[file.write(view) :]
        except OSError as error:
            raise _write_error(self._directory, error) from error

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
            raise _write_error(self._directory, error) from error
        finally:
            self._samples.close()
            self._codes.close()


class Results:
    """One output directory."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def create(cls, path: Path, manifest: Manifest) -> "Results":
        """Make the directory and write the manifest.

        Raises:
            OutputError: it cannot be made, or already holds a run.
        """
        prepare(path)
        try:
            (path / "runs").mkdir()
            _write_whole(path / "manifest.json", to_plain(manifest))
        except OSError as error:
            raise OutputError(f"cannot write into {path}: {error.strerror}", hint="choose another --out") from error
        return cls(path, manifest)

    @classmethod
    def open(cls, path: Path) -> "Results":
        """Read the manifest of a directory that holds a run.

        Raises:
            InputError: there is no run.
            DataError: its manifest is damaged, or of a later format.
        """
        try:
            plain = orjson.loads((path / "manifest.json").read_bytes())
        except OSError as error:
            raise InputError(
                f"{path} holds no run: {error.strerror}", hint="give a directory made by loadgen"
            ) from error
        except orjson.JSONDecodeError as error:
            raise DataError(f"{path / 'manifest.json'} is damaged: {error}") from error
        if not isinstance(plain, dict) or plain.get("is") != "Manifest":
            raise DataError(f"{path / 'manifest.json'} is not a manifest of loadgen")
        if plain.get("format") != FORMAT:
            raise DataError(
                f"{path} has format {plain.get('format')}; this version reads {FORMAT}", hint="upgrade loadgen"
            )
        return cls(path, from_plain(plain))

    def begin(self, number: int, step: Step, facts: Mapping[str, Any]) -> "Recording":
        """Make the directory of a step's run and open its files.

        Args:
            number: of the step in the plan, from 1; reports show runs in this order.
            step: what will be executed.
            facts: circumstances that are known already, as fields of Run.

        Raises:
            WriteError: the disk refused.
        """
        slug = re.sub(r"[^a-z0-9]+", "-", f"{step.phase} {step.name}".lower()).strip("-")[:60]
        directory = self.path / "runs" / f"{number:02d}-{slug or 'step'}"
        try:
            directory.mkdir()
            _write_whole(directory / "step.json", {"step": to_plain(step)} | to_plain(facts))
        except OSError as error:
            raise _write_error(directory, error) from error
        return Recording(directory, step)

    def runs(self) -> tuple[Run, ...]:
        """Read every run, in the order of execution; damage is located, left out, and said.

        Raises:
            DataError: a step's description is damaged, so that nothing of it can be told.
        """
        return tuple(read_run(directory) for directory in self._directories())

    def export(self) -> tuple[Run, ...]:
        """Write every run's windows.hlog and percentile distributions beside its samples, and return the runs.

        Raises:
            DataError: a step's description is damaged.
            WriteError: the disk refused.
        """
        runs = []
        for directory in self._directories():
            run = read_run(directory)
            runs.append(run)
            try:
                (directory / "windows.hlog").write_text("".join(f"{line}\n" for line in hlog.lines(run)), "ascii")
                for name, text in hlog.distributions(run):
                    (directory / name).write_text(text, "ascii")
            except OSError as error:
                raise _write_error(directory, error) from error
        return tuple(runs)

    def _directories(self) -> list[Path]:
        return sorted(path for path in (self.path / "runs").iterdir() if (path / "step.json").exists())


class Recording:
    """A step's run while it is written."""

    def __init__(self, directory: Path, step: Step) -> None:
        self.directory = directory
        self.step = step
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

    def finish(self, run: Run) -> Run:
        """Write the circumstances, and return the run as it will be read from now on.

        Raises:
            WriteError: the disk refused.
        """
        self.keep(run)
        return read_run(self.directory)

    def keep(self, run: Run) -> None:
        """Write the circumstances, again when more has become known: CloudWatch answers late."""
        facts = {name: getattr(run, name) for name in _KEPT}
        try:
            _write_whole(self.directory / "run.json", to_plain(facts))
        except OSError as error:
            raise _write_error(self.directory, error) from error


def prepare(path: Path) -> None:
    """Make an output directory, or refuse before anything is sent or created.

    Raises:
        OutputError: it cannot be made or written, or already holds a run.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if (path / "manifest.json").exists() or (path / "runs").exists():
            raise OutputError(f"{path} already holds a run", hint="choose another --out; runs are never overwritten")
        if not os.access(path, os.W_OK | os.X_OK):
            raise OutputError(f"{path} is not writable", hint="choose another --out")
    except OSError as error:
        raise OutputError(f"cannot make {path}: {error.strerror}", hint="choose another --out") from error


def read_run(directory: Path) -> Run:
    """Read one run from its directory.

    Raises:
        DataError: its step or its circumstances are damaged.
    """
    damage: list[str] = []
    facts = _read_plain(directory / "step.json")
    try:
        facts |= _read_plain(directory / "run.json")
    except FileNotFoundError:
        damage.append("the run did not end: it was killed, or is still going on")
    step = facts.pop("step")
    samples, codes, found = read_parts(directory)
    run = Run(
        step=step,
        started=facts.pop("started", 0.0),
        duration=facts.pop("duration", float(samples["done"].max()) if samples.size else 0.0),
        ended_by=facts.pop("ended_by", "killed"),
        scheduled=facts.pop("scheduled", len(samples)),
        codes=codes,
        samples=samples,
        damage=(*damage, *found),
        **{name: facts[name] for name in _KEPT if name in facts},
    )
    return _folded(run)


def read_parts(directory: Path) -> tuple[NDArray[np.void], tuple[Code, ...], list[str]]:
    """Read the samples and codes of every worker of a run, pooled; one file is mapped into memory as it is.

    Raises:
        DataError: a file is not one of samples, or of a later format.
    """
    damage: list[str] = []
    parts = []
    for path in sorted(directory.glob("samples*.bin")):
        samples, found = read_samples(path)
        codes = _read_codes(path.with_name(path.name.replace("samples", "codes").replace(".bin", ".jsonl")))
        parts.append((samples, codes))
        damage += found if path.name == "samples.bin" else [f"{path.name}: {words}" for words in found]
    return (*(merge.pool(parts) if parts else (NO_SAMPLES, ())), damage)


def _folded(run: Run) -> Run:
    """Return the run with its tally and windows, made from its samples alone."""
    tally = Tally()
    windows = max(1, int(np.ceil(run.duration / run.window))) if run.samples.size else 0
    per_window = np.zeros((windows, len(ANSWERED)), dtype=np.int64)
    for start in range(0, len(run.samples), _CHUNK):
        chunk = np.asarray(run.samples[start : start + _CHUNK])
        tally.fold(chunk, response=isinstance(run.step.load, OpenLoop))
        counted = chunk[(chunk["flags"] & WARMUP) == 0]
        at = np.clip(counted["done"] // run.window, 0, windows - 1).astype(np.int64)
        for number, column in enumerate(ANSWERED):
            per_window[:, number] += np.bincount(at[is_in(column, counted)], minlength=windows)
    return replace(run, tally=tally, per_window=per_window)


def read_samples(path: Path) -> tuple[NDArray[np.void], list[str]]:
    """Map a file of samples into memory, leaving out what is damaged.

    Returns:
        The records, dtype SAMPLE, and what was wrong with the file, in words.

    Raises:
        DataError: it is not such a file, or of a later format.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return NO_SAMPLES, []
    if size < len(HEADER):
        return NO_SAMPLES, ["the file of samples ends in its header"]
    with path.open("rb") as file:
        header = file.read(len(HEADER))
    if header != HEADER:
        raise DataError(f"{path} is not a file of samples of this format", hint="written by another version?")
    count, torn = divmod(size - len(HEADER), SAMPLE.itemsize)
    damage = [f"the last record is torn: {torn} of {SAMPLE.itemsize} bytes"] if torn else []
    if not count:
        return NO_SAMPLES, damage
    samples = np.memmap(path, dtype=SAMPLE, mode="r", offset=len(HEADER), shape=(count,))
    sound = np.concatenate([_sound(np.asarray(samples[i : i + _CHUNK])) for i in range(0, count, _CHUNK)])
    if sound.all():
        return samples, damage
    bad = np.flatnonzero(~sound)
    damage.append(f"{bad.size} damaged records left out, the first is record {bad[0]} of {count}")
    return np.asarray(samples)[sound], damage


def _sound(records: NDArray[np.void]) -> NDArray[np.bool_]:
    known = np.isin(records["outcome"], [int(outcome) for outcome in Outcome])
    return np.asarray((checksum(records) == records["check"]) & known, dtype=np.bool_)


def _read_codes(path: Path) -> tuple[Code, ...]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    codes = []
    for line in lines:
        try:
            plain = orjson.loads(line)
            codes.append(Code(**(plain | {"outcome": Outcome[plain["outcome"].upper()]})))
        except (orjson.JSONDecodeError, TypeError, KeyError):  # a torn last line
            break
    return tuple(codes)


def _read_plain(path: Path) -> dict[str, Any]:
    try:
        plain = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(plain, dict):
        raise DataError(f"{path} is damaged: not an object")
    return {key: from_plain(value) for key, value in plain.items()}


def _write_whole(path: Path, plain: object) -> None:
    """Write a JSON file so that it is there whole or not at all."""
    content = orjson.dumps(plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _write_error(path: Path, error: OSError) -> WriteError:
    return WriteError(f"cannot write {path}: {error.strerror}", hint="what is on disk stays valid: loadgen report DIR")
