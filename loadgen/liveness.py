"""Whether another process, which may be on another machine, still runs: for cleanup, locks and resume.

A process that can be seen from here is looked up. One that cannot is judged by its heartbeat: while it runs, it renews
the modification time of files that others can read.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from loadgen.process_identity import ProcessIdentity

HEARTBEAT_INTERVAL = 15.0  # seconds
# Seconds after which a heartbeat is no longer recent: 20 intervals, so that a slow file system or a difference between
# the clocks of two machines does not matter.
HEARTBEAT_TIMEOUT = 300.0
# Seconds without a heartbeat after which a process has ended; the lifetime of what a run creates.
EXPIRY = 86_400.0


class Liveness(Enum):
    """Whether a process runs."""

    RUNNING = "it is seen to run, or has a recent heartbeat"
    UNKNOWN = "it cannot be seen, and has no recent heartbeat"
    ENDED = "it is seen to have ended, its machine was restarted, or its heartbeat has expired"


@dataclass(frozen=True, slots=True)
class LastSign:
    """The last sign of a process.

    Args:
        time: of the last heartbeat, seconds since the epoch; 0 if there is none.
        now: seconds since the epoch.
        booted: when this machine was started, seconds since the epoch.
    """

    time: float
    now: float
    booted: float

    @classmethod
    def read(cls, *paths: Path, others: float = 0.0) -> "LastSign":
        """Read the youngest modification time of files; files that cannot be read are skipped.

        Args:
            paths: of the files.
            others: another sign of the process, seconds since the epoch.
        """
        times = [others]
        for path in paths:
            with suppress(OSError):
                times.append(path.stat().st_mtime)
        now = time.time()
        return cls(max(times), now, now - _uptime())

    @property
    def age(self) -> float:
        """Seconds since the sign."""
        return self.now - self.time

    @property
    def is_recent(self) -> bool:
        """Whether the process was running a moment ago; a time further in the future says nothing."""
        return abs(self.age) < HEARTBEAT_TIMEOUT

    def __str__(self) -> str:
        if self.time <= 0 or self.age <= -HEARTBEAT_TIMEOUT:
            return "it has no valid heartbeat"
        return f"its last heartbeat was {_duration(max(0.0, self.age))} ago"


def assess_liveness(process: ProcessIdentity, sign: LastSign) -> Liveness:
    """Judge whether a process runs."""
    if not process.invisibility:
        return Liveness.RUNNING if process.is_running() else Liveness.ENDED
    if sign.is_recent:
        return Liveness.RUNNING
    # A sign that is younger than this machine's start comes from another machine of the same name.
    is_restarted = process.is_of_another_boot and 0 < sign.time < sign.booted
    if is_restarted or (sign.time > 0 and sign.age > EXPIRY):
        return Liveness.ENDED
    return Liveness.UNKNOWN


@contextmanager
def heartbeat(*paths: Path) -> Iterator[None]:
    """Renew the modification time of files while the context lasts; a file that does not exist is skipped.

    In a thread of its own, because the event loop may be blocked by user code. It needs no disk space.
    """
    ended = threading.Event()

    def renew() -> None:
        while True:
            for path in paths:
                with suppress(OSError):
                    os.utime(path)
            if ended.wait(HEARTBEAT_INTERVAL):
                return

    thread = threading.Thread(target=renew, name="loadgen-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _uptime() -> float:
    with suppress(AttributeError, OSError):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
