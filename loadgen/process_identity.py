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
