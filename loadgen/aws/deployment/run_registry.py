"""Run registry: files in the user's state directory, one for each run that may have left resources.

A run is registered before it creates anything and unregistered when nothing can be left, so that the next start of
loadgen can report leftovers. It is a convenience: cleanup also works from the journal or from tags.
"""

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
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
from loadgen.liveness import LastSign, Liveness, assess_liveness, heartbeat
from loadgen.process_identity import ProcessIdentity, process_from_json

_RUN_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOOPBACK_TIMEOUT = 0.5


@dataclass(frozen=True, slots=True)
class RegisteredRun:
    """A run in the registry.

    Args:
        run_id: of the run.
        journal_path: of its journal.
        location: of its resources.
        process: the last process of the run.
        registry_path: of its file in the registry; None before it is registered.
    """

    run_id: str
    journal_path: Path
    location: ResourceLocation
    process: ProcessIdentity
    registry_path: Path | None = field(default=None, compare=False)

    def last_sign(self) -> LastSign:
        """Read the heartbeat of the run: its journal may be on another machine, its registry file too."""
        return LastSign.read(self.journal_path, *filter(None, [self.registry_path]))

    def processes(self) -> list[ProcessIdentity]:
        """Return the registered process and, if the run was continued elsewhere, the last one in its journal."""
        try:
            last = read_journal(self.journal_path).process
        except LoadgenError:
            return [self.process]
        return list(dict.fromkeys([self.process, last]))

    def count_endpoints(self) -> int | None:
        """Count the endpoints that the run may have left; None if its journal cannot be read."""
        try:
            journal_state = read_journal(self.journal_path)
        except LoadgenError:
            return None
        return len({name for _, name in journal_state.resources})


def state_directory(environment: Mapping[str, str]) -> Path | None:
    """Return loadgen's state directory, or None if the environment names none.

    Source: XDG Base Directory Specification 0.8, XDG_STATE_HOME.
    """
    state_home = environment.get("XDG_STATE_HOME", "")
    if state_home and Path(state_home).is_absolute():
        return Path(state_home) / "loadgen"
    home = environment.get("HOME") or environment.get("USERPROFILE") or ""
    return Path(home) / ".local" / "state" / "loadgen" if home and Path(home).is_absolute() else None


def register_run(state_dir: Path, run: RegisteredRun) -> str:
    """Register a run.

    Returns:
        An empty string, or the message of the failure.
    """
    document = {
        "run_id": run.run_id,
        "journal_path": str(run.journal_path.absolute()),
        "location": asdict(run.location),
        "process": asdict(run.process),
    }
    path = _entry_path(state_dir, run.run_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(document).encode())
    except OSError as error:
        return (
            f"cannot register the run in {path}: {error.strerror}; "
            "leftover resources will not be reported at the next start"
        )
    return ""


def unregister_run(state_dir: Path, run_id: str) -> None:
    """Unregister a run. Idempotent."""
    with suppress(OSError):
        _entry_path(state_dir, run_id).unlink()


def list_runs(state_dir: Path) -> list[RegisteredRun]:
    """List the registered runs; entries that cannot be read are skipped."""
    found = []
    with suppress(OSError):
        for path in sorted((state_dir / "runs").glob("*.json")):
            with suppress(OSError, ValueError, AttributeError):
                document = json.loads(path.read_text("utf-8"))
                process = process_from_json(document.get("process"))
                if process is not None and _RUN_ID_PATTERN.fullmatch(str(document.get("run_id"))):
                    location = read_location(document.get("location"))
                    found.append(
                        RegisteredRun(
                            str(document["run_id"]),
                            Path(str(document.get("journal_path"))),
                            location,
                            process,
                            path,
                        )
                    )
    return found


@contextmanager
def journaled_run(
    account: SupportsJournal, directory: Path, *, run_id: str, state_dir: Path | None, log: Callable[[str], None]
) -> Iterator[JournalWriter]:
    """Keep a journal of the account's resources, and the run in the registry, while the context is open.

    Both files carry the run's heartbeat (liveness.py).

    Args:
        account: creates the resources.
        directory: output directory; an existing journal is continued.
        run_id: of the run.
        state_dir: of the registry; None for no registry.
        log: receives progress messages.

    Raises:
        WriteError: the journal cannot be written.
    """
    journal = JournalWriter(directory / JOURNAL_FILE, run_id=run_id, location=account.location)
    account.set_journal(journal)
    if state_dir is not None:
        run = RegisteredRun(run_id, directory / JOURNAL_FILE, account.location, ProcessIdentity.current())
        if register_error := register_run(state_dir, run):
            log(register_error)
    registry_paths = [] if state_dir is None else [_entry_path(state_dir, run_id)]
    try:
        with heartbeat(journal.path, *registry_paths):
            yield journal
    finally:
        journal.close()
        if state_dir is not None and not account.leftovers():
            unregister_run(state_dir, run_id)


def list_dead_runs(state_dir: Path) -> list[RegisteredRun]:
    """List runs that ended and may have left resources; unregister those whose emulator has ended."""
    dead_runs = []
    for run in list_runs(state_dir):
        sign = run.last_sign()
        if any(assess_liveness(process, sign) is not Liveness.ENDED for process in run.processes()):
            continue
        if run.count_endpoints() == 0 or _is_emulator_gone(run.location):
            unregister_run(state_dir, run.run_id)
        else:
            dead_runs.append(run)
    return dead_runs


def _is_emulator_gone(location: ResourceLocation) -> bool:
    """Return whether the location is an emulator that has ended, with its resources."""
    if location.kind != "emulator":
        return False
    address = urlsplit(location.endpoint_url)
    try:
        socket.create_connection((address.hostname or "", address.port or 80), _LOOPBACK_TIMEOUT).close()
    except OSError:
        return True
    return False


def _entry_path(state_dir: Path, run_id: str) -> Path:
    return state_dir / "runs" / f"{run_id}.json"
