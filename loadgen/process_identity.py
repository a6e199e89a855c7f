"""The identity of an OS process, to find out later whether it still runs.

Process ids are reused, so the identity includes the process's start time, the machine's boot id and its host name. A
process on another machine counts as running, because it cannot be checked.
"""

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Identity of an OS process.

    Args:
        pid: process id.
        host: host name.
        started: clock ticks from boot to the process's start, and the boot id; empty where the system has no /proc.
    """

    pid: int
    host: str
    started: str = ""

    @classmethod
    def current(cls) -> "ProcessIdentity":
        """Return the identity of this process."""
        return cls(os.getpid(), platform.node(), _start_token(os.getpid()))

    @property
    def is_local(self) -> bool:
        """True when the process belongs to this machine."""
        return self.host == platform.node()

    def is_running(self) -> bool:
        """Return True while the process runs; always True for a process of another machine."""
        if not self.is_local:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError):
            return isinstance(self.pid, int) and self.pid > 0  # it belongs to another user
        return not self.started or _start_token(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _start_token(pid: int) -> str:
    # Field 22 of /proc/PID/stat (proc(5)); the name in field 2 can contain blanks and brackets.
    with suppress(OSError, IndexError):
        ticks = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
        return f"{ticks} {Path('/proc/sys/kernel/random/boot_id').read_text('ascii').strip()}"
    return ""


def process_from_json(value: object) -> ProcessIdentity | None:
    """Return the identity from its JSON object; None for an invalid one."""
    if isinstance(value, dict) and isinstance(value.get("pid"), int):
        return ProcessIdentity(value["pid"], str(value.get("host", "")), str(value.get("started", "")))
    return None
