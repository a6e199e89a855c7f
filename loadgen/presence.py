"""Presence: telling whether a process that left its mark is still there, and keeping a directory for one of them.

A process id alone says nothing: ids are used again. With the instant of its start, the machine's boot and its name it
says enough. A process on another machine cannot be seen from here, and is taken for alive.
"""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from loadgen.errors import OutputError

LOCK = "loadgen.lock"


@dataclass(frozen=True, slots=True)
class Process:
    """A process of some machine.

    Args:
        pid: its id.
        host: the machine's name.
        started: its start since the machine's boot, and which boot that was; empty where the system does not tell.
    """

    pid: int
    host: str
    started: str = ""

    @classmethod
    def this(cls) -> "Process":
        """Return the process that asks."""
        return cls(os.getpid(), platform.node(), _started(os.getpid()))

    @property
    def is_near(self) -> bool:
        """True when it runs, or ran, on this machine."""
        return self.host == platform.node()

    def is_alive(self) -> bool:
        """Tell whether it still runs; one on another machine is taken to."""
        if not self.is_near:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError):
            return isinstance(self.pid, int) and self.pid > 0  # it is someone else's
        return not self.started or _started(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _started(pid: int) -> str:
    # Field 22 of /proc/PID/stat (proc(5)); the name in field 2 may hold blanks and brackets.
    with suppress(OSError, IndexError):
        ticks = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
        return f"{ticks} {Path('/proc/sys/kernel/random/boot_id').read_text('ascii').strip()}"
    return ""


def read_process(plain: object) -> Process | None:
    """Return the process that was written down, or None for what is none."""
    if isinstance(plain, dict) and isinstance(plain.get("pid"), int):
        return Process(plain["pid"], str(plain.get("host", "")), str(plain.get("started", "")))
    return None


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
