"""Unfinished: a small register, outside of any output directory, of the runs that may have left something behind.

A run enters it before it creates anything and leaves it when nothing can be left, so that the next start of loadgen
can tell. It is a convenience: the journal in the output directory and the tags in the account say the same.
"""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from loadgen.aws.deployment.journal import NAME, FileJournal, Journaled, Place, read_journal, read_place
from loadgen.errors import LoadgenError
from loadgen.process_identity import Process, read_process

_RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOOPBACK_PATIENCE = 0.5


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A run in the register.

    Args:
        run_id: the run's.
        journal: path of its journal.
        place: where it creates things.
        process: which works, or worked, on it.
    """

    run_id: str
    journal: Path
    place: Place
    process: Process

    def standing(self) -> int | None:
        """Count the endpoints that it may have left; None when its journal cannot be read."""
        try:
            noted = read_journal(self.journal)
        except LoadgenError:
            return None
        return len({name for _, name in noted.standing})


def state_directory(environment: Mapping[str, str]) -> Path | None:
    """Return where a user's programs keep their state, or None where there is no such place.

    Source: XDG Base Directory Specification 0.8, XDG_STATE_HOME.
    """
    named = environment.get("XDG_STATE_HOME", "")
    if named and Path(named).is_absolute():
        return Path(named) / "loadgen"
    home = environment.get("HOME") or environment.get("USERPROFILE") or ""
    return Path(home) / ".local" / "state" / "loadgen" if home and Path(home).is_absolute() else None


def enter(state: Path, run: Unfinished) -> str:
    """Put a run into the register.

    Returns:
        Why that was not possible, in words; empty when it was.
    """
    plain = {
        "run": run.run_id,
        "journal": str(run.journal.absolute()),
        "place": asdict(run.place),
        "process": asdict(run.process),
    }
    path = _path(state, run.run_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(plain), "utf-8")
        partial.replace(path)
    except OSError as error:
        return f"the next start will not tell if this run leaves something: cannot write {path}: {error.strerror}"
    return ""


def leave(state: Path, run_id: str) -> None:
    """Take a run out of the register; again is no harm."""
    with suppress(OSError):
        _path(state, run_id).unlink()


def unfinished(state: Path) -> list[Unfinished]:
    """Read the register, oldest first; what cannot be read is left out."""
    found = []
    with suppress(OSError):
        for path in sorted((state / "unfinished").glob("*.json")):
            with suppress(OSError, ValueError, AttributeError):
                plain = json.loads(path.read_text("utf-8"))
                process = read_process(plain.get("process"))
                if process is not None and _RUN_ID.fullmatch(str(plain.get("run"))):
                    place = read_place(plain.get("place"))
                    found.append(Unfinished(str(plain["run"]), Path(str(plain.get("journal"))), place, process))
    return found


@contextmanager
def kept(
    account: Journaled, directory: Path, *, run_id: str, state: Path | None, say: Callable[[str], None]
) -> Iterator[FileJournal]:
    """Keep a journal of what the account creates while the context lasts, and the run in the register.

    Args:
        account: where things are created.
        directory: of the output; its journal is continued.
        run_id: the run's.
        state: the register's place; None for none.
        say: takes a sentence for whoever watches.

    Raises:
        WriteError: the journal cannot be kept.
    """
    journal = FileJournal(directory / NAME, run_id=run_id, place=account.place)
    account.note_in(journal)
    if state is not None:
        run = Unfinished(run_id, directory / NAME, account.place, Process.this())
        if trouble := enter(state, run):
            say(trouble)
    try:
        yield journal
    finally:
        journal.close()
        if state is not None and not account.leftovers():
            leave(state, run_id)


def left(state: Path) -> list[Unfinished]:
    """Return the runs that ended without removing what they made; one of an emulator that is gone is forgotten."""
    dead = []
    for run in unfinished(state):
        if run.process.is_alive():
            continue
        if run.standing() == 0 or _is_over(run.place):
            leave(state, run.run_id)
        else:
            dead.append(run)
    return dead


def _is_over(place: Place) -> bool:
    """Tell whether an emulator has ended, and with it all that it held."""
    if place.kind != "emulator":
        return False
    address = urlsplit(place.url)
    try:
        socket.create_connection((address.hostname or "", address.port or 80), _LOOPBACK_PATIENCE).close()
    except OSError:
        return True
    return False


def _path(state: Path, run_id: str) -> Path:
    return state / "unfinished" / f"{run_id}.json"
