"""Garbage collections skip the objects that existed before a run while the run lasts, and visit them afterwards."""

import gc

import pytest

from loadgen.execution.gc_freeze import gc_frozen
from loadgen.workload.load import ClosedLoop
from tests.support.virtual_time import FakeReply, FakeTransport, execute


@pytest.fixture(autouse=True)
def nothing_frozen():
    gc.unfreeze()
    yield
    gc.unfreeze()


def is_visited(thing) -> bool:
    """Return whether a full collection would visit an object."""
    return any(thing is other for other in gc.get_objects())


def test_existing_objects_are_skipped_until_the_block_ends():
    """An object from before the block is skipped within it only; an object of the block is always visited."""
    old = [object()]
    with gc_frozen():
        new = [object()]
        assert (is_visited(old), is_visited(new)) == (False, True)
    assert (is_visited(old), is_visited(new)) == (True, True)


def test_overlapping_blocks_end_with_the_last():
    """When two blocks overlap, the end of the first does not unfreeze the objects of the second."""
    old = [object()]
    first, second = gc_frozen(), gc_frozen()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not is_visited(old)
    second.__exit__(None, None, None)
    assert is_visited(old)


def test_objects_frozen_by_the_host_stay_frozen():
    """Objects that the host process has frozen itself are frozen after the block, too."""
    hosts = [object()]
    gc.freeze()
    with gc_frozen():
        pass
    assert not is_visited(hosts)


def test_an_error_in_the_block_unfreezes():
    """A block that raises leaves nothing frozen."""
    with pytest.raises(RuntimeError), gc_frozen():
        raise RuntimeError
    assert gc.get_freeze_count() == 0


def test_the_engine_freezes_nothing():
    """The engine, which may be embedded in a service, does not freeze the objects of its process."""
    counts = []
    execute(ClosedLoop(1, count=3), FakeTransport(lambda _n, _t: counts.append(gc.get_freeze_count()) or FakeReply()))
    assert counts == [0, 0, 0]
