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

from loadgen.aws.deployment.cleanup import Found, decide, remove, survey
from loadgen.aws.deployment.journal import NAME, FileJournal, Noted, read_journal
from loadgen.aws.deployment.naming import RUN
from loadgen.aws.deployment.resources import Journal, NoJournal
from loadgen.aws.deployment.run_registry import leave, left, state_directory, unfinished
from loadgen.aws.identity import Reached, reach
from loadgen.aws.session import Access
from loadgen.cli.messages import say
from loadgen.errors import AuthError, ConfigError, ExitStatus, InputError, LoadgenError


def run(arguments: argparse.Namespace) -> ExitStatus:
    """List, ask, remove.

    Raises:
        LoadgenError: the account cannot be reached, or is not the run's.
    """
    state = state_directory(os.environ)
    wanted = _wanted(arguments.run, state)
    statuses = [asyncio.run(_clean(want, arguments, state)) for want in wanted]
    return max(statuses, default=ExitStatus.OK, key=lambda status: status is ExitStatus.LEFTOVERS)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A run to clean up after; an empty run id means whatever is over, by its tags."""

    run_id: str = ""
    journal: Path | None = None
    noted: Noted | None = None


def _wanted(named: str | None, state: Path | None) -> list[_Wanted]:
    registered = [] if state is None else unfinished(state)
    if named is None:
        dead = [] if state is None else left(state)
        return [*(_with_journal(run.run_id, run.journal) for run in dead), _Wanted()]
    directory = Path(named)
    if directory.is_dir():
        journal = directory / NAME
        want = _with_journal("", journal)
        if want.noted is None:
            raise InputError(f"{named} holds no journal that can be read", hint="give the run's id instead")
        return [_refuse_alive(replace(want, run_id=want.noted.run_id))]
    for run in registered:
        if run.run_id == named:
            if run.process.is_near and run.process.is_alive():
                _raise_alive(named, str(run.process))
            return [_with_journal(named, run.journal)]
    return [_Wanted(named)]


def _with_journal(run_id: str, journal: Path) -> _Wanted:
    try:
        return _Wanted(run_id, journal, read_journal(journal))
    except LoadgenError:
        return _Wanted(run_id)  # tags are what is left


def _refuse_alive(want: _Wanted) -> _Wanted:
    process = want.noted.process if want.noted is not None else None
    # A finished run stands in its journal with a process whose id may be anything's now: it left nothing then.
    if (
        process is not None
        and want.noted is not None
        and want.noted.standing
        and process.is_near
        and process.is_alive()
    ):
        _raise_alive(want.run_id, str(process))
    return want


def _raise_alive(run_id: str, process: str) -> None:
    raise ConfigError(f"run {run_id} is still going on: {process}", hint="stop it with Ctrl-C; it removes what it made")


async def _clean(want: _Wanted, arguments: argparse.Namespace, state: Path | None) -> ExitStatus:
    async with reach(_access(want)) as reached:
        _check_place(want, reached)
        found, spared = await _search(want, reached)
        for line in spared:
            say(f"left alone: {line}")
        if not found:
            say(f"nothing is left{f' of run {want.run_id}' if want.run_id else ''} in {_place(reached)}")
            _forget(want, state)
            return ExitStatus.OK
        say(f"left in {_place(reached)}:", *(f"  {thing}" for thing in found))
        if arguments.dry_run:
            say("nothing was removed: --dry-run")
            return ExitStatus.OK
        if not (arguments.yes or _is_agreed(len(found))):
            say("nothing was removed")
            return ExitStatus.LEFTOVERS
        return await _remove(want, reached, found, state)


def _access(want: _Wanted) -> Access:
    """Return how to reach the place where the run was: its own region, and credentials of now."""
    if want.noted is None:
        return Access()
    place = want.noted.place
    return Access(emulator_url=place.emulator_url) if place.emulator_url else Access(region=place.region or None)


def _check_place(want: _Wanted, reached: Reached) -> None:
    """Refuse to look for a run's things where it never was."""
    if want.noted is None:
        return
    place, identity = want.noted.place, reached.identity
    if place.account_id != identity.account_id:
        raise AuthError(
            f"run {want.run_id} was in account {place.account_id or '(unknown)'}; "
            f"these credentials are of {identity.account_id or '(unknown)'}",
            hint="check AWS_PROFILE",
        )
    url = "" if identity.kind == "aws" else reached.clients.control_url
    if place.url != url:
        raise ConfigError(
            f"run {want.run_id} was at {place.url or 'AWS'}; this would look at {url or 'AWS'}",
            hint="check AWS_ENDPOINT_URL",
        )


async def _search(want: _Wanted, reached: Reached) -> tuple[list[Found], list[str]]:
    tagged, unseen = await survey(reached.clients.sagemaker)
    if unseen:
        say(f"tags cannot all be read ({unseen}); {'the journal is used' if want.noted else 'some may be missed'}")
    if want.run_id:
        standing = want.noted.standing if want.noted is not None else {}
        return decide(standing, tagged, run_id=want.run_id, owner=reached.owner)
    now = datetime.now(UTC)
    found, spared = list[Found](), list[str]()
    for run_id in dict.fromkeys((thing.tags or {}).get(RUN, "") for thing in tagged):
        mine, _ = decide({}, [thing for thing in tagged if thing.is_expired(now)], run_id=run_id, owner=reached.owner)
        found += mine
        young, _ = decide({}, [t for t in tagged if not t.is_expired(now)], run_id=run_id, owner=reached.owner)
        if young:
            spared.append(f"{len(young)} things of run {run_id}, which may still be going on: loadgen cleanup {run_id}")
    return found, spared


async def _remove(want: _Wanted, reached: Reached, found: Sequence[Found], state: Path | None) -> ExitStatus:
    journal: Journal = NoJournal()
    file: FileJournal | None = None
    if want.noted is not None and want.journal is not None:
        # A journal that cannot be written any more must not keep anything standing.
        with suppress(LoadgenError):
            journal = file = FileJournal(want.journal, run_id=want.run_id, place=want.noted.place)
    try:
        holdings = await remove(reached, found, journal)
    finally:
        if file is not None:
            file.close()
    lines = holdings.lines()
    if lines:
        say("could not be removed:", *(f"  {line}" for line in lines))
        return ExitStatus.LEFTOVERS
    say(f"removed {len(found)}; nothing is left")
    _forget(want, state)
    return ExitStatus.OK


def _forget(want: _Wanted, state: Path | None) -> None:
    if state is not None and want.run_id:
        leave(state, want.run_id)


def _is_agreed(count: int) -> bool:
    """Ask, when a person is there; whoever calls from a script has --yes."""
    if not sys.stdin.isatty():
        say("nobody is there to ask: --yes removes them")
        return False
    sys.stderr.write(f"Remove these {count}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _place(reached: Reached) -> str:
    identity = reached.identity
    return ", ".join(filter(None, (identity.kind, identity.account_id, identity.region)))
