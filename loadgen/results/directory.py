"""The output directory: create, open, resume, and list its runs.

    manifest.json                    what is run; written first
    journal.jsonl                    AWS resources of the run (aws/deployment/journal.py)
    result.json                      exit status and causes, verdict, leftovers; written last
    runs/01-1024-mb/step.json        the step; written before its first request
                    samples.bin      64-byte header, then one 64-byte record per request (measurement/sample.py)
                    codes.jsonl      each distinct error code once, one per line
                    blocks.jsonl     the blocks of a step measured in rounds, one per line; written as they start
                    samples-01.bin   the same for the first of several workers, with codes-01.jsonl; and so on
                    windows.hlog     HdrHistogram interval log; with service.ok.hgrm and so on
                    run.json         metadata of the run; written when the step has ended

Samples are only appended. A run without run.json was killed; its samples are still read.
"""

import itertools
import os
import re
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from loadgen.atomic_file import DISK_ERRNOS, atomic_write_json, disk_write_error, reserve_space
from loadgen.errors import DataError, InputError, OutputError
from loadgen.measurement.run import Run
from loadgen.results import hdr_log
from loadgen.results.lock import directory_lock
from loadgen.results.manifest import FORMAT, Manifest
from loadgen.results.reader import read_run
from loadgen.results.serialization import from_json, to_json
from loadgen.results.writer import RunWriter
from loadgen.workload.step import Step

RESULT_FILE_NAME = "result.json"
_RESULT_BYTES = 16 * 1024  # some 3 KB with a dozen of causes and leftovers; blocks of a file system have 4 KB
_COMPLETE_STOP_REASONS = frozenset({"count", "duration", "schedule", "errors", "decided"})


class ResultsDirectory:
    """An output directory with its manifest."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def create(cls, path: Path, manifest: Manifest) -> "ResultsDirectory":
        """Create the directory and write the manifest.

        Raises:
            OutputError: the directory cannot be created, or already holds a run.
            WriteError: the disk is full.
        """
        prepare_directory(path)
        try:
            (path / "runs").mkdir()
            atomic_write_json(path / "manifest.json", to_json(manifest))
            reserve_space(path / RESULT_FILE_NAME, _RESULT_BYTES)
        except OSError as error:
            if error.errno in DISK_ERRNOS:
                raise disk_write_error(path, error) from error
            raise OutputError(f"cannot write to {path}: {error.strerror}", hint="choose another --out") from error
        return cls(path, manifest)

    @classmethod
    def open(cls, path: Path) -> "ResultsDirectory":
        """Open a directory that holds a run.

        Raises:
            InputError: the directory holds no run.
            DataError: its manifest is damaged, or has another format.
        """
        try:
            saved = orjson.loads((path / "manifest.json").read_bytes())
        except OSError as error:
            raise InputError(
                f"{path} holds no run: {error.strerror}", hint="give a directory made by loadgen"
            ) from error
        except orjson.JSONDecodeError as error:
            raise DataError(f"{path / 'manifest.json'} is damaged: {error}") from error
        if not isinstance(saved, dict) or saved.get("type") != "Manifest":
            raise DataError(f"{path / 'manifest.json'} is not a manifest of loadgen")
        if saved.get("format") != FORMAT:
            raise DataError(
                f"{path} has format {saved.get('format')}; this version reads {FORMAT}",
                hint="use the version of loadgen that wrote it",
            )
        return cls(path, from_json(saved))

    def create_run(self, number: int, step: Step, metadata: Mapping[str, Any]) -> RunWriter:
        """Create the directory of a step's run and write step.json.

        Args:
            number: number of the step in the plan, from 1; reports list runs in this order.
            step: the step.
            metadata: fields of Run that are already known.

        Raises:
            WriteError: writing failed.
        """
        slug = re.sub(r"[^a-z0-9]+", "-", f"{step.phase} {step.name}".lower()).strip("-")[:60]
        directory = self.path / "runs" / f"{number:02d}-{slug or 'step'}"
        try:
            directory.mkdir()
            atomic_write_json(directory / "step.json", {"step": to_json(step)} | to_json(metadata))
        except OSError as error:
            raise disk_write_error(directory, error) from error
        return RunWriter(directory, step)

    def read_runs(self) -> tuple[Run, ...]:
        """Read all runs in order of execution; `Run.data_errors` lists damage.

        Raises:
            DataError: a step.json or run.json is damaged.
        """
        return tuple(read_run(directory) for directory in self._run_directories())

    def write_hdr_logs(self) -> tuple[Run, ...]:
        """Write windows.hlog and the percentile distributions of every run, and return the runs.

        Raises:
            DataError: a step.json or run.json is damaged.
            WriteError: writing failed.
        """
        runs = self.read_runs()
        directories, written = self._run_directories(), list[Path]()
        for directory, run in zip(directories, runs, strict=True):
            texts = itertools.chain(
                (("windows.hlog", "".join(f"{line}\n" for line in hdr_log.log_lines(run))),),
                hdr_log.percentile_distributions(run),
            )
            try:
                for name, text in texts:
                    written.append(directory / name)
                    written[-1].write_text(text, "ascii")
            except OSError as error:
                # Cut files mislead; those that are whole can be written again from the samples.
                for path in written:
                    with suppress(OSError):
                        path.unlink(missing_ok=True)
                raise disk_write_error(directory, error) from error
        return runs

    def read_completed_runs(self) -> dict[int, Run]:
        """Return the completed runs by step number; --resume repeats the others."""
        completed = {}
        for directory in self._run_directories():
            number = _step_number(directory)
            if number and (directory / "run.json").exists():
                run = read_run(directory)
                is_intact = not run.data_errors and not any(worker.lost_reason for worker in run.workers)
                if is_intact and not run.failure and run.stop_reason in _COMPLETE_STOP_REASONS:
                    completed[number] = run
        return completed

    def archive_incomplete(self, completed: Container[int]) -> int:
        """Move incomplete runs into `interrupted/`, which reports ignore, and return their number.

        Args:
            completed: numbers of the steps that are kept.

        Raises:
            WriteError: moving failed.
        """
        moved = 0
        for directory in sorted((self.path / "runs").glob("*")):
            number = _step_number(directory)
            if number and number in completed:
                continue
            try:
                archive = self.path / "interrupted"
                archive.mkdir(exist_ok=True)
                names = (archive / f"{directory.name}.{n}" for n in itertools.count(1))
                directory.rename(next(path for path in names if not path.exists()))
            except OSError as error:
                raise disk_write_error(directory, error) from error
            moved += 1
        return moved

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json.

        Raises:
            WriteError: writing failed.
        """
        try:
            atomic_write_json(self.path / RESULT_FILE_NAME, result)
        except OSError as error:
            raise disk_write_error(self.path / RESULT_FILE_NAME, error) from error

    def incomplete_reason(self) -> str:
        """Return why only a part of the plan was measured; empty if all of it was."""
        try:
            result = orjson.loads((self.path / RESULT_FILE_NAME).read_bytes())
        except FileNotFoundError:
            return "loadgen was killed, or is still running"
        except (OSError, orjson.JSONDecodeError):
            return f"{RESULT_FILE_NAME} cannot be read"
        return (
            str(result.get("incomplete_reason", ""))
            if isinstance(result, dict)
            else f"{RESULT_FILE_NAME} cannot be read"
        )

    def _run_directories(self) -> list[Path]:
        """Return the directories of the runs in order of execution."""
        found = [path for path in (self.path / "runs").glob("*") if (path / "step.json").exists()]
        return sorted(found, key=lambda path: (_step_number(path), path.name))


def _step_number(directory: Path) -> int:
    """Return the number that a run's directory name starts with; 0 if there is none."""
    number = directory.name.partition("-")[0]
    return int(number) if number.isdecimal() else 0


def holds_run(path: Path) -> bool:
    """Return whether a directory holds a run, complete or not."""
    return (path / "manifest.json").exists() or (path / "runs").exists()


def free_directory(path: Path) -> Path:
    """Return a directory that holds no run: the given one, or the first free of `NAME-2`, `NAME-3`, ... beside it.

    For a directory without a name of its own, such as `.`, these are inside it: `run-2`, `run-3`, ...
    """
    if not holds_run(path):
        return path
    stem = path if path.name not in ("", "..") else path / "run"
    return next(
        candidate
        for number in itertools.count(2)
        if not holds_run(candidate := stem.with_name(f"{stem.name}-{number}"))
    )


@contextmanager
def claim_directory(path: Path, *, resume: bool) -> Iterator[str]:
    """Create and lock an output directory while the context lasts.

    Args:
        path: the directory.
        resume: True if it must hold a run, False if it must not.

    Yields:
        A note if the lock of a dead process was taken over; empty otherwise.

    Raises:
        OutputError: the directory cannot be created or written, holds a run, or is in use.
        InputError: `resume` is True and it holds no run.
    """
    prepare_directory(path, resume=resume)
    try:
        with directory_lock(path) as note:
            prepare_directory(path, resume=resume)  # again: the previous owner may have started a run
            yield note
    finally:
        with suppress(OSError):
            path.rmdir()  # a refused start leaves no empty directory


def prepare_directory(path: Path, *, resume: bool = False) -> None:
    """Create an output directory and check that it can be used.

    Args:
        path: the directory.
        resume: True if it must hold a run, False if it must not.

    Raises:
        OutputError: the directory cannot be created or written, or already holds a run.
        InputError: `resume` is True and it holds no run.
    """
    if "\0" in str(path):
        raise OutputError(f"{str(path)!r} is not a valid directory name", hint="choose another --out")
    try:
        if resume:
            if not (path / "manifest.json").is_file():
                raise InputError(f"{path} holds no run to resume", hint="give a directory made by loadgen")
        else:
            path.mkdir(parents=True, exist_ok=True)
            if holds_run(path):
                hint = "choose another --out, or --resume it; runs are never overwritten"
                raise OutputError(f"{path} already holds a run", hint=hint)
        if not os.access(path, os.W_OK | os.X_OK):
            raise OutputError(f"{path} is not writable", hint="choose another --out")
    except OSError as error:
        raise OutputError(f"cannot create {path}: {error.strerror}", hint="choose another --out") from error
