"""Heap: keep what stood before a run out of garbage collections while the run lasts.

An SDK brings 100,000 objects along, and a collection of the oldest generation visits each of them: 45 to 140 ms in
which nothing is sent or read (measured with one aiobotocore client on one core). What a run makes itself is collected
as ever. The heap belongs to the process: only runners, whose process it is, do this. The engine, which may be a guest
in another service, does not.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_frozen_by = 0  # runs in this process that want it so; one process has one heap


@contextmanager
def gc_frozen() -> Iterator[None]:
    """Set everything that lives now aside until the block ends, in no time; blocks may overlap.

    A host that has frozen objects itself (`gc.freeze`) knows better: then nothing is changed.
    """
    global _frozen_by  # noqa: PLW0603 - the heap is the process's, and so is this count
    if _frozen_by == 0 and gc.get_freeze_count():
        yield
        return
    _frozen_by += 1
    gc.freeze()
    try:
        yield
    finally:
        _frozen_by -= 1
        if _frozen_by == 0:
            gc.unfreeze()
