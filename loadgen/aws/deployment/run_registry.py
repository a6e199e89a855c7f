"""Unfinished: a small register, outside of any output directory, of the runs that may have left something behind.

A run enters it before it creates anything and leaves it when nothing can be left, so that the next start of loadgen
can tell. It is a convenience: the journal in the output directory and the tags in the account say the same.
"""

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from loadgen.atomic_file import atomic_write
from loadgen.aws.deployment.journal import (
    JOURNAL_FILE,
    JournalWriter,
    ResourceLocation,
    SupportsJournal,
    read_journal,
    read_location,
)
from loadgen.errors import LoadgenError
from loadgen.process_identity import ProcessIdentity, process_from_json

_RUN_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOOPBACK_TIMEOUT = 0.5


@dataclass(frozen=True, slots=True)
class RegisteredRun:
    """A run in the register.

    Args:
        run_id: the run's.
        journal_path: path of its journal.
        location: where it creates things.
        process: which works, or worked, on it.
    """

    run_id: str
    journal_path: Path
    location: ResourceLocation
    process: ProcessIdentity

    def count_endpoints(self) -> int | None:
        """Count the endpoints that it may have left; None when its journal cannot be read."""
        try:
            journal_state = read_journal(self.journal_path)
        except LoadgenError:
            return None
        return len({name for _, name in journal_state.resources})


def state_directory(environment: Mapping[str, str]) -> Path | None:
    """Return where a user's programs keep their state, or None where there is no such place.

    Source: XDG Base Directory Specification 0.8, XDG_STATE_HOME.
    """
    state_home = environment.get("XDG_STATE_HOME", "")
    if state_home and Path(state_home).is_absolute():
        return Path(state_home) / "loadgen"
    home = environment.get("HOME") or environment.get("USERPROFILE") or ""
    return Path(home) / ".local" / "state" / "loadgen" if home and Path(home).is_absolute() else None


def register_run(state_dir: Path, run: RegisteredRun) -> str:
    """Put a run into the register.

    Returns:
        Why that was not possible, in words; empty when it was.
    """
    document = {
        "run": run.run_id,
        "journal": str(run.journal_path.absolute()),
        "place": asdict(run.location),
        "process": asdict(run.process),
    }
    path = _entry_path(state_dir, run.run_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(document).encode())
    except OSError as error:
        return f"the next start will not tell if this run leaves something: cannot write {path}: {error.strerror}"
    return ""


def unregister_run(state_dir: Path, run_id: str) -> None:
    """Take a run out of the register; again is no harm."""
    with suppress(OSError):
        _entry_path(state_dir, run_id).unlink()


def list_runs(state_dir: Path) -> list[RegisteredRun]:
    """Read the register, oldest first; what cannot be read is left out."""
    found = []
    with suppress(OSError):
        for path in sorted((state_dir / "unfinished").glob("*.json")):
            with suppress(OSError, ValueError, AttributeError):
                document = json.loads(path.read_text("utf-8"))
                process = process_from_json(document.get("process"))
                if process is not None and _RUN_ID_PATTERN.fullmatch(str(document.get("run"))):
                    place = read_location(document.get("place"))
                    found.append(
                        RegisteredRun(str(document["run"]), Path(str(document.get("journal"))), place, process)
                    )
    return found


@contextmanager
def journaled_run(
    account: SupportsJournal, directory: Path, *, run_id: str, state_dir: Path | None, log: Callable[[str], None]
) -> Iterator[JournalWriter]:
    """Keep a journal of what the account creates while the context lasts, and the run in the register.

    Args:
        account: where things are created.
        directory: of the output; its journal is continued.
        run_id: the run's.
        state_dir: the register's place; None for none.
        log: takes a sentence for whoever watches.

    Raises:
        WriteError: the journal cannot be kept.
    """
    journal = JournalWriter(directory / JOURNAL_FILE, run_id=run_id, location=account.location)
    account.set_journal(journal)
    if state_dir is not None:
        run = RegisteredRun(run_id, directory / JOURNAL_FILE, account.location, ProcessIdentity.current())
        if register_error := register_run(state_dir, run):
            log(register_error)
    try:
        yield journal
    finally:
        journal.close()
        if state_dir is not None and not account.leftovers():
            unregister_run(state_dir, run_id)


def list_dead_runs(state_dir: Path) -> list[RegisteredRun]:
    """Return the runs that ended without removing what they made; one of an emulator that is gone is forgotten."""
    dead_runs = []
    for run in list_runs(state_dir):
        if run.process.is_running():
            continue
        if run.count_endpoints() == 0 or _is_emulator_gone(run.location):
            unregister_run(state_dir, run.run_id)
        else:
            dead_runs.append(run)
    return dead_runs


def _is_emulator_gone(location: ResourceLocation) -> bool:
    """Tell whether an emulator has ended, and with it all that it held."""
    if location.kind != "emulator":
        return False
    address = urlsplit(location.endpoint_url)
    try:
        socket.create_connection((address.hostname or "", address.port or 80), _LOOPBACK_TIMEOUT).close()
    except OSError:
        return True
    return False


def _entry_path(state_dir: Path, run_id: str) -> Path:
    return state_dir / "unfinished" / f"{run_id}.json"
