"""Disks that are full, slow to say so, or broken: the load stops, everything is removed, what is on disk stays valid."""

import errno
import os
import time

import pytest

from loadgen import ClosedLoop, Emulated, Scenario, ServerlessConfig, Step
from loadgen.aws.deployment.journal import JournalWriter, ResourceLocation, read_journal
from loadgen.aws.deployment.resources import JournalEvent, ResourceKind
from loadgen.errors import ExitStatus, WriteError
from loadgen.results.directory import ResultsDirectory
from tests.support.emulator import emulated
from tests.system.test_end_to_end import REQUESTS, execute, list_all

RUN = ("--out", "out", "--quiet")
PLACE = ResourceLocation("emulator", "123456789012", "us-east-1")


def scenario(emulator, **load):
    return Scenario(
        Emulated(model="quick", url=emulator.url),
        REQUESTS,
        [Step(ServerlessConfig(m), ClosedLoop(1, **(load or {"count": 5}))) for m in (1024, 2048)],
    )


def test_a_disk_that_is_full_at_the_manifest_creates_nothing(play):
    """C95: in S1 the status is 74, and no Create call goes out."""

    async def main(on):
        child = on.start(str(on.write()), *RUN, BENCH_FILE_LIMIT="900")
        on.faults.child = child
        assert await on.finish(child) == 74
        assert not [call for call in on.faults.calls if call.startswith(("CreateEndpoint", "Delete"))]
        assert on.standing() == set()

    play(main)


def test_a_disk_that_fills_up_under_load_stops_it_and_removes_everything(play):
    """C95: in S7 the load stops within a second of the refusal, 74, nothing is left; what is on disk is whole and reported."""

    async def main(on):
        path = on.write(load="duration=60", sizes=[1024])
        began = time.perf_counter()
        status, _, said = await on.run(str(path), *RUN, BENCH_FILE_LIMIT=str(20_000))
        assert status == 74, said
        assert time.perf_counter() - began < 20
        assert on.standing() == set()
        (run,) = ResultsDirectory.open(on.directory / "out").read_runs()
        assert len(run.samples) == (20_000 - 64) // 64
        assert all("record" in damage or "run.json is missing" in damage for damage in run.data_errors)
        status, _, said = await on.run("report", "out")
        assert status == 0, said

    play(main, service=0.001)


@pytest.mark.parametrize("failing", [1, 3])
def test_an_intent_that_cannot_be_kept_keeps_the_create_from_going_out(tmp_path, monkeypatch, failing):
    """C95: the first, or a later, intent fails: nothing is created without it, what was created before is removed; 74."""
    append, intents = JournalWriter._write_entry, []

    def full(self, entry, *, sync):
        if entry["event"] == "intent":
            intents.append(entry["name"])
            if len(intents) == failing:
                raise OSError(errno.ENOSPC, "No space left on device")
        append(self, entry, sync=sync)

    monkeypatch.setattr(JournalWriter, "_write_entry", full)
    with emulated() as emulator:
        finished = execute(scenario(emulator), tmp_path / "out")
        assert list_all(emulator) == []
        made = emulator.ledger.to_dict()["endpoints"]
    assert ExitStatus.IO_ERROR in finished.statuses
    assert finished.leftovers == ()
    assert intents[failing - 1] not in made


def test_a_journal_that_fails_during_removal_does_not_stop_it(tmp_path, monkeypatch):
    """C95, C96: notes after the intents cannot be written: everything is still removed, and the status is 74."""
    append = JournalWriter._write_entry

    def broken(self, entry, *, sync):
        if entry["event"] in {"deleting", "gone"}:
            raise OSError(errno.EIO, "Input/output error")
        append(self, entry, sync=sync)

    monkeypatch.setattr(JournalWriter, "_write_entry", broken)
    with emulated() as emulator:
        finished = execute(scenario(emulator), tmp_path / "out")
        assert list_all(emulator) == []
    assert finished.statuses == (ExitStatus.IO_ERROR,)
    assert [run.scheduled for run in finished.runs] == [5, 5]


def test_a_failing_fsync_ends_the_sweep_and_removes_everything(tmp_path, monkeypatch):
    """C96: EIO when the samples are synced is 74, never tried again as if it were clean; nothing is left."""
    fsync, asked = os.fsync, []

    def broken(file):
        if os.readlink(f"/proc/self/fd/{file}").endswith("samples.bin"):
            asked.append(file)
            raise OSError(errno.EIO, "Input/output error")
        fsync(file)

    monkeypatch.setattr(os, "fsync", broken)
    with emulated() as emulator:
        finished = execute(scenario(emulator), tmp_path / "out")
        assert list_all(emulator) == []
    assert isinstance(finished.failure, WriteError)
    assert ExitStatus.IO_ERROR in finished.statuses
    assert len(asked) == 1


def test_an_intent_is_on_disk_before_its_create_goes_out(tmp_path, monkeypatch):
    """G14: the order of what happens: the line is written, then synced, and only then the call is in the emulator."""
    happened, fsync = [], os.fsync

    def synced(file):
        name = os.readlink(f"/proc/self/fd/{file}")
        if name.endswith("journal.jsonl"):
            noted = read_journal(tmp_path / "out" / "journal.jsonl").resources
            happened.extend(("synced", str(kind), name) for kind, name in noted)
        fsync(file)

    monkeypatch.setattr(os, "fsync", synced)
    with emulated() as emulator:
        create = emulator.control.operations["CreateEndpoint"]
        config = emulator.control.operations["CreateEndpointConfig"]
        emulator.control.operations = dict(emulator.control.operations) | {
            "CreateEndpoint": lambda p, now: (
                happened.append(("created", "endpoint", p["EndpointName"])) or create(p, now)
            ),
            "CreateEndpointConfig": lambda p, now: (
                happened.append(("created", "endpoint-config", p["EndpointConfigName"])) or config(p, now)
            ),
        }
        emulator._targets = dict(emulator._targets) | {
            "SageMaker": (emulator.control.operations, emulator._targets["SageMaker"][1])
        }
        execute(scenario(emulator), tmp_path / "out")
    created = [entry for entry in happened if entry[0] == "created"]
    assert len(created) == 4
    for entry in created:
        assert ("synced", *entry[1:]) in happened[: happened.index(entry)]


def test_a_journal_cut_anywhere_names_what_may_exist(tmp_path):
    """G10, C120: for every length of the file, what its whole lines say is read; nothing that was gone comes back."""
    path = tmp_path / "journal.jsonl"
    journal = JournalWriter(path, run_id="r", location=PLACE)
    noted = [
        (e, k, f"n{i}")
        for i in range(3)
        for k in (ResourceKind.CONFIG, ResourceKind.ENDPOINT)
        for e in (JournalEvent.INTENT, JournalEvent.CREATED)
    ]
    noted += [(JournalEvent.GONE, ResourceKind.ENDPOINT, "n0"), (JournalEvent.GONE, ResourceKind.CONFIG, "n0")]
    ends, standing = {}, set()
    ends[journal._end] = set()
    for event, kind, name in noted:
        journal.append(event, kind, name)
        standing = standing - {(kind, name)} if event is JournalEvent.GONE else standing | {(kind, name)}
        ends[journal._end] = set(standing)
    reserved = path.stat().st_size
    journal.close()
    whole = path.read_bytes()
    assert reserved >= len(whole) + 60_000  # there was room for what would have to be noted on a full disk
    first = min(ends)
    for end in range(first, len(whole) + 1):
        path.write_bytes(whole[:end] + b"\0" * 100)
        said = read_journal(path)
        assert (said.run_id, said.location) == ("r", PLACE)
        assert set(said.resources) == ends[max(at for at in ends if at <= end)]
    # It is continued behind the last whole line.
    again = JournalWriter(path, run_id="r", location=PLACE)
    again.append(JournalEvent.INTENT, ResourceKind.ENDPOINT, "later")
    again.close()
    assert (ResourceKind.ENDPOINT, "later") in read_journal(path).resources


def test_a_damaged_line_of_a_journal_costs_itself_only(tmp_path):
    """C128: flipped bytes are counted, and the lines around them are read."""
    path = tmp_path / "journal.jsonl"
    journal = JournalWriter(path, run_id="r", location=PLACE)
    for name in ("a", "b", "c"):
        journal.append(JournalEvent.INTENT, ResourceKind.ENDPOINT, name)
    journal.close()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"intent"', b'"\xff\xfeent"')
    path.write_bytes(b"".join(lines))
    said = read_journal(path)
    assert {name for _, name in said.resources} == {"a", "c"}
    assert said.damaged_lines == 1


def test_too_few_descriptors_are_told(play):
    """C97: with room for 64 open files and 200 clients the run ends with a documented status and leaves nothing."""

    async def main(on):
        path = on.write(sizes=[1024])
        path.write_text(path.read_text().replace("ClosedLoop(2", "ClosedLoop(200"))
        status, _, said = await on.run(str(path), *RUN, BENCH_OPEN_LIMIT="64")
        assert status in {71, 74, 110}, said
        assert "Traceback" not in said
        assert on.standing() == set()

    play(main, service=0.05)
