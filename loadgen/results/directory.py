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
from pathlib import Path
from typing import Any

import orjson

from loadgen.atomic_file import DISK_ERRNOS, atomic_write_json, disk_write_error
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
_COMPLETE_STOP_REASONS = frozenset({"count", "duration", "schedule", "errors"})


class ResultsDirectory:
    """One output directory."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def create(cls, path: Path, manifest: Manifest) -> "ResultsDirectory":
        """Make the directory and write the manifest.

        Raises:
            OutputError: it cannot be made, or already holds a run.
            WriteError: the disk is full.
        """
        prepare_directory(path)
        try:
            (path / "runs").mkdir()
            atomic_write_json(path / "manifest.json", to_json(manifest))
        except OSError as error:
            if error.errno in DISK_ERRNOS:
                raise disk_write_error(path, error) from error
            raise OutputError(f"cannot write into {path}: {error.strerror}", hint="choose another --out") from error
        return cls(path, manifest)

    @classmethod
    def open(cls, path: Path) -> "ResultsDirectory":
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
        if not isinstance(plain, dict) or plain.get("type") != "Manifest":
            raise DataError(f"{path / 'manifest.json'} is not a manifest of loadgen")
        if plain.get("format") != FORMAT:
            raise DataError(
                f"{path} has format {plain.get('format')}; this version reads {FORMAT}", hint="upgrade loadgen"
            )
        return cls(path, from_json(plain))

    def create_run(self, number: int, step: Step, metadata: Mapping[str, Any]) -> RunWriter:
        """Make the directory of a step's run and open its files.

        Args:
            number: of the step in the plan, from 1; reports show runs in this order.
            step: what will be executed.
            metadata: circumstances that are known already, as fields of Run.

        Raises:
            WriteError: the disk refused.
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
        """Read every run, in the order of execution; damage is located, left out, and said.

        Raises:
            DataError: a step's description is damaged, so that nothing of it can be told.
        """
        return tuple(read_run(directory) for directory in self._run_directories())

    def write_hdr_logs(self) -> tuple[Run, ...]:
        """Write every run's windows.hlog and percentile distributions beside its samples, and return the runs.

        Raises:
            DataError: a step's description is damaged.
            WriteError: the disk refused.
        """
        runs = []
        for directory in self._run_directories():
            run = read_run(directory)
            runs.append(run)
            try:
                (directory / "windows.hlog").write_text(
                    "".join(f"{line}\n" for line in hdr_log.log_lines(run)), "ascii"
                )
                for name, text in hdr_log.percentile_distributions(run):
                    (directory / name).write_text(text, "ascii")
            except OSError as error:
                raise disk_write_error(directory, error) from error
        return tuple(runs)

    def read_completed_runs(self) -> dict[int, Run]:
        """Return the runs that came to their own end, by the number of their step; the others must be repeated."""
        found = {}
        for directory in self._run_directories():
            number = _step_number(directory)
            if number.isdecimal() and (directory / "run.json").exists():
                run = read_run(directory)
                if (
                    run.stop_reason in _COMPLETE_STOP_REASONS
                    and not run.data_errors
                    and not any(worker.lost_reason for worker in run.workers)
                ):
                    found[int(number)] = run
        return found

    def archive_incomplete(self, completed: Container[int]) -> int:
        """Move what must be repeated into `interrupted/`, where no report looks, and return how many.

        Args:
            completed: numbers of the steps that stay.

        Raises:
            WriteError: the disk refused.
        """
        moved = 0
        for directory in sorted((self.path / "runs").glob("*")):
            number = _step_number(directory)
            if number.isdecimal() and int(number) in completed:
                continue
            try:
                aside = self.path / "interrupted"
                aside.mkdir(exist_ok=True)
                free = (aside / f"{directory.name}.{n}" for n in itertools.count(1))
                directory.rename(next(path for path in free if not path.exists()))
            except OSError as error:
                raise disk_write_error(directory, error) from error
            moved += 1
        return moved

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json: how the whole of it ended.

        Raises:
            WriteError: the disk refused.
        """
        try:
            atomic_write_json(self.path / RESULT_FILE_NAME, result)
        except OSError as error:
            raise disk_write_error(self.path / RESULT_FILE_NAME, error) from error

    def incomplete_reason(self) -> str:
        """Say why this is only a part of what was planned; empty when it is all."""
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
        """Return the runs' directories in the order of execution: 11 before 100."""
        found = [path for path in (self.path / "runs").glob("*") if (path / "step.json").exists()]
        return sorted(
            found, key=lambda path: (int(_step_number(path)) if _step_number(path).isdecimal() else 0, path.name)
        )


def _step_number(directory: Path) -> str:
    return directory.name.partition("-")[0]


@contextmanager
def claim_directory(path: Path, *, resume: bool) -> Iterator[str]:
    """Make an output directory and keep it for this process, or refuse before anything is sent or created.

    Args:
        path: of the directory.
        resume: True when it must hold a run, False when it must not.

    Yields:
        What there is to say of a lock that a dead process left; empty when there was none.

    Raises:
        OutputError: it cannot be made or written, holds a run, or is in use.
        InputError: it holds no run, and should.
    """
    prepare_directory(path, resume=resume)
    try:
        with directory_lock(path) as note:
            prepare_directory(path, resume=resume)  # whoever had the lock a moment ago may have begun
            yield note
    finally:
        with suppress(OSError):
            path.rmdir()  # a start that was refused leaves no empty directory


def prepare_directory(path: Path, *, resume: bool = False) -> None:
    """Make an output directory, or refuse before anything is sent or created.

    Args:
        path: of the directory.
        resume: True when it must hold a run, False when it must not.

    Raises:
        OutputError: it cannot be made or written, or already holds a run.
        InputError: it holds no run, and should.
    """
    if "\0" in str(path):
        raise OutputError(f"{str(path)!r} can be no directory", hint="choose another --out")
    try:
        if resume:
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
