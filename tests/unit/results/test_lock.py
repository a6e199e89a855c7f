"""The directory lock: one process per output directory; the lock of a dead process is taken over."""

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from loadgen.errors import OutputError
from loadgen.process_identity import ProcessIdentity, process_from_json
from loadgen.results.lock import LOCK_FILE_NAME, directory_lock
from tests.support.dead_process import dead_process


def test_a_directory_in_use_is_rejected(tmp_path):
    """The OutputError names process and host of the owner, and the lock stays with the owner (C10)."""
    with directory_lock(tmp_path) as note:
        assert note == ""
        with pytest.raises(OutputError, match=f"process {os.getpid()} on {platform.node()}"), directory_lock(tmp_path):
            pass
        assert process_from_json(json.loads((tmp_path / LOCK_FILE_NAME).read_text())) == ProcessIdentity.current()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["dead", "reused", "", "{}", "not json", '{"pid": "x"}'])
def test_a_stale_lock_is_taken_over(tmp_path, content):
    """A lock of a dead process, of a reused process id, or an unreadable one is taken over with a note (C10, C121)."""
    if content == "dead":
        content = json.dumps(asdict(dead_process()))
    elif content == "reused":
        this = ProcessIdentity.current()
        content = json.dumps(asdict(replace(this, started=f"1 {this.started.partition(' ')[2]}")))
    (tmp_path / LOCK_FILE_NAME).write_text(content)
    with directory_lock(tmp_path) as note:
        assert "took over" in note
        assert process_from_json(json.loads((tmp_path / LOCK_FILE_NAME).read_text())) == ProcessIdentity.current()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"pid_namespace": "pid:[elsewhere]"}])
def test_a_lock_of_another_machine_or_container_is_not_taken_over(tmp_path, change):
    """Whether the owner still runs is unknown; the message says why and names the lock file to remove (C121)."""
    (tmp_path / LOCK_FILE_NAME).write_text(json.dumps(asdict(replace(dead_process(), **change))))
    with (
        pytest.raises(OutputError, match=r"elsewhere.*cannot be seen from here.*loadgen\.lock"),
        directory_lock(tmp_path),
    ):
        pass


@pytest.mark.parametrize(("hours", "is_expired"), [(0.05, False), (23, False), (25, True)])
def test_a_lock_that_cannot_be_judged_by_sight_expires(tmp_path, hours, is_expired):
    """A lock of another host is taken over a day after its last heartbeat; before, the message gives the heartbeat's age."""
    path = tmp_path / LOCK_FILE_NAME
    path.write_text(json.dumps(asdict(replace(dead_process(), host="elsewhere"))))
    then = time.time() - hours * 3600
    os.utime(path, (then, then))
    if is_expired:
        with directory_lock(tmp_path) as note:
            assert "took over" in note
    else:
        with pytest.raises(OutputError, match=r"elsewhere.*last heartbeat was .* ago"), directory_lock(tmp_path):
            pass
        assert path.exists()


def test_of_four_concurrent_processes_one_gets_the_lock(tmp_path):
    """Four processes find the same stale lock: one acquires the directory, three are rejected (C10)."""
    (tmp_path / LOCK_FILE_NAME).write_text(json.dumps(asdict(dead_process())))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from loadgen.results.lock import directory_lock\n"
        "sys.stdin.readline()\n"
        "with directory_lock(Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    # A rejected process exits; the owner waits for its second line.
    outputs = [process.stdout.readline() for process in processes]
    errors = [process.communicate("done\n")[1] for process in processes]
    assert sorted(outputs) == ["", "", "", "locked\n"]
    rejected = [error for output, error in zip(outputs, errors, strict=True) if not output]
    assert all("in use by" in error for error in rejected)
