"""Full and broken disks: the load stops, every resource is deleted, and what is on disk stays valid."""

import errno
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from loadgen import ClosedLoop, Emulated, Scenario, ServerlessConfig, Step
from loadgen.aws.deployment.journal import JournalWriter, ResourceLocation, read_journal
from loadgen.aws.deployment.resources import JournalEvent, ResourceKind
from loadgen.errors import ExitStatus, WriteError
from loadgen.results.directory import ResultsDirectory
from tests.support.emulator import emulated
from tests.support.fork_server import FILE_LIMIT, OPEN_LIMIT
from tests.support.sandbox import Sandbox
from tests.support.scenario_runs import REQUESTS, execute, list_resources

RUN = ("--out", "out", "--quiet")
LOCATION = ResourceLocation("emulator", "123456789012", "us-east-1")


def scenario(emulator, **load):
    return Scenario(
        Emulated(model="quick", url=emulator.url),
        REQUESTS,
        [Step(ServerlessConfig(m), ClosedLoop(1, **(load or {"count": 5}))) for m in (1024, 2048)],
    )


def test_a_full_disk_at_the_manifest_creates_nothing(run_in_sandbox):
    """If the manifest cannot be written, the status is 74 and nothing is created (C95)."""

    async def main(sandbox: Sandbox):
        child = sandbox.start(str(sandbox.write_scenario()), *RUN, **{FILE_LIMIT: "900"})
        sandbox.faults.child = child
        assert await sandbox.finish(child) == 74
        assert not [call for call in sandbox.faults.calls if call.startswith(("CreateEndpoint", "Delete"))]
        assert sandbox.existing_resources() == set()

    run_in_sandbox(main)


def test_a_disk_that_fills_up_in_the_report_leaves_no_cut_files(run_in_sandbox):
    """If the report cannot be written, the status is 74, result.json says why, and no part of the report is left (C95)."""

    async def main(sandbox: Sandbox):
        path = sandbox.write_scenario(load="count=300", sizes=[1024])
        # 300 samples of 64 bytes fit; their CSV, of more than 100 bytes a row, does not.
        status, _, stderr = await sandbox.run(str(path), *RUN, **{FILE_LIMIT: "25000"})
        assert status == 74, stderr
        assert "the runs are kept" in stderr
        assert "IO_ERROR" in {cause["name"] for cause in sandbox.result()["exit"]["causes"]}
        names = {item.name for item in (sandbox.directory / "out").iterdir()}
        assert names == {"journal.jsonl", "manifest.json", "result.json", "runs"}
        assert sandbox.existing_resources() == set()
        assert (await sandbox.run("report", "out"))[0] == 0

    run_in_sandbox(main, service=0.001)


def test_a_disk_that_fills_up_stops_the_load(run_in_sandbox):
    """If samples cannot be written, the load stops with status 74, nothing is left, and the samples on disk are reported (C95)."""

    async def main(sandbox: Sandbox):
        path = sandbox.write_scenario(load="duration=60", sizes=[1024])
        began = time.perf_counter()
        status, _, stderr = await sandbox.run(str(path), *RUN, **{FILE_LIMIT: "20000"})
        assert status == 74, stderr
        assert time.perf_counter() - began < 20
        assert sandbox.existing_resources() == set()
        (run,) = ResultsDirectory.open(sandbox.directory / "out").read_runs()
        assert len(run.samples) == (20_000 - 64) // 64
        assert all("record" in damage or "run.json is missing" in damage for damage in run.data_errors)
        status, _, stderr = await sandbox.run("report", "out")
        assert status == 0, stderr

    run_in_sandbox(main, service=0.001)


@contextmanager
def small_disk(path: Path, kilobytes: int):
    """Mount a file system of its own with so much space; skips the test where this is not allowed."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(path)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("kilobytes", [48, 64, 84, 104, 140, 200])
def test_result_json_is_written_on_a_full_disk(run_in_sandbox, tmp_path, kilobytes):
    """Wherever the disk fills up after the start - samples, HdrHistogram logs, report - result.json has the cause."""
    with small_disk(tmp_path / "disk", kilobytes):

        async def main(sandbox: Sandbox):
            path = sandbox.write_scenario(load="count=600", sizes=[1024])
            out = tmp_path / "disk" / "out"
            status, _, stderr = await sandbox.run(str(path), "--out", str(out), "--quiet")
            assert status == 74, stderr
            result = orjson.loads((out / "result.json").read_bytes())
            assert "IO_ERROR" in {cause["name"] for cause in result["exit"]["causes"]}
            assert sandbox.existing_resources() == set()
            kept = {item.name for item in (out / "runs").glob("01-*/*")}
            assert ("windows.hlog" in kept) == ("service.ok.hgrm" in kept)
            assert not (out / "result.json.part").exists()

        run_in_sandbox(main, service=0.001)


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_hdr_logs_that_do_not_fit_leave_no_cut_files(tmp_path, monkeypatch, failing):
    """If one of them cannot be written, those before it are removed too; the next `report` writes all."""
    with emulated() as emulator:
        execute(scenario(emulator), tmp_path / "out")
    results, write, written = ResultsDirectory.open(tmp_path / "out"), Path.write_text, []

    def full(self, text, *arguments):
        written.append(self)
        if len(written) == failing:
            write(self, text[:10], *arguments)
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, text, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(WriteError, match="No space left on device"):
            results.write_hdr_logs()
    assert len(written) == failing
    assert not any(path.exists() for path in written)
    results.write_hdr_logs()
    assert all(path.stat().st_size > 10 for path in written)


@pytest.mark.parametrize("is_moved", [False, True])
def test_a_directory_that_goes_in_mid_run_is_named(run_in_sandbox, is_moved):
    """The status is 74, the hint fits, and every resource is deleted (C95)."""

    async def main(sandbox: Sandbox):
        path = sandbox.write_scenario(load="duration=2", sizes=[1024, 2048])
        child = sandbox.start(str(path), *RUN)
        await sandbox.wait_until(lambda: sandbox.arrivals() >= 4)
        out = sandbox.directory / "out"
        if is_moved:
            out.rename(sandbox.directory / "elsewhere")
        else:
            shutil.rmtree(out)
        assert await sandbox.finish(child) == 74
        stderr = child.stderr.read_text()
        assert "its directory is gone; something deleted or moved it" in stderr
        assert "stays valid" not in stderr
        assert sandbox.existing_resources() == set()

    run_in_sandbox(main)


@pytest.mark.parametrize("failing", [1, 3])
def test_nothing_is_created_without_its_intent_on_disk(tmp_path, monkeypatch, failing):
    """If an intent cannot be written, its resource is not created, earlier ones are deleted, and the status is 74 (C95)."""
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
        assert list_resources(emulator) == []
        made = emulator.ledger.to_dict()["endpoints"]
    assert ExitStatus.IO_ERROR in finished.statuses
    assert finished.leftovers == ()
    assert intents[failing - 1] not in made


def test_a_journal_that_fails_does_not_stop_the_deletion(tmp_path, monkeypatch):
    """If entries after the intents cannot be written, every resource is still deleted, and the status is 74 (C95, C96)."""
    append = JournalWriter._write_entry

    def broken(self, entry, *, sync):
        if entry["event"] in {"deleting", "gone"}:
            raise OSError(errno.EIO, "Input/output error")
        append(self, entry, sync=sync)

    monkeypatch.setattr(JournalWriter, "_write_entry", broken)
    with emulated() as emulator:
        finished = execute(scenario(emulator), tmp_path / "out")
        assert list_resources(emulator) == []
    assert finished.statuses == (ExitStatus.IO_ERROR,)
    assert [run.scheduled for run in finished.runs] == [5, 5]


def test_a_failing_fsync_ends_the_scenario(tmp_path, monkeypatch):
    """EIO at the fsync of the samples ends with status 74, is not retried, and nothing is left (C96)."""
    fsync, synced = os.fsync, []

    def broken(file):
        if os.readlink(f"/proc/self/fd/{file}").endswith("samples.bin"):
            synced.append(file)
            raise OSError(errno.EIO, "Input/output error")
        fsync(file)

    monkeypatch.setattr(os, "fsync", broken)
    with emulated() as emulator:
        finished = execute(scenario(emulator), tmp_path / "out")
        assert list_resources(emulator) == []
    assert isinstance(finished.failure, WriteError)
    assert ExitStatus.IO_ERROR in finished.statuses
    assert len(synced) == 1


def test_an_intent_is_on_disk_before_its_create_call(tmp_path, monkeypatch):
    """The intent of a resource is written and synced before the emulator receives the Create call."""
    events, fsync = [], os.fsync

    def synced(file):
        name = os.readlink(f"/proc/self/fd/{file}")
        if name.endswith("journal.jsonl"):
            recorded = read_journal(tmp_path / "out" / "journal.jsonl").resources
            events.extend(("synced", str(kind), name) for kind, name in recorded)
        fsync(file)

    monkeypatch.setattr(os, "fsync", synced)
    with emulated() as emulator:
        create = emulator.control.operations["CreateEndpoint"]
        config = emulator.control.operations["CreateEndpointConfig"]
        emulator.control.operations = dict(emulator.control.operations) | {
            "CreateEndpoint": lambda p, now: (
                events.append(("created", "endpoint", p["EndpointName"])) or create(p, now)
            ),
            "CreateEndpointConfig": lambda p, now: (
                events.append(("created", "endpoint-config", p["EndpointConfigName"])) or config(p, now)
            ),
        }
        emulator._targets = dict(emulator._targets) | {
            "SageMaker": (emulator.control.operations, emulator._targets["SageMaker"][1])
        }
        execute(scenario(emulator), tmp_path / "out")
    created = [entry for entry in events if entry[0] == "created"]
    assert len(created) == 4
    for entry in created:
        assert ("synced", *entry[1:]) in events[: events.index(entry)]


def test_a_truncated_journal_names_what_may_exist(tmp_path):
    """At every length of the file its complete lines are read, and deleted resources do not reappear (C120)."""
    path = tmp_path / "journal.jsonl"
    journal = JournalWriter(path, run_id="r", location=LOCATION)
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
    assert reserved >= len(whole) + 60_000  # reserved for the entries that a full disk must still take
    first = min(ends)
    for end in range(first, len(whole) + 1):
        path.write_bytes(whole[:end] + b"\0" * 100)
        journal = read_journal(path)
        assert (journal.run_id, journal.location) == ("r", LOCATION)
        assert set(journal.resources) == ends[max(at for at in ends if at <= end)]
    # A new writer continues after the last complete line.
    writer = JournalWriter(path, run_id="r", location=LOCATION)
    writer.append(JournalEvent.INTENT, ResourceKind.ENDPOINT, "later")
    writer.close()
    assert (ResourceKind.ENDPOINT, "later") in read_journal(path).resources


def test_a_damaged_journal_line_affects_only_itself(tmp_path):
    """A line with changed bytes is counted as damaged, and the other lines are read (C128)."""
    path = tmp_path / "journal.jsonl"
    journal = JournalWriter(path, run_id="r", location=LOCATION)
    for name in ("a", "b", "c"):
        journal.append(JournalEvent.INTENT, ResourceKind.ENDPOINT, name)
    journal.close()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"intent"', b'"\xff\xfeent"')
    path.write_bytes(b"".join(lines))
    read = read_journal(path)
    assert {name for _, name in read.resources} == {"a", "c"}
    assert read.damaged_lines == 1


def test_too_few_descriptors_end_with_a_documented_status(run_in_sandbox):
    """With 64 file descriptors and 200 clients a run ends with a documented status and leaves nothing (C97)."""

    async def main(sandbox: Sandbox):
        path = sandbox.write_scenario(sizes=[1024])
        path.write_text(path.read_text().replace("ClosedLoop(2", "ClosedLoop(200"))
        status, _, stderr = await sandbox.run(str(path), *RUN, **{OPEN_LIMIT: "64"})
        assert status in {71, 74, 110}, stderr
        assert "Traceback" not in stderr
        assert sandbox.existing_resources() == set()

    run_in_sandbox(main, service=0.05)
