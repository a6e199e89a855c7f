"""Worker: one of several processes that carried a run out, and what became of it. Values only.

How workers are reached is the runners'; joining what they did to one run is merge.py's.
"""

from dataclasses import dataclass, field

from loadgen.watch import Watch


@dataclass(frozen=True, slots=True)
class Worker:
    """What one worker did of one run.

    Args:
        name: which, such as `process 2` or a machine's address.
        watch: what its generator saw of itself.
        scheduled: requests that were due on it; each has exactly one outcome.
        ended_by: as in Run; `lost` when the worker went before its end.
        late: seconds after the common start at which it began.
        clock_bound: seconds by which its instants may be off against the other workers'; 0 where they share a clock.
        lost: why it went before its end; empty when it did not.
        unsent: requests of its share that were due after it was lost. Nobody sent them.
        repeats: how often its share was begun a second time by the machinery around it, and refused.
    """

    name: str
    watch: Watch = field(default_factory=Watch)
    scheduled: int = 0
    ended_by: str = ""
    late: float = 0.0
    clock_bound: float = 0.0
    lost: str = ""
    unsent: int = 0
    repeats: int = 0
