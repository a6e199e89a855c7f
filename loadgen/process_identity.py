"""The identity of an OS process, to find out later whether it still runs.

Process ids are reused, and are valid in one PID namespace of one machine only. The identity therefore includes the
process's start time, the machine's boot id, its PID namespace and its host name. A process of another host, of another
PID namespace or of another boot counts as running, because it cannot be seen from here.
"""

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Inode of the machine's first PID namespace. Source: Linux, include/linux/proc_ns.h, PROC_PID_INIT_INO.
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Identity of an OS process.

    Args:
        pid: process id.
        host: host name.
        started: clock ticks from boot to the process's start, and the boot id; empty where the system has no /proc.
        pid_namespace: the namespace in which `pid` is valid, as /proc names it; empty where the system has no /proc.
    """

    pid: int
    host: str
    started: str = ""
    pid_namespace: str = ""

    @classmethod
    def current(cls) -> "ProcessIdentity":
        """Return the identity of this process."""
        return cls(os.getpid(), platform.node(), _start_token(os.getpid()), _pid_namespace())

    @property
    def invisibility(self) -> str:
        """Why this process cannot see whether the other runs, human-readable; empty if it can."""
        if self.host != platform.node():
            return f"it is on host {self.host}, this is {platform.node()}"
        namespace = _pid_namespace()
        if self.pid_namespace != namespace:
            return f"it is in PID namespace {self.pid_namespace or '(unknown)'}, this is {namespace or '(unknown)'}"
        if self._has_other_boot_id:
            return "it is of another boot, or of another machine of this name"
        return ""

    @property
    def is_of_another_boot(self) -> bool:
        """Whether a restart of this machine would explain why it cannot be seen; never in a container."""
        return (
            self.host == platform.node()
            and self.pid_namespace == _pid_namespace() == _INITIAL_PID_NAMESPACE
            and self._has_other_boot_id
        )

    @property
    def _has_other_boot_id(self) -> bool:
        return _boot_id(self.started) != _boot_id(_start_token(os.getpid()))

    def is_running(self) -> bool:
        """Return True unless the process is seen to have ended; always True for one that cannot be seen.

        See liveness.py for one that cannot be seen.
        """
        if self.invisibility:
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


def _boot_id(started: str) -> str:
    return started.partition(" ")[2]


def _pid_namespace() -> str:
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def process_from_json(value: object) -> ProcessIdentity | None:
    """Return the identity from its JSON object; None for an invalid one."""
    if isinstance(value, dict) and isinstance(value.get("pid"), int):
        names = ("host", "started", "pid_namespace")
        return ProcessIdentity(value["pid"], *(str(value.get(name, "")) for name in names))
    return None
