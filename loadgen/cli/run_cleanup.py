"""Clean up after a run: find its resources by journal and tags, confirm, delete, report."""

import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadgen.aws.deployment.cleanup import CleanupScan, delete_orphans, find_expired_orphans, find_orphans
from loadgen.aws.deployment.ended_run import check_orphans_ended, check_process_ended
from loadgen.aws.deployment.journal import JOURNAL_FILE, JournalState, JournalWriter, read_journal
from loadgen.aws.deployment.resources import Journal, NullJournal
from loadgen.aws.deployment.run_registry import list_dead_runs, list_runs, unregister_run
from loadgen.aws.identity import AwsConnection, connect
from loadgen.aws.session import AwsConnectionConfig
from loadgen.cli.messages import echo
from loadgen.errors import AuthError, ConfigError, ExitStatus, InputError, LoadgenError
from loadgen.liveness import LastSign


@dataclass(frozen=True, slots=True)
class CleanupRequest:
    """A run to clean up after.

    Args:
        run_id: empty to select every run whose expiry tag has passed.
        journal_path: the run's journal; None when it is unknown or unreadable.
        journal_state: content of that journal.
        is_ended: True when the run's process is known, or declared by the user, to have ended.
    """

    run_id: str = ""
    journal_path: Path | None = None
    journal_state: JournalState | None = None
    is_ended: bool = False


def cleanup_requests(
    run_or_directory: str | None, state_dir: Path | None, *, assume_ended: str = ""
) -> list[CleanupRequest]:
    """Return the runs that the command's argument names.

    Args:
        run_or_directory: a run's id or output directory; None for every run that has ended.
        state_dir: directory of the run registry; None without one.
        assume_ended: host of a run that cannot be seen from here and that the user declares to have ended.

    Raises:
        InputError: the directory has no readable journal.
        ConfigError: the run is still running, or may be.
    """
    if run_or_directory is None:
        dead_runs = [] if state_dir is None else list_dead_runs(state_dir)
        return [*(_request_from_journal(run.run_id, run.journal_path) for run in dead_runs), CleanupRequest()]
    if Path(run_or_directory).is_dir():
        return [_request_from_directory(Path(run_or_directory), assume_ended)]
    for run in [] if state_dir is None else list_runs(state_dir):
        if run.run_id == run_or_directory:
            sign = run.last_sign()
            for process in run.processes():
                check_process_ended(run.run_id, process, sign, assume_ended)
            return [_request_from_journal(run_or_directory, run.journal_path)]
    return [CleanupRequest(run_or_directory, is_ended=bool(assume_ended) and assume_ended == run_or_directory)]


def _request_from_directory(directory: Path, assume_ended: str) -> CleanupRequest:
    journal_path = directory / JOURNAL_FILE
    try:
        state = read_journal(journal_path)
    except LoadgenError as error:
        raise InputError(f"{directory} has no readable journal", hint="give the run's id instead") from error
    try:
        sign = LastSign.read(journal_path, others=state.last_entry)
        check_process_ended(state.run_id, state.process, sign, assume_ended)
    except ConfigError:
        # The journal of a finished run lists no resources; it may come from another machine.
        if state.resources:
            raise
        return CleanupRequest(state.run_id, journal_path, state)
    return CleanupRequest(state.run_id, journal_path, state, is_ended=True)


def _request_from_journal(run_id: str, journal_path: Path) -> CleanupRequest:
    try:
        return CleanupRequest(run_id, journal_path, read_journal(journal_path), is_ended=True)
    except LoadgenError:
        return CleanupRequest(run_id, is_ended=True)  # the tags remain


async def clean_up(request: CleanupRequest, state_dir: Path | None, *, dry_run: bool, is_confirmed: bool) -> ExitStatus:
    """List what a run left behind, ask for confirmation, and delete it.

    Args:
        request: the run.
        state_dir: directory of the run registry; None without one.
        dry_run: True to list only.
        is_confirmed: True to delete without asking.

    Raises:
        LoadgenError: the account cannot be reached, or is not the run's.
    """
    async with connect(_connection_config(request)) as connection:
        _check_location(request, connection)
        scan = await _find_orphans(request, connection)
        orphans, remaining_status = scan.orphans, _remaining_status(request, scan)
        location = ", ".join(
            filter(None, (connection.identity.kind, connection.identity.account_id, connection.identity.region))
        )
        for line in scan.skipped:
            echo(f"left alone: {line}")
        of_run = f" of run {request.run_id}" if request.run_id else ""
        if not orphans:
            if remaining_status is ExitStatus.OK:
                echo(f"{'nothing to delete' if scan.skipped else 'no resources left'}{of_run} in {location}")
                if not dry_run:  # which changes nothing: without its journal, the run could not be judged again
                    _unregister(request, state_dir)
            else:
                echo(f"nothing was deleted; resources{of_run} may exist in {location}")
            return remaining_status
        echo(f"{_resources(len(orphans))} left in {location}:", *(f"  {orphan}" for orphan in orphans))
        if dry_run:
            echo("nothing was deleted (--dry-run)")
            return remaining_status
        if not request.is_ended and request.run_id:
            check_orphans_ended(request.run_id, orphans, datetime.now(UTC))
        if not (is_confirmed or _confirm(len(orphans))):
            echo("nothing was deleted")
            return ExitStatus.RESOURCE_LEAK
        deletion_status = await _delete_orphans(request, connection, scan)
        if ExitStatus.RESOURCE_LEAK in {deletion_status, remaining_status}:
            return ExitStatus.RESOURCE_LEAK
        _unregister(request, state_dir)
        return ExitStatus.OK


def _connection_config(request: CleanupRequest) -> AwsConnectionConfig:
    """Return how to connect to the location of the run: the region is the run's, the credentials are current."""
    if request.journal_state is None:
        return AwsConnectionConfig()
    location = request.journal_state.location
    if location.emulator_url:
        return AwsConnectionConfig(emulator_url=location.emulator_url)
    return AwsConnectionConfig(region=location.region or None)


def _check_location(request: CleanupRequest, connection: AwsConnection) -> None:
    """Refuse an account or URL that is not the run's.

    Raises:
        AuthError: the account differs.
        ConfigError: the URL differs.
    """
    if request.journal_state is None:
        return
    location, identity = request.journal_state.location, connection.identity
    if location.account_id != identity.account_id:
        raise AuthError(
            f"run {request.run_id} used account {location.account_id or '(unknown)'}, "
            f"but these credentials belong to {identity.account_id or '(unknown)'}",
            hint="check AWS_PROFILE",
        )
    url = "" if identity.kind == "aws" else connection.clients.control_url
    if location.endpoint_url != url:
        raise ConfigError(
            f"run {request.run_id} used {location.endpoint_url or 'AWS'}, but cleanup is configured for {url or 'AWS'}",
            hint="check AWS_ENDPOINT_URL",
        )


async def _find_orphans(request: CleanupRequest, connection: AwsConnection) -> CleanupScan:
    """Return what to delete, and what is skipped and why."""
    if request.run_id:
        scan = await find_orphans(connection, request.run_id, journal_state=request.journal_state)
    else:
        scan = await find_expired_orphans(connection, datetime.now(UTC))
    if scan.unreadable:
        consequence = "using the journal" if request.journal_state else "some resources may be missed"
        echo(f"cannot read all tags ({scan.unreadable}); {consequence}")
    return scan


def _remaining_status(request: CleanupRequest, scan: CleanupScan) -> ExitStatus:
    """Return whether the scan shows that a resource of the run remains, or cannot tell.

    Without a run, what is skipped belongs to runs that may still be running.
    """
    is_journal_complete = request.journal_state is not None and not request.journal_state.damaged_lines
    is_unknown = bool(scan.unreadable) and not is_journal_complete
    if is_unknown or (request.run_id and scan.skipped):
        return ExitStatus.RESOURCE_LEAK
    return ExitStatus.OK


async def _delete_orphans(request: CleanupRequest, connection: AwsConnection, scan: CleanupScan) -> ExitStatus:
    journal: Journal = NullJournal()
    writer: JournalWriter | None = None
    if request.journal_state is not None and request.journal_path is not None:
        # A journal that cannot be written must not prevent the deletion.
        with suppress(LoadgenError):
            journal = writer = JournalWriter(
                request.journal_path, run_id=request.run_id, location=request.journal_state.location
            )
    try:
        registry = await delete_orphans(connection, scan, journal)
    finally:
        if writer is not None:
            writer.close()
    lines = registry.lines()
    if lines:
        echo("could not be deleted:", *(f"  {line}" for line in lines))
        return ExitStatus.RESOURCE_LEAK
    count, others = len(scan.orphans), "" if scan.skipped else "; nothing is left"
    echo(f"deleted {_resources(count)}{others}")
    return ExitStatus.OK


def _unregister(request: CleanupRequest, state_dir: Path | None) -> None:
    if state_dir is not None and request.run_id:
        unregister_run(state_dir, request.run_id)


def _confirm(count: int) -> bool:
    if not sys.stdin.isatty():
        echo("stdin is not a terminal; pass --yes to delete without confirmation")
        return False
    sys.stderr.write(f"Delete {_resources(count)}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _resources(count: int) -> str:
    return f"{count} resource{'s' if count != 1 else ''}"
