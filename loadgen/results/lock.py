"""The directory lock: one process writes to an output directory at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import asdict
from loadgen.errors import OutputError
from loadgen.process_identity import Process
from loadgen.process_identity import read_process
from pathlib import Path
import json
import os

LOCK = "loadgen.lock"


@contextmanager
def locked(directory: Path) -> Iterator[str]:
    """Keep a directory for this process while the context lasts.

    Yields:
        What there is to say of a lock that a dead process left; empty when there was none.

    Raises:
        OutputError: another process has it, or the lock cannot be written.
    """
    path, note = directory / LOCK, ""
    for _ in range(2):
        try:
            _take(path)
            break
        except FileExistsError:
            holder = _holder(path)
            if holder is None or not holder.is_alive():
                note = f"took over {path} from {holder or 'an unknown process'}, which is gone"
                _set_aside(path)
                continue
            hint = "choose another --out" if holder.is_near else f"choose another --out, or remove {path} if it is gone"
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


def _take(path: Path) -> None:
    # Linked into place whole: whoever finds a lock can read whose it is.
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps(asdict(Process.this())), "utf-8")
        os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _holder(path: Path) -> Process | None:
    with suppress(OSError, ValueError):
        return read_process(json.loads(path.read_text("utf-8")))
    return None


def _set_aside(path: Path) -> None:
    # Of several that find the same dead lock, one renames it; the others meet the winner's new one.
    aside = path.with_name(f"{path.name}.dead.{os.getpid()}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        aside.unlink()
