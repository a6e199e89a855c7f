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
    """Keep a directory for this process while the context lasts.

    Yields:
        What there is to say of a lock that a dead process left; empty when there was none.

    Raises:
        OutputError: another process has it, or the lock cannot be written.
    """
    path, note = directory / LOCK_FILE_NAME, ""
    for _ in range(2):
        try:
            _acquire(path)
            break
        except FileExistsError:
            holder = _lock_owner(path)
            if holder is None or not holder.is_running():
                note = f"took over {path} from {holder or 'an unknown process'}, which is gone"
                _remove_stale(path)
                continue
            hint = (
                "choose another --out" if holder.is_local else f"choose another --out, or remove {path} if it is gone"
            )
            raise OutputError(f"{directory} is in use by {holder}", hint=hint) from None
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}", hint="choose another --out") from error
    else:
        raise OutputError(f"{directory} is being taken by another process", hint="choose another --out")
    try:
        yield note
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def _acquire(path: Path) -> None:
    # Linked into place whole: whoever finds a lock can read whose it is.
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
    # Of several that find the same dead lock, one renames it; the others meet the winner's new one.
    aside = path.with_name(f"{path.name}.dead.{os.getpid()}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        aside.unlink()
