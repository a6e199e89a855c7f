"""The command `cleanup`: lists what dead runs left behind, asks, and removes it."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from loadgen.aws.deployment.cleanup import OrphanedResource, delete_orphans, find_expired_orphans, find_orphans
from loadgen.aws.deployment.journal import JOURNAL_FILE, JournalState, JournalWriter, read_journal
from loadgen.aws.deployment.resources import Journal, NullJournal
from loadgen.aws.deployment.run_registry import list_dead_runs, list_runs, state_directory, unregister_run
from loadgen.aws.identity import AwsConnection, connect
from loadgen.aws.session import AwsConnectionConfig
from loadgen.cli.messages import echo
from loadgen.errors import AuthError, ConfigError, ExitStatus, InputError, LoadgenError


def run(arguments: argparse.Namespace) -> ExitStatus:
    """List, ask, remove.

    Raises:
        LoadgenError: the account cannot be reached, or is not the run's.
    """
    state = state_directory(os.environ)
    cleanup_requests = _cleanup_requests(arguments.run, state)
    statuses = [asyncio.run(_clean_up(want, arguments, state)) for want in cleanup_requests]
    return max(statuses, default=ExitStatus.OK, key=lambda status: status is ExitStatus.RESOURCE_LEAK)


@dataclass(frozen=True, slots=True)
class _CleanupRequest:
    """A run to clean up after; an empty run id means whatever is over, by its tags."""

    run_id: str = ""
    journal_path: Path | None = None
    journal_state: JournalState | None = None


def _cleanup_requests(run_or_directory: str | None, state_dir: Path | None) -> list[_CleanupRequest]:
    registered = [] if state_dir is None else list_runs(state_dir)
    if run_or_directory is None:
        dead_runs = [] if state_dir is None else list_dead_runs(state_dir)
        return [*(_request_from_journal(run.run_id, run.journal_path) for run in dead_runs), _CleanupRequest()]
    directory = Path(run_or_directory)
    if directory.is_dir():
        journal = directory / JOURNAL_FILE
        cleanup_request = _request_from_journal("", journal)
        if cleanup_request.journal_state is None:
            raise InputError(f"{run_or_directory} holds no journal that can be read", hint="give the run's id instead")
        return [_check_not_running(replace(cleanup_request, run_id=cleanup_request.journal_state.run_id))]
    for run in registered:
        if run.run_id == run_or_directory:
            if run.process.is_local and run.process.is_running():
                _raise_still_running(run_or_directory, str(run.process))
            return [_request_from_journal(run_or_directory, run.journal_path)]
    return [_CleanupRequest(run_or_directory)]


def _request_from_journal(run_id: str, journal_path: Path) -> _CleanupRequest:
    try:
        return _CleanupRequest(run_id, journal_path, read_journal(journal_path))
    except LoadgenError:
        return _CleanupRequest(run_id)  # tags are what is left


def _check_not_running(cleanup_request: _CleanupRequest) -> _CleanupRequest:
    process = cleanup_request.journal_state.process if cleanup_request.journal_state is not None else None
    # A finished run stands in its journal with a process whose id may be anything's now: it left nothing then.
    if (
        process is not None
        and cleanup_request.journal_state is not None
        and cleanup_request.journal_state.resources
        and process.is_local
        and process.is_running()
    ):
        _raise_still_running(cleanup_request.run_id, str(process))
    return cleanup_request


def _raise_still_running(run_id: str, process: str) -> None:
    raise ConfigError(f"run {run_id} is still going on: {process}", hint="stop it with Ctrl-C; it removes what it made")


async def _clean_up(
    cleanup_request: _CleanupRequest, arguments: argparse.Namespace, state_dir: Path | None
) -> ExitStatus:
    async with connect(_connection_config(cleanup_request)) as connection:
        _check_location(cleanup_request, connection)
        orphans, skipped = await _find_orphans(cleanup_request, connection)
        for line in skipped:
            echo(f"left alone: {line}")
        if not orphans:
            echo(
                f"nothing is left{f' of run {cleanup_request.run_id}' if cleanup_request.run_id else ''} in {_describe_location(connection)}"
            )
            _unregister(cleanup_request, state_dir)
            return ExitStatus.OK
        echo(f"left in {_describe_location(connection)}:", *(f"  {thing}" for thing in orphans))
        if arguments.dry_run:
            echo("nothing was removed: --dry-run")
            return ExitStatus.OK
        if not (arguments.yes or _confirm(len(orphans))):
            echo("nothing was removed")
            return ExitStatus.RESOURCE_LEAK
        return await _delete_orphans(cleanup_request, connection, orphans, state_dir)


def _connection_config(cleanup_request: _CleanupRequest) -> AwsConnectionConfig:
    """Return how to reach the place where the run was: its own region, and credentials of now."""
    if cleanup_request.journal_state is None:
        return AwsConnectionConfig()
    location = cleanup_request.journal_state.location
    return (
        AwsConnectionConfig(emulator_url=location.emulator_url)
        if location.emulator_url
        else AwsConnectionConfig(region=location.region or None)
    )


def _check_location(cleanup_request: _CleanupRequest, connection: AwsConnection) -> None:
    """Refuse to look for a run's things where it never was."""
    if cleanup_request.journal_state is None:
        return
    location, identity = cleanup_request.journal_state.location, connection.identity
    if location.account_id != identity.account_id:
        raise AuthError(
            f"run {cleanup_request.run_id} was in account {location.account_id or '(unknown)'}; "
            f"these credentials are of {identity.account_id or '(unknown)'}",
            hint="check AWS_PROFILE",
        )
    url = "" if identity.kind == "aws" else connection.clients.control_url
    if location.endpoint_url != url:
        raise ConfigError(
            f"run {cleanup_request.run_id} was at {location.endpoint_url or 'AWS'}; this would look at {url or 'AWS'}",
            hint="check AWS_ENDPOINT_URL",
        )


async def _find_orphans(
    cleanup_request: _CleanupRequest, connection: AwsConnection
) -> tuple[list[OrphanedResource], list[str]]:
    if cleanup_request.run_id:
        journaled = cleanup_request.journal_state.resources if cleanup_request.journal_state is not None else {}
        scan = await find_orphans(connection, cleanup_request.run_id, journaled=journaled)
    else:
        scan = await find_expired_orphans(connection, datetime.now(UTC))
    if scan.unreadable:
        effect = "the journal is used" if cleanup_request.journal_state else "some may be missed"
        echo(f"tags cannot all be read ({scan.unreadable}); {effect}")
    return scan.orphans, scan.skipped


async def _delete_orphans(
    cleanup_request: _CleanupRequest,
    connection: AwsConnection,
    orphans: Sequence[OrphanedResource],
    state_dir: Path | None,
) -> ExitStatus:
    journal: Journal = NullJournal()
    file: JournalWriter | None = None
    if cleanup_request.journal_state is not None and cleanup_request.journal_path is not None:
        # A journal that cannot be written any more must not keep anything standing.
        with suppress(LoadgenError):
            journal = file = JournalWriter(
                cleanup_request.journal_path,
                run_id=cleanup_request.run_id,
                location=cleanup_request.journal_state.location,
            )
    try:
        registry = await delete_orphans(connection, orphans, journal)
    finally:
        if file is not None:
            file.close()
    lines = registry.lines()
    if lines:
        echo("could not be removed:", *(f"  {line}" for line in lines))
        return ExitStatus.RESOURCE_LEAK
    echo(f"removed {len(orphans)}; nothing is left")
    _unregister(cleanup_request, state_dir)
    return ExitStatus.OK


def _unregister(cleanup_request: _CleanupRequest, state_dir: Path | None) -> None:
    if state_dir is not None and cleanup_request.run_id:
        unregister_run(state_dir, cleanup_request.run_id)


def _confirm(count: int) -> bool:
    """Ask, when a person is there; whoever calls from a script has --yes."""
    if not sys.stdin.isatty():
        echo("nobody is there to ask: --yes removes them")
        return False
    sys.stderr.write(f"Remove these {count}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _describe_location(connection: AwsConnection) -> str:
    identity = connection.identity
    return ", ".join(filter(None, (identity.kind, identity.account_id, identity.region)))
