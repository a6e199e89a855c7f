"""Whether a run has ended, so that its resources may be deleted. Pure but for the look at the process.

A run has ended if its process is seen to have ended, if its resources have expired, or if the user says so by name. An
endpoint is created at least once in `RESOURCE_LIFETIME`, so the journal of a running run has a younger entry.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from loadgen.aws.deployment.attribution import OrphanedResource
from loadgen.aws.deployment.names_and_tags import RESOURCE_LIFETIME
from loadgen.errors import ConfigError
from loadgen.process_identity import ProcessIdentity


def check_process_ended(
    run_id: str, process: ProcessIdentity, last_entry: float, assume_ended: str, now: datetime
) -> None:
    """Check that the process of a run has ended.

    Args:
        run_id: of the run.
        process: its last process.
        last_entry: time of the youngest entry of its journal, seconds since the epoch; 0 if unknown.
        assume_ended: host whose runs the user declares to have ended; empty for none. It counts only if the process
            cannot be seen from here.
        now: with a time zone.

    Raises:
        ConfigError: the process runs, or cannot be seen from here and has not expired.
    """
    if not process.is_running():
        return
    invisibility = process.invisibility
    if not invisibility:
        raise ConfigError(
            f"run {run_id} is still running: {process}", hint="stop it with Ctrl-C; it deletes its own resources"
        )
    youngest = datetime.fromtimestamp(last_entry, UTC)
    is_expired = last_entry > 0 and youngest + RESOURCE_LIFETIME < now
    if is_expired or (assume_ended and assume_ended == (process.host or run_id)):
        return
    age = f"the last entry of its journal is {_age(now, youngest)} old" if last_entry > 0 else "its age is unknown"
    raise ConfigError(
        f"run {run_id} may still be running: {process} cannot be seen from here ({invisibility}), and {age}; "
        f"it expires after {RESOURCE_LIFETIME.total_seconds() / 3600:g} h",
        hint=f"if it has ended, pass --assume-ended {process.host or run_id}",
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


def _age(now: datetime, instant: datetime) -> str:
    seconds = max(0.0, (now - instant).total_seconds())
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
