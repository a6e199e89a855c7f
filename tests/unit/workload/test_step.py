"""Step, ErrorLimit and ServerlessConfig refuse invalid values when they are built."""

import math

import numpy as np
import pytest

from loadgen import ClosedLoop, ServerlessConfig, Step
from loadgen.errors import UsageError
from loadgen.workload.step import ErrorLimit

LOAD = ClosedLoop(1, count=1)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Step(None, None),
        lambda: Step(1024, LOAD),
        lambda: Step(None, LOAD, warmup=-1),
        lambda: Step(None, LOAD, warmup=math.nan),
        lambda: Step(None, LOAD, warmup=math.inf),
        lambda: Step(None, LOAD, delay=math.nan),
        lambda: Step(None, LOAD, warmup_calls=-1),
        lambda: Step(None, LOAD, warmup_calls=1.5),
        lambda: ErrorLimit(count=0),
        lambda: ErrorLimit(share=1),
        lambda: ErrorLimit(share=-0.1),
        lambda: ErrorLimit(share=math.nan),
        lambda: ServerlessConfig(1500),
        lambda: ServerlessConfig(1024, 0),
        lambda: ServerlessConfig(1024, 201),
        lambda: ServerlessConfig(1024, 1.0),
        lambda: ServerlessConfig(1024, 2, 3),
    ],
)
def test_invalid_steps_limits_and_configurations_are_refused(build):
    """Memory, concurrency, error limits and times out of range are usage errors (C04)."""
    with pytest.raises(UsageError):
        build()


def test_a_size_with_an_accepted_share_of_errors_is_measured_to_its_end():
    """Of 1,000 requests of which 0.5 % fail, an error limit of 3 above 1 % stops at most 2 in 100 runs; of 20 %, all.

    A limit of 3 that counts every error stops 87 of 100 runs of the first kind.
    """
    rng = np.random.default_rng(4)

    def is_stopped(limit, share):
        errors = 0
        for completed, has_failed in enumerate(rng.random(1000) < share, 1):
            errors += int(has_failed)
            if has_failed and limit.is_reached(errors, completed):
                return True
        return False

    accepting, counting = ErrorLimit(count=3, accepted_share=0.01), ErrorLimit(count=3)
    assert sum(is_stopped(accepting, 0.005) for _ in range(100)) <= 2
    assert sum(is_stopped(counting, 0.005) for _ in range(100)) >= 75
    assert sum(is_stopped(accepting, 0.2) for _ in range(20)) == 20


def test_an_accepted_share_is_a_share():
    """A share that is not in [0, 1) is refused."""
    with pytest.raises(UsageError):
        ErrorLimit(count=1, accepted_share=1.0)
