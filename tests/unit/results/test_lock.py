"""Of several processes one holds the lock of a directory."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from loadgen.errors import OutputError
from loadgen.process_identity import ProcessIdentity, process_from_json
from loadgen.results.lock import LOCK_FILE_NAME, directory_lock
from tests.support.processes import ended_process


def test_a_directory_in_use_is_refused_with_its_holder(tmp_path):
    """The OutputError names process and host, and the lock of the holder is not changed (C10)."""
    with directory_lock(tmp_path) as note:
        assert note == ""
        with pytest.raises(OutputError, match=f"process {os.getpid()} on {platform.node()}"), directory_lock(tmp_path):
            pass
        assert process_from_json(json.loads((tmp_path / LOCK_FILE_NAME).read_text())) == ProcessIdentity.current()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["ended", "reused", "", "{}", "not json", '{"pid": "x"}'])
def test_a_stale_lock_is_taken_over_with_a_note(tmp_path, content):
    """The lock of an ended process, of a reused process id, or an unreadable one is replaced (C10, C121)."""
    if content == "ended":
        content = json.dumps(asdict(ended_process()))
    elif content == "reused":
        content = json.dumps(asdict(replace(ProcessIdentity.current(), started="1 another-boot")))
    (tmp_path / LOCK_FILE_NAME).write_text(content)
    with directory_lock(tmp_path) as note:
        assert "took over" in note
        assert process_from_json(json.loads((tmp_path / LOCK_FILE_NAME).read_text())) == ProcessIdentity.current()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_another_machine_is_never_taken_over(tmp_path):
    """Whether its process runs cannot be checked; the OutputError names host and lock file (C121)."""
    (tmp_path / LOCK_FILE_NAME).write_text(json.dumps(asdict(replace(ended_process(), host="elsewhere"))))
    with pytest.raises(OutputError, match=r"elsewhere.*loadgen\.lock"), directory_lock(tmp_path):
        pass


def test_one_of_many_simultaneous_processes_gets_the_lock(tmp_path):
    """Of four processes that take a directory with a stale lock at once, one gets it and three are refused (C10)."""
    (tmp_path / LOCK_FILE_NAME).write_text(json.dumps(asdict(ended_process())))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from loadgen.results.lock import directory_lock\n"
        "sys.stdin.readline()\n"
        "with directory_lock(Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    # A refused process ends; the holder waits for its second line.
    lines = [process.stdout.readline() for process in started]
    errors = [process.communicate("done\n")[1] for process in started]
    assert sorted(lines) == ["", "", "", "locked\n"]
    assert all(
        "in use by" in text or "being taken" in text for line, text in zip(lines, errors, strict=True) if not line
    )
