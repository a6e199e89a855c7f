"""Step, ErrorLimit and ServerlessConfig refuse invalid values when they are built."""

import math

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
