"""Liveness: whether a process that may be on another machine still runs, by sight and by heartbeat."""

import os
import time
from dataclasses import replace

import pytest

from loadgen.liveness import EXPIRY, HEARTBEAT_TIMEOUT, LastSign, Liveness, assess_liveness, heartbeat
from loadgen.process_identity import ProcessIdentity
from tests.support.dead_process import dead_process

NOW = 1_800_000_000.0
MINUTE, HOUR = 60.0, 3600.0


def sign(age, *, booted_ago=30 * 24 * HOUR):
    return LastSign(NOW - age, NOW, NOW - booted_ago)


@pytest.mark.parametrize("age", [0.0, HOUR, 48 * HOUR])
def test_a_process_that_can_be_seen_needs_no_heartbeat(age):
    """What is seen on this machine decides, whatever the heartbeat says."""
    assert assess_liveness(ProcessIdentity.current(), sign(age)) is Liveness.RUNNING
    assert assess_liveness(dead_process(), sign(age)) is Liveness.ENDED


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"pid_namespace": "pid:[1]"}])
@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0.0, Liveness.RUNNING),
        (4 * MINUTE, Liveness.RUNNING),
        (-4 * MINUTE, Liveness.RUNNING),  # the other machine's clock is ahead
        (6 * MINUTE, Liveness.UNKNOWN),
        (23 * HOUR, Liveness.UNKNOWN),
        (25 * HOUR, Liveness.ENDED),
        (-HOUR, Liveness.UNKNOWN),  # a time in the future says nothing
        (NOW, Liveness.UNKNOWN),  # no heartbeat at all
    ],
)
def test_a_process_that_cannot_be_seen_is_judged_by_its_heartbeat(change, age, expected):
    """On another host or in another PID namespace: running for 5 minutes after a heartbeat, ended after a day, unknown between."""
    assert assess_liveness(replace(dead_process(), **change), sign(age)) is expected


@pytest.mark.parametrize(
    ("age", "booted_ago", "expected"),
    [
        (MINUTE, HOUR, Liveness.RUNNING),  # another machine of this name, on the same home directory
        (MINUTE, 0.5 * MINUTE, Liveness.RUNNING),  # a quick restart, or another machine
        (HOUR, 0.5 * HOUR, Liveness.ENDED),  # before this machine's restart
        (HOUR, 2 * HOUR, Liveness.UNKNOWN),  # after this machine's start: it was another one
        (NOW, HOUR, Liveness.UNKNOWN),
    ],
)
def test_another_boot_is_a_restart_only_if_the_heartbeat_is_older(monkeypatch, age, booted_ago, expected):
    """Two machines of one name that share a home directory are told from one machine that was restarted."""
    monkeypatch.setattr("loadgen.process_identity._pid_namespace", lambda: "pid:[4026531836]")
    earlier = replace(ProcessIdentity.current(), started="1 another-boot")
    assert assess_liveness(earlier, sign(age, booted_ago=booted_ago)) is expected


def test_a_heartbeat_renews_files_at_once_and_skips_missing_ones(tmp_path):
    """A file of last year is as young as now once the context is open; its content and a missing file are left alone."""
    path = tmp_path / "journal"
    path.write_text("kept")
    os.utime(path, (1, 1))
    deadline = time.monotonic() + 30
    with heartbeat(path, tmp_path / "missing"):
        while path.stat().st_mtime < 2 and time.monotonic() < deadline:
            pass
        found = LastSign.read(path, tmp_path / "missing")
    assert found.is_recent
    assert (path.read_text(), list(tmp_path.iterdir())) == ("kept", [path])


def test_the_youngest_sign_counts(tmp_path):
    """Of several files and another sign the youngest counts; without any there is no sign."""
    for name, mtime in (("old", 1000.0), ("young", 3000.0)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (mtime, mtime))
    assert LastSign.read(tmp_path / "young", tmp_path / "old").time == 3000.0
    assert LastSign.read(tmp_path / "old", others=2000.0).time == 2000.0
    assert LastSign.read(tmp_path / "missing").time == 0.0
    assert str(LastSign.read(tmp_path / "missing")) == "it has no valid heartbeat"


def test_a_sign_states_its_age():
    """The age is given in seconds, minutes or hours."""
    assert str(sign(70)) == "its last heartbeat was 70 s ago"
    assert str(sign(HEARTBEAT_TIMEOUT)) == "its last heartbeat was 5 min ago"
    assert str(sign(EXPIRY)) == "its last heartbeat was 24.0 h ago"
