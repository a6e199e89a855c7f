"""A process identity tells whether the process still runs."""

from dataclasses import replace

import pytest

from loadgen.process_identity import ProcessIdentity, process_from_json
from tests.support.processes import ended_process


def test_this_process_runs_and_an_ended_one_does_not():
    """is_running() is True for this process, False for an ended one, and True for a process of another machine."""
    ended = ended_process()
    assert ProcessIdentity.current().is_running()
    assert not ended.is_running()
    assert replace(ended, host="elsewhere").is_running()


def test_a_reused_process_id_is_another_process():
    """An identity with this process's id and another start time does not run (C121)."""
    if not ProcessIdentity.current().started:
        pytest.skip("this system has no /proc")
    assert not replace(ProcessIdentity.current(), started="1 another-boot").is_running()


@pytest.mark.parametrize("value", [None, [], "x", {}, {"pid": "1"}, {"host": "h"}])
def test_an_invalid_json_value_is_no_process(value):
    """process_from_json returns None for a value without an integer pid."""
    assert process_from_json(value) is None
