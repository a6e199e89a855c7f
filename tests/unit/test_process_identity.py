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
    this = ProcessIdentity.current()
    assert not replace(this, started=f"1 {this.started.split()[1]}").is_running()


@pytest.mark.parametrize("change", ["host", "namespace", "unrecorded", "both"])
def test_what_cannot_be_seen_counts_as_running(change):
    """A dead process id of another host or PID namespace, or of an unknown one, may be alive there; the reason is given."""
    if not ProcessIdentity.current().pid_namespace:
        pytest.skip("this system has no PID namespaces")
    dead = dead_process()
    assert dead.invisibility == ""
    changes = {
        "host": {"host": "elsewhere"},
        "namespace": {"pid_namespace": "pid:[4026532999]"},
        "unrecorded": {"pid_namespace": ""},
        "both": {"host": "elsewhere", "pid_namespace": "pid:[4026532999]"},
    }
    unseen = replace(dead, **changes[change])
    assert unseen.is_running()
    assert unseen.invisibility


@pytest.mark.parametrize("is_container", [False, True])
def test_another_boot_can_be_a_restart_outside_of_containers_only(monkeypatch, is_container):
    """A process of another boot cannot be seen; a restart explains it, unless the boot is that of a container's other host."""
    namespace = "pid:[4026532999]" if is_container else "pid:[4026531836]"
    monkeypatch.setattr("loadgen.process_identity._pid_namespace", lambda: namespace)
    earlier = replace(ProcessIdentity.current(), started="1 another-boot")
    assert (earlier.is_running(), bool(earlier.invisibility)) == (True, True)
    assert earlier.is_of_another_boot is not is_container
    assert not replace(earlier, host="elsewhere").is_of_another_boot
    assert not ProcessIdentity.current().is_of_another_boot
