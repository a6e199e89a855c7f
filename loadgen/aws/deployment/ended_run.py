"""Whether a run has ended, so that its resources may be deleted. Pure.

A run has ended if its process has (liveness.py), if its resources have expired, or if the user says so by name. The
user's word does not count against a process that is seen to run or has a recent heartbeat.
"""

from collections.abc import Iterable
from datetime import datetime

from loadgen.aws.deployment.attribution import OrphanedResource
from loadgen.errors import ConfigError
from loadgen.liveness import EXPIRY, HEARTBEAT_TIMEOUT, LastSign, Liveness, assess_liveness
from loadgen.process_identity import ProcessIdentity


def check_process_ended(run_id: str, process: ProcessIdentity, sign: LastSign, assume_ended: str) -> None:
    """Check that the process of a run has ended.

    Args:
        run_id: of the run.
        process: its last process.
        sign: the last sign of that process.
        assume_ended: host whose runs the user declares to have ended; empty for none.

    Raises:
        ConfigError: the process runs, or cannot be seen from here and has not expired.
    """
    liveness = assess_liveness(process, sign)
    if liveness is Liveness.ENDED:
        return
    if not process.invisibility:
        raise ConfigError(
            f"run {run_id} is still running: {process}", hint="stop it with Ctrl-C; it deletes its own resources"
        )
    host = process.host or run_id
    if liveness is Liveness.RUNNING:
        raise ConfigError(
            f"run {run_id} is still running: {process} cannot be seen from here ({process.invisibility}), but {sign}",
            hint=f"stop it there; if it was killed, wait {HEARTBEAT_TIMEOUT / 60:g} min and pass --assume-ended {host}",
        )
    if assume_ended and assume_ended == host:
        return
    raise ConfigError(
        f"run {run_id} may still be running: {process} cannot be seen from here ({process.invisibility}), and {sign}; "
        f"it expires after {EXPIRY / 3600:g} h",
        hint=f"if it has ended, pass --assume-ended {host}",
    )


def check_orphans_ended(run_id: str, orphans: Iterable[OrphanedResource], now: datetime) -> None:
    """Check that a run of which only tags are known has ended: all its resources have expired.

    Raises:
        ConfigError: a resource has not expired.
    """
    unexpired = [orphan for orphan in orphans if orphan.expires is None or orphan.expires >= now]
    if unexpired:
        raise ConfigError(
            f"run {run_id} may still be running: its process is not known here, and {unexpired[0].name} "
            f"expires at {unexpired[0].expires or '(unknown)'}",
            hint=f"if it has ended, pass --assume-ended {run_id}",
        )
