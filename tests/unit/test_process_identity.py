"""Telling whether a process is still there, and keeping a directory for one of them."""

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


def dead_process():
    """A process that was, and is no more."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from loadgen.process_identity import *; import json; print(json.dumps(asdict(Process.this())))",
        ],
        capture_output=True,
        check=True,
    )
    return process_from_json(json.loads(done.stdout))


def test_a_living_process_is_alive_and_a_dead_one_is_not():
    """This process is; one that has ended is not; one on another machine cannot be told from here, and counts as alive."""
    this, dead = ProcessIdentity.current(), dead_process()
    assert this.is_running()
    assert not dead.is_running()
    assert replace(dead, host="elsewhere").is_alive()


def test_a_process_id_that_is_used_again_is_another_process():
    """C121: the id of this process with another start is not this process."""
    if not ProcessIdentity.current().started:
        pytest.skip("this system does not tell when a process began")
    assert not replace(ProcessIdentity.current(), started="1 another-boot").is_running()


def test_a_directory_in_use_is_refused_with_who_has_it(tmp_path):
    """C10: status 73, naming process and host; the lock stays whose it is."""
    with directory_lock(tmp_path) as note:
        assert note == ""
        with pytest.raises(OutputError, match=f"process {os.getpid()} on {platform.node()}"), directory_lock(tmp_path):
            pass
        assert process_from_json(json.loads((tmp_path / LOCK_FILE_NAME).read_text())) == ProcessIdentity.current()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["dead", "reused", "", "{}", "not json", '{"pid": "x"}'])
def test_a_stale_lock_is_taken_over_and_said(tmp_path, content):
    """C10, C121: of a dead process, of an id used again, or unreadable: taken over, with a note."""
    if content == "dead":
        content = json.dumps(asdict(dead_process()))
    elif content == "reused":
        content = json.dumps(asdict(replace(ProcessIdentity.current(), started="1 another-boot")))
    (tmp_path / LOCK_FILE_NAME).write_text(content)
    with directory_lock(tmp_path) as note:
        assert "took over" in note
        assert process_from_json(json.loads((tmp_path / LOCK_FILE_NAME).read_text())) == ProcessIdentity.current()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_another_machine_is_never_taken_over(tmp_path):
    """C121: whether it still runs cannot be seen; the message names the file to remove if it does not."""
    (tmp_path / LOCK_FILE_NAME).write_text(json.dumps(asdict(replace(dead_process(), host="elsewhere"))))
    with pytest.raises(OutputError, match=r"elsewhere.*loadgen\.lock"), directory_lock(tmp_path):
        pass


def test_of_many_that_start_at_once_one_has_it(tmp_path):
    """C10: four processes that want the same directory, with a stale lock in it: one gets it, three are refused."""
    (tmp_path / LOCK_FILE_NAME).write_text(json.dumps(asdict(dead_process())))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from loadgen.results.lock import locked\n"
        "sys.stdin.readline()\n"
        "with locked(Path(sys.argv[1])):\n"
        "    print('have', flush=True)\n"
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
    # A refused one ends by itself; the one that has it waits for its second line.
    said = [process.stdout.readline() for process in started]
    errors = [process.communicate("done\n")[1] for process in started]
    assert sorted(said) == ["", "", "", "have\n"]
    assert all(
        "in use by" in text or "being taken" in text for word, text in zip(said, errors, strict=True) if not word
    )
