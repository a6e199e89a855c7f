"""Results: the output directory. Written as a run goes, append-only, and read back for every report.

    manifest.json                    what was run, written first
    journal.jsonl                    what was created in the account (aws/journal.py)
    result.json                      how it all ended: exit status and causes, verdict, leftovers; written last
    runs/01-1024-mb/step.json        the step, written before its first request
                    samples.bin      64 bytes of header, then a record of 64 bytes for each request (record.SAMPLE)
                    codes.jsonl      every error as its sender named it, one for each line
                    samples-01.bin   the same of the first of several workers, with codes-01.jsonl; and so on
                    windows.hlog     every second as HdrHistogram's tools read it; service.ok.hgrm and so on beside it
                    run.json         the circumstances, written when the step has ended

Nothing is ever changed once written; how files are written is recording.py's. A run without run.json died; what it
recorded is still read.
"""

import itertools
import os
import re
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from loadgen import hlog, merge
from loadgen.errors import DataError, InputError, OutputError
from loadgen.load import OpenLoop
from loadgen.manifest import FORMAT, Manifest
from loadgen.outcome import Outcome
from loadgen.plain import from_plain, to_plain
from loadgen.presence import locked
from loadgen.record import ANSWERED, SAMPLE, WARMUP, Code, Tally, checksum, is_in
from loadgen.recording import DISK_ERRORS, HEADER, KEPT, Recording, write_error, write_whole
from loadgen.runs import NO_SAMPLES, Run
from loadgen.step import Step

RESULT = "result.json"
_OWN_ENDS = frozenset({"count", "duration", "schedule", "errors"})
_NUMBERS = ("started", "duration", "scheduled", "window", "measured_from", "deployed_in")
_CHUNK = 1 << 16  # records folded at a time when a run is read: 4 MB


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
            WriteError: the disk is full.
        """
        prepare(path)
        try:
            (path / "runs").mkdir()
            write_whole(path / "manifest.json", to_plain(manifest))
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise write_error(path, error) from error
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

    def begin(self, number: int, step: Step, facts: Mapping[str, Any]) -> Recording:
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
            write_whole(directory / "step.json", {"step": to_plain(step)} | to_plain(facts))
        except OSError as error:
            raise write_error(directory, error) from error
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
                raise write_error(directory, error) from error
        return tuple(runs)

    def finished(self) -> dict[int, Run]:
        """Return the runs that came to their own end, by the number of their step; the others must be repeated."""
        found = {}
        for directory in self._directories():
            number = _number(directory)
            if number.isdecimal() and (directory / "run.json").exists():
                run = read_run(directory)
                if run.ended_by in _OWN_ENDS and not run.damage and not any(worker.lost for worker in run.workers):
                    found[int(number)] = run
        return found

    def set_aside(self, kept: Container[int]) -> int:
        """Move what must be repeated into `interrupted/`, where no report looks, and return how many.

        Args:
            kept: numbers of the steps that stay.

        Raises:
            WriteError: the disk refused.
        """
        moved = 0
        for directory in sorted((self.path / "runs").glob("*")):
            number = _number(directory)
            if number.isdecimal() and int(number) in kept:
                continue
            try:
                aside = self.path / "interrupted"
                aside.mkdir(exist_ok=True)
                free = (aside / f"{directory.name}.{n}" for n in itertools.count(1))
                directory.rename(next(path for path in free if not path.exists()))
            except OSError as error:
                raise write_error(directory, error) from error
            moved += 1
        return moved

    def conclude(self, result: Mapping[str, Any]) -> None:
        """Write result.json: how the whole of it ended.

        Raises:
            WriteError: the disk refused.
        """
        try:
            write_whole(self.path / RESULT, result)
        except OSError as error:
            raise write_error(self.path / RESULT, error) from error

    def partial(self) -> str:
        """Say why this is only a part of what was planned; empty when it is all."""
        try:
            result = orjson.loads((self.path / RESULT).read_bytes())
        except FileNotFoundError:
            return "loadgen was killed, or is still running"
        except (OSError, orjson.JSONDecodeError):
            return f"{RESULT} cannot be read"
        return str(result.get("partial", "")) if isinstance(result, dict) else f"{RESULT} cannot be read"

    def _directories(self) -> list[Path]:
        """Return the runs' directories in the order of execution: 11 before 100."""
        found = [path for path in (self.path / "runs").glob("*") if (path / "step.json").exists()]
        return sorted(found, key=lambda path: (int(_number(path)) if _number(path).isdecimal() else 0, path.name))


def _number(directory: Path) -> str:
    return directory.name.partition("-")[0]


@contextmanager
def occupied(path: Path, *, is_resumed: bool) -> Iterator[str]:
    """Make an output directory and keep it for this process, or refuse before anything is sent or created.

    Args:
        path: of the directory.
        is_resumed: True when it must hold a run, False when it must not.

    Yields:
        What there is to say of a lock that a dead process left; empty when there was none.

    Raises:
        OutputError: it cannot be made or written, holds a run, or is in use.
        InputError: it holds no run, and should.
    """
    prepare(path, is_resumed=is_resumed)
    try:
        with locked(path) as note:
            prepare(path, is_resumed=is_resumed)  # whoever had the lock a moment ago may have begun
            yield note
    finally:
        with suppress(OSError):
            path.rmdir()  # a start that was refused leaves no empty directory


def prepare(path: Path, *, is_resumed: bool = False) -> None:
    """Make an output directory, or refuse before anything is sent or created.

    Args:
        path: of the directory.
        is_resumed: True when it must hold a run, False when it must not.

    Raises:
        OutputError: it cannot be made or written, or already holds a run.
        InputError: it holds no run, and should.
    """
    if "\0" in str(path):
        raise OutputError(f"{str(path)!r} can be no directory", hint="choose another --out")
    try:
        if is_resumed:
            if not (path / "manifest.json").is_file():
                raise InputError(f"{path} holds no run to resume", hint="give a directory made by loadgen")
        else:
            path.mkdir(parents=True, exist_ok=True)
            if (path / "manifest.json").exists() or (path / "runs").exists():
                hint = "choose another --out, or --resume it; runs are never overwritten"
                raise OutputError(f"{path} already holds a run", hint=hint)
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
    step = facts.pop("step", None)
    wrong = [name for name in _NUMBERS if not isinstance(facts.get(name, 0.0), (int, float))]
    if wrong or not isinstance(step, Step) or not facts.get("window", 1.0) > 0:
        raise DataError(f"{directory} is damaged: {', '.join(wrong) or 'its step or window'} cannot be read")
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
        **{name: facts[name] for name in KEPT if name in facts},
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
        table = path.with_name(path.name.replace("samples", "codes").replace(".bin", ".jsonl"))
        codes, lost = _read_codes(table)
        parts.append((samples, codes))
        damage += found if path.name == "samples.bin" else [f"{path.name}: {words}" for words in found]
        damage += [f"{table.name}: line {lost} and what follows cannot be read"] if lost else []
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


def _read_codes(path: Path) -> tuple[tuple[Code, ...], int]:
    """Return the errors, and the number of the first line that cannot be read; 0 when all can."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return (), 0
    codes: list[Code] = []
    for number, line in enumerate(lines, 1):
        try:
            plain = orjson.loads(line)
            codes.append(Code(**(plain | {"outcome": Outcome[plain["outcome"].upper()]})))
        except (orjson.JSONDecodeError, AttributeError, TypeError, KeyError):
            return tuple(codes), number
    return tuple(codes), 0


def _read_plain(path: Path) -> dict[str, Any]:
    try:
        plain = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(plain, dict):
        raise DataError(f"{path} is damaged: not an object")
    return {key: from_plain(value) for key, value in plain.items()}
