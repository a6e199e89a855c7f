"""The directory lock: one process writes to an output directory at a time.

The lock file carries the heartbeat of its process, so that the lock of a process that cannot be seen expires.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from loadgen.errors import OutputError
from loadgen.liveness import EXPIRY, LastSign, Liveness, assess_liveness, heartbeat
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
    path = directory / LOCK_FILE_NAME
    try:
        with _acquisition_turn(directory):
            note = _take_over_or_acquire(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}", hint="choose another --out") from error
    try:
        with heartbeat(path):
            yield note
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


@contextmanager
def _acquisition_turn(directory: Path) -> Iterator[None]:
    """Let one process at a time look at the lock and replace it; the kernel ends the turn of a process that dies.

    Without it, a process that has read a stale lock could remove the new lock of another that was quicker.
    """
    try:
        import fcntl  # noqa: PLC0415 - not on every platform
    except ImportError:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without flock
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take_over_or_acquire(path: Path) -> str:
    """Write the lock of this process, in place of a stale one.

    Returns:
        A note if the lock of a dead process was taken over; empty otherwise.

    Raises:
        OutputError: another process holds the lock.
        OSError: the lock cannot be written.
    """
    try:
        _acquire(path)
    except FileExistsError:
        owner = _lock_owner(path)
        sign = LastSign.read(path)
        if owner is None or assess_liveness(owner, sign) is Liveness.ENDED:
            path.unlink(missing_ok=True)
            _acquire(path)
            return f"took over the lock {path} of {owner or 'an unknown process'}, which no longer runs"
        raise _in_use_error(path, owner, sign) from None
    return ""


def _in_use_error(path: Path, owner: ProcessIdentity, sign: LastSign) -> OutputError:
    invisibility = owner.invisibility
    hint, note = "choose another --out", ""
    if invisibility:
        hint += f", or remove {path} if that process no longer runs; the lock expires after {EXPIRY / 3600:g} h"
        note = f" ({invisibility}; whether it runs cannot be seen from here, {sign})"
    return OutputError(f"{path.parent} is in use by {owner}{note}", hint=hint)


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
