"""Run registry: which runs may have left resources, as the next start of loadgen reads it."""

from dataclasses import replace

from loadgen.aws.deployment.journal import ResourceLocation
from loadgen.aws.deployment.run_registry import (
    RegisteredRun,
    list_dead_runs,
    list_runs,
    register_run,
    state_directory,
    unregister_run,
)
from loadgen.process_identity import ProcessIdentity


def test_only_dead_runs_are_listed_as_dead(tmp_path):
    """A dead run is listed until it is unregistered; a live one, or one whose emulator has ended, is not (C120)."""
    dead = replace(ProcessIdentity.current(), pid=2**22 + 1)
    aws = ResourceLocation("aws", "123456789012", "eu-west-1")
    runs = [
        RegisteredRun("alive", tmp_path / "a.jsonl", aws, ProcessIdentity.current()),
        RegisteredRun("dead", tmp_path / "d.jsonl", aws, dead),
        RegisteredRun(
            "rehearsed", tmp_path / "e.jsonl", ResourceLocation("emulator", "1", "x", "http://127.0.0.1:9"), dead
        ),
        RegisteredRun("far", tmp_path / "f.jsonl", aws, ProcessIdentity(1, "elsewhere")),
    ]
    for run in runs:
        assert register_run(tmp_path, run) == ""
    assert sorted(run.run_id for run in list_runs(tmp_path)) == ["alive", "dead", "far", "rehearsed"]
    assert list_dead_runs(tmp_path) == [runs[1]]
    assert sorted(run.run_id for run in list_runs(tmp_path)) == ["alive", "dead", "far"]
    unregister_run(tmp_path, "dead")
    assert list_dead_runs(tmp_path) == []


def test_a_registry_that_cannot_be_written_is_reported_and_does_not_fail(tmp_path):
    """A state directory that is a file gives a message, not an error; invalid entries are skipped (C09)."""
    (tmp_path / "file").write_text("")
    run = RegisteredRun("r", tmp_path / "j", ResourceLocation("aws", "1", "x"), ProcessIdentity.current())
    assert "cannot register the run" in register_run(tmp_path / "file", run)
    assert list_runs(tmp_path / "file") == []
    (tmp_path / "runs").mkdir()
    for number, content in enumerate(("", "[]", "{}", '{"run_id": "../x", "process": {"pid": 1}}', "\0")):
        (tmp_path / "runs" / f"{number}.json").write_text(content)
    assert list_runs(tmp_path) == []


def test_the_state_directory_follows_the_environment(tmp_path):
    """The state directory is under XDG_STATE_HOME if that is absolute, else under HOME, else there is none (C09)."""
    home = str(tmp_path)
    assert state_directory({"XDG_STATE_HOME": home, "HOME": "/h"}) == tmp_path / "loadgen"
    assert state_directory({"XDG_STATE_HOME": "relative", "HOME": home}) == tmp_path / ".local" / "state" / "loadgen"
    assert state_directory({}) is None
    assert state_directory({"HOME": ""}) is None
