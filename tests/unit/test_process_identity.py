"""Process identity: whether a recorded process still runs."""

from dataclasses import replace

import pytest

from loadgen.process_identity import ProcessIdentity
from tests.support.dead_process import dead_process


def test_a_running_process_is_told_from_a_dead_one():
    """This process runs, an ended one does not; a process on another machine counts as running."""
    this, dead = ProcessIdentity.current(), dead_process()
    assert this.is_running()
    assert not dead.is_running()
    assert replace(dead, host="elsewhere").is_running()


def test_a_reused_process_id_is_another_process():
    """The id of this process with another start time is not running (C121)."""
    if not ProcessIdentity.current().started:
        pytest.skip("this system does not report the start of a process")
    assert not replace(ProcessIdentity.current(), started="1 another-boot").is_running()
