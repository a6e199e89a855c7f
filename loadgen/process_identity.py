"""Presence: telling whether a process that left its mark is still there, and keeping a directory for one of them.

A process id alone says nothing: ids are used again. With the instant of its start, the machine's boot and its name it
says enough. A process on another machine cannot be seen from here, and is taken for alive.
"""

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
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
    def current(cls) -> "ProcessIdentity":
        """Return the process that asks."""
        return cls(os.getpid(), platform.node(), _start_token(os.getpid()))

    @property
    def is_local(self) -> bool:
        """True when it runs, or ran, on this machine."""
        return self.host == platform.node()

    def is_running(self) -> bool:
        """Tell whether it still runs; one on another machine is taken to."""
        if not self.is_local:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError):
            return isinstance(self.pid, int) and self.pid > 0  # it is someone else's
        return not self.started or _start_token(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _start_token(pid: int) -> str:
    # Field 22 of /proc/PID/stat (proc(5)); the name in field 2 may hold blanks and brackets.
    with suppress(OSError, IndexError):
        ticks = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
        return f"{ticks} {Path('/proc/sys/kernel/random/boot_id').read_text('ascii').strip()}"
    return ""


def process_from_json(value: object) -> ProcessIdentity | None:
    """Return the process that was written down, or None for what is none."""
    if isinstance(value, dict) and isinstance(value.get("pid"), int):
        return ProcessIdentity(value["pid"], str(value.get("host", "")), str(value.get("started", "")))
    return None
