"""Clean up after a run: find its resources by journal and tags, confirm, delete, report."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadgen.aws.deployment.cleanup import OrphanedResource, delete_orphans, find_expired_orphans, find_orphans
from loadgen.aws.deployment.journal import JOURNAL_FILE, JournalState, JournalWriter, read_journal
from loadgen.aws.deployment.resources import Journal, NullJournal
from loadgen.aws.deployment.run_registry import list_dead_runs, list_runs, unregister_run
from loadgen.aws.identity import AwsConnection, connect
from loadgen.aws.session import AwsConnectionConfig
from loadgen.cli.messages import echo
from loadgen.errors import AuthError, ConfigError, ExitStatus, InputError, LoadgenError


@dataclass(frozen=True, slots=True)
class CleanupRequest:
    """A run to clean up after.

    Args:
        run_id: empty to select every run whose expiry tag has passed.
        journal_path: the run's journal; None when it is unknown or unreadable.
        journal_state: content of that journal.
    """

    run_id: str = ""
    journal_path: Path | None = None
    journal_state: JournalState | None = None


def cleanup_requests(run_or_directory: str | None, state_dir: Path | None) -> list[CleanupRequest]:
    """Return the runs that the command's argument names.

    Args:
        run_or_directory: a run's id or output directory; None for every run that has ended.
        state_dir: directory of the run registry; None without one.

    Raises:
        InputError: the directory has no readable journal.
        ConfigError: the run is still running.
    """
    if run_or_directory is None:
        dead_runs = [] if state_dir is None else list_dead_runs(state_dir)
        return [*(_request_from_journal(run.run_id, run.journal_path) for run in dead_runs), CleanupRequest()]
    if Path(run_or_directory).is_dir():
        return [_request_from_directory(Path(run_or_directory))]
    for run in [] if state_dir is None else list_runs(state_dir):
        if run.run_id == run_or_directory:
            if run.process.is_local and run.process.is_running():
                raise _still_running_error(run_or_directory, str(run.process))
            return [_request_from_journal(run_or_directory, run.journal_path)]
    return [CleanupRequest(run_or_directory)]


def _request_from_directory(directory: Path) -> CleanupRequest:
    journal_path = directory / JOURNAL_FILE
    try:
        state = read_journal(journal_path)
    except LoadgenError as error:
        raise InputError(f"{directory} has no readable journal", hint="give the run's id instead") from error
    # The journal of a finished run names a process whose id may have been reused; it lists no resources.
    if state.process is not None and state.resources and state.process.is_local and state.process.is_running():
        raise _still_running_error(state.run_id, str(state.process))
    return CleanupRequest(state.run_id, journal_path, state)


def _request_from_journal(run_id: str, journal_path: Path) -> CleanupRequest:
    try:
        return CleanupRequest(run_id, journal_path, read_journal(journal_path))
    except LoadgenError:
        return CleanupRequest(run_id)  # the tags remain


def _still_running_error(run_id: str, process: str) -> ConfigError:
    return ConfigError(
        f"run {run_id} is still running: {process}", hint="stop it with Ctrl-C; it deletes its own resources"
    )


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
        orphans, skipped = await _find_orphans(request, connection)
        location = ", ".join(
            filter(None, (connection.identity.kind, connection.identity.account_id, connection.identity.region))
        )
        for line in skipped:
            echo(f"skipped {line}")
        if not orphans:
            echo(f"no resources left{f' of run {request.run_id}' if request.run_id else ''} in {location}")
            _unregister(request, state_dir)
            return ExitStatus.OK
        echo(f"left in {location}:", *(f"  {orphan}" for orphan in orphans))
        if dry_run:
            echo("nothing was deleted (--dry-run)")
            return ExitStatus.OK
        if not (is_confirmed or _confirm(len(orphans))):
            echo("nothing was deleted")
            return ExitStatus.RESOURCE_LEAK
        return await _delete_orphans(request, connection, orphans, state_dir)


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


async def _find_orphans(request: CleanupRequest, connection: AwsConnection) -> tuple[list[OrphanedResource], list[str]]:
    """Return what to delete, and what is skipped and why."""
    if request.run_id:
        journaled = request.journal_state.resources if request.journal_state is not None else {}
        scan = await find_orphans(connection, request.run_id, journaled=journaled)
    else:
        scan = await find_expired_orphans(connection, datetime.now(UTC))
    if scan.unreadable:
        consequence = "using the journal" if request.journal_state else "some resources may be missed"
        echo(f"cannot read all tags ({scan.unreadable}); {consequence}")
    return scan.orphans, scan.skipped


async def _delete_orphans(
    request: CleanupRequest, connection: AwsConnection, orphans: Sequence[OrphanedResource], state_dir: Path | None
) -> ExitStatus:
    journal: Journal = NullJournal()
    writer: JournalWriter | None = None
    if request.journal_state is not None and request.journal_path is not None:
        # A journal that cannot be written must not prevent the deletion.
        with suppress(LoadgenError):
            journal = writer = JournalWriter(
                request.journal_path, run_id=request.run_id, location=request.journal_state.location
            )
    try:
        registry = await delete_orphans(connection, orphans, journal)
    finally:
        if writer is not None:
            writer.close()
    lines = registry.lines()
    if lines:
        echo("could not be deleted:", *(f"  {line}" for line in lines))
        return ExitStatus.RESOURCE_LEAK
    echo(f"deleted {len(orphans)} resource{'s' if len(orphans) != 1 else ''}; none are left")
    _unregister(request, state_dir)
    return ExitStatus.OK


def _unregister(request: CleanupRequest, state_dir: Path | None) -> None:
    if state_dir is not None and request.run_id:
        unregister_run(state_dir, request.run_id)


def _confirm(count: int) -> bool:
    if not sys.stdin.isatty():
        echo("stdin is not a terminal; pass --yes to delete without confirmation")
        return False
    sys.stderr.write(f"Delete {count} resource{'s' if count != 1 else ''}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
