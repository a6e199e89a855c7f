"""The journal: a file in the output directory that lists the resources a run may have created.

    {"event": "opened", "run_id": ..., "location": {...}, "process": {...}, "time": ...}    each process of the run
    {"event": "intent", "kind": "endpoint", "name": ..., "time": ...}                       before its Create, synced
    {"event": "created" | "deleting" | "gone", "kind": ..., "name": ..., "time": ...}

One JSON object a line, append-only. Space is reserved when the file is opened, so that deletions can be recorded on a
full disk; reserved space that is not used reads as zeros. The journal holds no credentials.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from loadgen.aws.deployment.resources import Existence, Journal, JournalEvent, ResourceKind
from loadgen.errors import DataError, InputError, WriteError
from loadgen.interfaces import Leftover
from loadgen.process_identity import ProcessIdentity, process_from_json

JOURNAL_FILE = "journal.jsonl"
_MAX_TIME = 2.0**35  # seconds since the epoch, beyond which an entry's time is invalid
_RESERVED_BYTES = 1 << 16  # bytes reserved: some two hundred endpoints


@dataclass(frozen=True, slots=True)
class ResourceLocation:
    """Where another process finds the resources of a run; without credentials.

    Args:
        kind: `aws`, `emulator` or `custom-endpoint`.
        account_id: twelve digits, or empty.
        region: such as `us-east-1`.
        endpoint_url: of the control plane; empty for AWS.
        emulator_url: of an emulator that the scenario named; empty if the environment named it.
        owner: the caller's ARN.
    """

    kind: str
    account_id: str
    region: str
    endpoint_url: str = ""
    emulator_url: str = ""
    owner: str = ""

    def __str__(self) -> str:
        parts = (
            self.endpoint_url or self.kind.upper(),
            f"account {self.account_id}" if self.account_id else "",
            self.region,
        )
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class JournalState:
    """The content of a journal.

    Args:
        run_id: of the run.
        location: of its resources.
        process: the last process of the run.
        resources: that may still exist, and how much is known of each.
        damaged_lines: number of lines that cannot be parsed.
        intended: when the Create of each resource was announced, seconds since the epoch.
        last_entry: time of the youngest entry, seconds since the epoch; 0 if no entry has one.
    """

    run_id: str
    location: ResourceLocation
    process: ProcessIdentity
    resources: Mapping[tuple[ResourceKind, str], Existence] = field(default_factory=dict)
    damaged_lines: int = 0
    intended: Mapping[tuple[ResourceKind, str], float] = field(default_factory=dict)
    last_entry: float = 0.0


@runtime_checkable
class SupportsJournal(Protocol):
    """An account that creates resources and records them in a journal."""

    @property
    def location(self) -> ResourceLocation:
        """Where another process can find the created resources."""
        ...

    def set_journal(self, journal: Journal) -> None:
        """Record creations and deletions in this journal from now on."""
        ...

    async def delete_leftovers(self, journal_state: JournalState) -> Sequence[str]:
        """Delete what an earlier process of the run left; what cannot be deleted stays in `leftovers()`.

        Returns:
            A line for each resource that does not agree with the journal and was left alone.
        """
        ...

    def leftovers(self) -> Sequence[Leftover]:
        """Return the resources that may still exist."""
        ...


class JournalWriter:
    """Append to a journal file. A `Journal`.

    Args:
        path: of the file; an existing file is continued.
        run_id: of the run.
        location: of its resources.

    Raises:
        WriteError: the file cannot be written.
    """

    def __init__(self, path: Path, *, run_id: str, location: ResourceLocation) -> None:
        self.path = path
        self.write_error = ""  # why an event after an intent could not be written, human-readable
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            self._end = _end_of_last_line(path)
            os.ftruncate(self._file, self._end)  # drop a torn last line
            _reserve(self._file, self._end)
            self._write_entry(
                {
                    "event": "opened",
                    "run_id": run_id,
                    "location": asdict(location),
                    "process": asdict(ProcessIdentity.current()),
                },
                sync=True,
            )
            _sync_directory(path.parent)
        except OSError as error:
            raise _journal_error(path, error) from error

    def append(self, event: JournalEvent, kind: ResourceKind, name: str) -> None:
        """Append an event; an intent is on disk when this returns.

        Raises:
            WriteError: an intent cannot be written.
        """
        try:
            self._write_entry(
                {"event": event.value, "kind": kind.value, "name": name}, sync=event is JournalEvent.INTENT
            )
        except OSError as error:
            if event is JournalEvent.INTENT:
                raise _journal_error(self.path, error) from error
            self.write_error = str(_journal_error(self.path, error))

    def _write_entry(self, entry: Mapping[str, Any], *, sync: bool) -> None:
        line = json.dumps({**entry, "time": round(time.time(), 3)}).encode() + b"\n"
        view = memoryview(line)
        while view:
            written = os.pwrite(self._file, view, self._end)
            self._end += written
            view = view[written:]
        if sync:
            os.fsync(self._file)

    def close(self) -> None:
        """Release the reserved space and close. Idempotent."""
        if self._file >= 0:
            file, self._file = self._file, -1
            try:
                os.ftruncate(file, self._end)
            except OSError as error:
                self.write_error = str(_journal_error(self.path, error))
            finally:
                os.close(file)


def _journal_error(path: Path, error: OSError) -> WriteError:
    return WriteError(
        f"cannot write the journal {path}: {error.strerror}", hint="no resource is created without a journal"
    )


def _end_of_last_line(path: Path) -> int:
    """Return where the last complete line ends."""
    content = path.read_bytes().partition(b"\0")[0]
    return content.rfind(b"\n") + 1


def _reserve(file: int, end: int) -> None:
    # A file system without this call extends the file as it is written.
    with suppress(OSError, AttributeError):
        os.posix_fallocate(file, end, _RESERVED_BYTES)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_journal(path: Path) -> JournalState:
    """Read the resources a run may have left; damaged lines are counted and skipped.

    Raises:
        InputError: the file cannot be read.
        DataError: no line names the run.
    """
    try:
        content = path.read_bytes().partition(b"\0")[0]
    except OSError as error:
        raise InputError(
            f"cannot read the journal {path}: {error.strerror}", hint="give the run's id instead"
        ) from error
    opening_entry: Mapping[str, Any] | None = None
    resources: dict[tuple[ResourceKind, str], Existence] = {}
    intended: dict[tuple[ResourceKind, str], float] = {}
    damaged_lines, last_entry = 0, 0.0
    for entry in _parse_lines(content):
        last_entry = max(last_entry, _entry_time(entry or {}))
        if entry is None:
            damaged_lines += 1
        elif entry.get("event") == "opened":
            opening_entry = entry
        elif not _apply_event(entry, resources, intended):
            damaged_lines += 1
    process = process_from_json(opening_entry.get("process")) if opening_entry is not None else None
    if opening_entry is None or process is None:
        raise DataError(f"{path} does not name its run", hint="give the run's id instead")
    return JournalState(
        str(opening_entry.get("run_id", "")),
        read_location(opening_entry.get("location")),
        process,
        resources,
        damaged_lines,
        intended,
        last_entry,
    )


def read_location(plain: object) -> ResourceLocation:
    """Parse a location; missing fields are empty."""
    values = plain if isinstance(plain, dict) else {}
    return ResourceLocation(**{f.name: str(values.get(f.name, "")) for f in fields(ResourceLocation)})


def _parse_lines(content: bytes) -> Iterator[Mapping[str, Any] | None]:
    # The last part is empty, or a line torn before its Create was sent.
    for line in content.split(b"\n")[:-1]:
        try:
            entry = json.loads(line)
        except ValueError:
            yield None
        else:
            yield entry if isinstance(entry, dict) else None


def _entry_time(entry: Mapping[str, Any]) -> float:
    """Return the time of an entry; 0 for an invalid one."""
    value = entry.get("time")
    return float(value) if isinstance(value, int | float) and 0 <= value < _MAX_TIME else 0.0


def _apply_event(
    entry: Mapping[str, Any],
    resources: dict[tuple[ResourceKind, str], Existence],
    intended: dict[tuple[ResourceKind, str], float],
) -> bool:
    """Apply one event; return False if it is unknown."""
    try:
        event, kind, name = JournalEvent(entry["event"]), ResourceKind(entry["kind"]), str(entry["name"])
    except (KeyError, ValueError):
        return False
    if event is JournalEvent.GONE:
        resources.pop((kind, name), None)
    elif event is JournalEvent.INTENT:
        resources[kind, name] = Existence.UNCERTAIN
        intended[kind, name] = _entry_time(entry)
    else:
        resources[kind, name] = Existence.CREATED
    return True
