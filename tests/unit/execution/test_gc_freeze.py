"""While a run lasts, garbage collections do not visit what stood before it; afterwards they do again."""

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
    """Tell whether a full collection would look at it."""
    return any(thing is other for other in gc.get_objects())


def test_what_stood_before_is_not_visited_until_the_block_ends():
    """An old object is out of the collector's sight within the block only; a new one is always in it."""
    old = [object()]
    with gc_frozen():
        new = [object()]
        assert (is_visited(old), is_visited(new)) == (False, True)
    assert (is_visited(old), is_visited(new)) == (True, True)


def test_overlapping_blocks_end_with_the_last():
    """Two runs at once in one process: the first to end does not spoil the other."""
    old = [object()]
    first, second = gc_frozen(), gc_frozen()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not is_visited(old)
    second.__exit__(None, None, None)
    assert is_visited(old)


def test_a_host_that_froze_its_heap_keeps_it():
    """What the host has set aside stays so after the run."""
    hosts = [object()]
    gc.freeze()
    with gc_frozen():
        pass
    assert not is_visited(hosts)


def test_a_failing_block_sets_nothing_aside_for_good():
    """An error on the way leaves the collector as it was."""
    with pytest.raises(RuntimeError), gc_frozen():
        raise RuntimeError
    assert gc.get_freeze_count() == 0


def test_the_engine_leaves_its_hosts_heap_alone():
    """A guest in another service sets nothing aside: its host may run for days beside it."""
    seen = []
    execute(ClosedLoop(1, count=3), FakeTransport(lambda _n, _t: seen.append(gc.get_freeze_count()) or FakeReply()))
    assert seen == [0, 0, 0]
