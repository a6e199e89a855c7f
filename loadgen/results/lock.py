"""The directory lock: one process writes to an output directory at a time."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from loadgen.errors import OutputError
from loadgen.process_identity import ProcessIdentity, process_from_json

LOCK_FILE_NAME = "loadgen.lock"


@contextmanager
def directory_lock(directory: Path) -> Iterator[str]:
    """Hold the lock of a directory while the context lasts.

    Yields:
        A note if the lock of a dead process was taken over; empty otherwise.

    Raises:
        OutputError: another process holds the lock, or it cannot be written.
    """
    path, note = directory / LOCK_FILE_NAME, ""
    for _ in range(2):
        try:
            _acquire(path)
            break
        except FileExistsError:
            owner = _lock_owner(path)
            if owner is None or not owner.is_running():
                note = f"took over the lock {path} of {owner or 'an unknown process'}, which no longer runs"
                _remove_stale(path)
                continue
            hint = "choose another --out"
            invisibility = owner.invisibility
            hint += f", or remove {path} if that process no longer runs" if invisibility else ""
            note = f" ({invisibility}; whether it runs cannot be seen from here)" if invisibility else ""
            raise OutputError(f"{directory} is in use by {owner}{note}", hint=hint) from None
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}", hint="choose another --out") from error
    else:
        raise OutputError(f"another process is acquiring the lock of {directory}", hint="choose another --out")
    try:
        yield note
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def _acquire(path: Path) -> None:
    # Hard-linked into place: a lock file that exists is complete, so its owner can be read.
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps(asdict(ProcessIdentity.current())), "utf-8")
        os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _lock_owner(path: Path) -> ProcessIdentity | None:
    with suppress(OSError, ValueError):
        return process_from_json(json.loads(path.read_text("utf-8")))
    return None


def _remove_stale(path: Path) -> None:
    # If several processes find the same stale lock, one renames it and the others find the new lock.
    aside = path.with_name(f"{path.name}.dead.{os.getpid()}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        aside.unlink()
